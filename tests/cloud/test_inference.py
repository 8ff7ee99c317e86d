"""POST /v2/models/{model}/infer as it goes over a socket; what other vendors' clients see is in tests/interop."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import zlib
from urllib.parse import urlsplit

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.graph.segments import Segments
from midcut.serving.body_budget import Upload
from midcut.testing import TorchExecutor
from midcut.types import BodyArrival, Encoded, LoadedModel, TailRequest
from midcut.wire.oip_tensors import encode_infer

PATH = "/v2/models/tiny/infer"


def ask(url, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        return response.status, response.read(), response
    finally:
        connection.close()


@pytest.fixture(scope="module")
def message(tiny, tiny_model):
    with torch.inference_mode():
        values = tiny.head(4, tiny_model.example)
    names = [spec.name for spec in tiny.table.cuts[4].values]
    return encode_infer(TailRequest("tiny", 4, tiny.table.fingerprint, values, "abc", names=names))


@pytest.fixture(scope="module")
def whole(tiny_model):
    with torch.inference_mode():
        return tiny_model.module(*tiny_model.example)


def infer(url, header, data=b"", path=PATH, **headers):
    return ask(url, "POST", path, header + data, Inference_Header_Content_Length=str(len(header)), **headers)


def test_binary_in_binary_out(cloud_url, tiny, message, whole):
    status, body, response = infer(cloud_url, message.header, b"".join(message.pieces))
    assert (status, response.getheader("Content-Type")) == (200, "application/octet-stream")
    length = int(response.getheader("Inference-Header-Content-Length"))
    header = json.loads(body[:length])
    assert body[length:] == whole.numpy().tobytes()
    assert header["outputs"] == [
        {
            "name": "output",
            "shape": [1, 10],
            "datatype": "FP32",
            "parameters": {"binary_data_size": 40},
        }
    ]
    assert (header["model_name"], header["model_version"], header["id"]) == ("tiny", tiny.table.fingerprint, "abc")
    parameters = header["parameters"]
    assert set(parameters) == {"parse_us", "queue_us", "compute_us", "server_us", "crc32"}
    assert parameters["crc32"] == f"{zlib.crc32(body[length:]):08x}"
    assert parameters["parse_us"] + parameters["queue_us"] + parameters["compute_us"] <= parameters["server_us"] + 3


def test_a_reply_tells_how_the_body_of_its_request_arrived(cloud_url, message, monkeypatch):
    monkeypatch.setattr(Upload, "arrival", BodyArrival(13_159, 0.0055287))
    status, body, response = infer(cloud_url, message.header, b"".join(message.pieces))
    parameters = json.loads(body[: int(response.getheader("Inference-Header-Content-Length"))])["parameters"]
    assert (status, parameters["arrival_bytes"], parameters["arrival_us"]) == (200, 13_159, 5528)


def test_a_reply_tells_that_pytorch_stood_in_for_a_runtime(cloud_url, message, monkeypatch):
    monkeypatch.setattr(Segments, "ready", lambda *_: False)
    status, body, response = infer(cloud_url, message.header, b"".join(message.pieces))
    parameters = json.loads(body[: int(response.getheader("Inference-Header-Content-Length"))])["parameters"]
    assert (status, parameters["stand_in"]) == (200, True)


def test_without_asking_for_binary_the_reply_is_json(cloud_url, message, whole):
    header = json.loads(message.header)
    del header["parameters"]["binary_data_output"]
    status, body, response = infer(cloud_url, json.dumps(header).encode(), b"".join(message.pieces))
    assert (status, response.getheader("Inference-Header-Content-Length")) == (200, None)
    (output,) = json.loads(body)["outputs"]
    assert torch.equal(torch.tensor(output["data"]).reshape(output["shape"]), whole)


class Large(torch.nn.Module):
    """Its input is 49,152 numbers, and nothing after it is as large."""

    def __init__(self):
        super().__init__()
        self.pool = torch.nn.AvgPool2d(16)
        self.head = torch.nn.Linear(3 * 8 * 8, 4)

    def forward(self, pixels):
        return self.head(self.pool(pixels).flatten(1))


@pytest.mark.parametrize("nested", [True, False])
def test_a_large_whole_model_request_fits_as_json(running_cloud, nested):
    """As JSON numbers a float32 takes 20 bytes and more, not base64's 5.3; and a client may write doubles."""
    example = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(2)) * -1e-7
    model = LoadedModel("large", Large().eval(), (example,), None, None, "random")
    data = example.double() if nested else example.double().flatten()
    tensor = {"name": "0", "shape": [1, 3, 128, 128], "datatype": "FP32", "data": data.tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    assert len(body) > 20 * example.numel()
    with running_cloud(partition(model, CutSettings())) as url:
        status, answer, _ = ask(url, "POST", "/v2/models/large/infer", body)
        refused, why, _ = ask(url, "POST", "/v2/models/large/infer", body + b" " * 10 * example.numel())
    assert status == 200, answer
    with torch.inference_mode():
        assert torch.equal(torch.tensor(json.loads(answer)["outputs"][0]["data"]), model.module(example)[0])
    assert (refused, "over this server's limit" in json.loads(why)["error"]) == (413, True)


class Counting(TorchExecutor):
    runs = 0

    def run(self, segment):
        self.runs += 1
        with torch.inference_mode():
            return segment(), 0.0

    def close(self):
        pass


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"outputs": [{"name": "nothing"}]}, "has no output 'nothing'; it has: output"),
        ({"parameters": {"cut": 4, "fingerprint": "f" * 50_000}}, "other weights, graph or cuts"),
        ({"parameters": {"cut": 10**4000}}, "cut 1000"),
        ({"parameters": {"cut": 4, "codec": "c" * 50_000}}, "is not accepted here"),
    ],
)
def test_what_cannot_be_answered_is_not_computed_and_not_quoted_at_length(running_cloud, message, changes, part, capfd):
    executor = Counting()
    header = json.dumps(json.loads(message.header) | changes).encode()
    with running_cloud(executor=executor) as url:
        status, body, _ = infer(url, header, b"".join(message.pieces))
    assert status in (400, 409)
    assert part in json.loads(body)["error"]
    assert len(body) < 1200
    assert executor.runs == 0
    assert max(map(len, capfd.readouterr().out.splitlines())) < 1500


def test_half_precision_as_json_is_refused_before_it_is_computed(running_cloud):
    class Halves(torch.nn.Module):
        def forward(self, pixels):
            return pixels.half()

    model = LoadedModel("halves", Halves().eval(), (torch.rand(1, 4),), None, None, "none")
    tensor = {"name": "0", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    executor = Counting()
    with running_cloud(partition(model, CutSettings()), executor=executor) as url:
        status, body, _ = ask(url, "POST", "/v2/models/halves/infer", json.dumps({"inputs": [tensor]}))
        runs = executor.runs
        tensor["parameters"] = {}
        asked = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        taken, answer, _ = ask(url, "POST", "/v2/models/halves/infer", json.dumps(asked))
    assert (status, runs) == (400, 0)
    assert "is FP16, which is sent as binary only" in json.loads(body)["error"]
    assert (taken, answer[-8:]) == (200, torch.tensor([1.0, 2, 3, 4]).half().numpy().tobytes())


@pytest.mark.parametrize("given", [0.0, -1.0])
def test_infinity_and_nan_as_json_are_refused_and_sent_as_binary(running_cloud, given):
    class Logarithm(torch.nn.Module):
        def forward(self, values):
            return torch.log(values)

    model = LoadedModel("logarithm", Logarithm().eval(), (torch.ones(1, 2),), None, None, "none")
    asked = {"inputs": [{"name": "0", "shape": [1, 2], "datatype": "FP32", "data": [1.0, given]}]}
    with running_cloud(partition(model, CutSettings())) as url:
        status, body, _ = ask(url, "POST", "/v2/models/logarithm/infer", json.dumps(asked))
        asked["parameters"] = {"binary_data_output": True}
        taken, answer, _ = ask(url, "POST", "/v2/models/logarithm/infer", json.dumps(asked))
    assert (status, taken) == (400, 200)
    assert "has NaN or infinity, which JSON has not: request it with binary_data" in json.loads(body)["error"]
    output = torch.frombuffer(bytearray(answer[-8:]), dtype=torch.float32)
    assert torch.equal(output.nan_to_num(5.0), torch.log(torch.tensor([1.0, given])).nan_to_num(5.0))


def test_bytes_alone_are_the_whole_models_input(cloud_url, tiny_model, whole):
    data = tiny_model.example[0].numpy().tobytes()
    status, body, _ = ask(cloud_url, "POST", PATH, data, Inference_Header_Content_Length="0")
    assert status == 200
    assert body.endswith(whole.numpy().tobytes())


def test_a_batch_within_the_limit(running_cloud, tiny, tiny_model):
    batch = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    request = TailRequest("tiny", 0, tiny.table.fingerprint, [batch], "b")
    sent = encode_infer(request)
    with running_cloud(max_batch=3) as url:
        status, body, _ = infer(url, sent.header, b"".join(sent.pieces))
        _, described, _ = ask(url, "GET", "/v2/models/tiny")
    with torch.inference_mode():
        assert body.endswith(tiny_model.module(batch).numpy().tobytes())
    assert status == 200
    assert json.loads(described)["inputs"][0]["shape"] == [-1, 3, 16, 16]


def test_a_batch_over_the_limit_is_a_413(cloud_url, tiny):
    sent = encode_infer(TailRequest("tiny", 0, tiny.table.fingerprint, [torch.zeros(2, 3, 16, 16)], "b"))
    assert infer(cloud_url, sent.header, b"".join(sent.pieces))[0] == 413


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/v2/models/other/infer", 404, "no model 'other' here; there are: tiny, and NAME@CUT"),
        ("/v2/models/tiny@/infer", 404, "no model 'tiny@'"),
        ("/v2/models/tiny@99999999999999999999/infer", 404, "no model"),
        ("/v2/models/tiny@%D9%A3/infer", 404, "no model"),
        ("/v2/models/tiny/versions/1/infer", 404, "no version '1' of model 'tiny' here; there is"),
        ("/v2/models/tiny@5/infer", 400, "the path says cut 5, parameter cut says 4"),
        ("/v2/models/tiny/infer/more", 404, "Not Found"),
    ],
)
def test_a_path_that_means_nothing_here(cloud_url, message, path, status, part):
    got, body, _ = infer(cloud_url, message.header, b"".join(message.pieces), path)
    assert (got, part in json.loads(body)["error"]) == (status, True), body


def test_an_encoded_body_is_refused_unread(cloud_url, message):
    assert infer(cloud_url, message.header, b"".join(message.pieces), Content_Encoding="gzip")[0] == 415


def test_a_deadline_that_has_passed_is_not_computed(cloud_url, message):
    header = json.loads(message.header)
    header["parameters"]["timeout"] = 1
    status, body, _ = infer(cloud_url, json.dumps(header).encode(), b"".join(message.pieces))
    assert (status in (503, 504), "time" in json.loads(body)["error"]) == (True, True), body


def test_a_body_in_tiny_chunks_is_read(cloud_url, message, whole):
    parts = urlsplit(cloud_url)
    body = message.header + b"".join(message.pieces)
    header = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
        f"Inference-Header-Content-Length: {len(message.header)}\r\n\r\n"
    )
    chunks = b"".join(b"3\r\n%b\r\n" % body[at : at + 3] for at in range(0, len(body) - 2, 3))
    rest = body[len(body) // 3 * 3 :]
    chunks += (b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b"") + b"0\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        connection.sendall(header.encode() + chunks)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(whole.numpy().tobytes())


@settings(max_examples=100)
@given(at=st.integers(0, 400), flip=st.integers(1, 255), cut=st.integers(0, 50), length=st.integers(-3, 5000))
def test_a_damaged_request_never_gives_a_5xx(cloud_url, message, at, flip, cut, length):
    body = bytearray(message.header + b"".join(message.pieces))
    body[at % len(message.header)] ^= flip
    body = bytes(body[: len(body) - cut])
    for announced in (str(length), str(len(message.header))):
        status, answer, _ = ask(cloud_url, "POST", PATH, body, Inference_Header_Content_Length=announced)
        assert status < 500, answer
        assert status == 200 or "error" in json.loads(answer)
    assert ask(cloud_url, "GET", "/v2/health/live")[0] == 200


class Nothing:
    """A codec that brings zeros in one byte, and notes whether it did so beside an event loop."""

    name, agreement = "nothing", 0.0

    def __init__(self):
        self.beside = []

    def encode(self, value):  # noqa: ARG002
        return Encoded([b"0"], {}, None)

    def decode(self, encoded, spec):  # noqa: ARG002
        try:
            asyncio.get_running_loop()
            self.beside.append(False)
        except RuntimeError:
            self.beside.append(True)
        return torch.zeros(spec.shape)


@pytest.mark.parametrize(("batch", "beside"), [(1, False), (100, True)])
def test_few_bytes_that_become_many_are_decoded_beside_the_event_loop(running_cloud, tiny, batch, beside):
    codec = Nothing()
    request = TailRequest("tiny", 0, tiny.table.fingerprint, [torch.zeros(batch, 3, 16, 16)], "r", codec="nothing")
    message = encode_infer(request, codec)
    with running_cloud(max_batch=200, codecs={"nothing": codec}) as url:
        assert infer(url, message.header, b"".join(message.pieces))[0] == 200
    assert codec.beside == [beside]
