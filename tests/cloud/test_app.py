from __future__ import annotations

import http.client
import json
import socket
import time
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from midcut import wire
from midcut.types import TailRequest
from midcut.wire.version import software


def ask(url, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body=body, headers={"Content-Type": "application/json"} | (headers or {}))
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response
    finally:
        connection.close()


def metrics(url):
    with urlopen(f"{url}/metrics", timeout=60) as response:
        return response.read().decode()


def infer(url, body, headers=None):
    status, answer, _ = ask(url, "POST", "/v1/infer", body, headers)
    return status, answer


@pytest.fixture(scope="session")
def body(tiny, tiny_model):
    with torch.inference_mode():
        values = tiny.head(4, tiny_model.example)
    return wire.encode_request(TailRequest("tiny", 4, tiny.table.fingerprint, values, "abc"))


def changed(body, **changes):
    return json.dumps(json.loads(body) | changes).encode()


def test_every_cut_finishes_with_the_bits_of_the_unsplit_model(tiny, tiny_model, cloud_url):
    with torch.inference_mode():
        whole = tiny_model.module(*tiny_model.example)
        for cut in tiny.legal:
            request = TailRequest("tiny", cut, tiny.table.fingerprint, tiny.head(cut, tiny_model.example), f"cut-{cut}")
            status, answer = infer(cloud_url, wire.encode_request(request))
            assert status == 200
            assert answer["request_id"] == f"cut-{cut}"
            assert 0.0 <= answer["compute_s"] <= answer["server_s"]
            (output,) = wire.decode_values(wire.read_reply(json.dumps(answer).encode()).values)
            assert torch.equal(output, whole)


def test_health_and_the_model_list(tiny, cloud_url):
    assert ask(cloud_url, "GET", "/health")[:2] == (200, {"status": "ok", "models": ["tiny"]})
    status, answer, _ = ask(cloud_url, "GET", "/v1/models")
    assert status == 200
    assert len(answer["models"][0].pop("tiers")) == 1
    assert answer["models"] == [
        {
            "name": "tiny",
            "fingerprint": tiny.table.fingerprint,
            "cuts": 10,
            "legal": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            "refused": {},
            "nodes": 9,
            "codecs": ["raw", "base64"],
            "stages": [],
            "probe": {"inputs": tiny.probe.inputs, "outputs": [list(output) for output in tiny.probe.outputs]},
            "executor": "",
            "software": software(),
        }
    ]


def test_the_probe_counts_what_it_throws_away(cloud_url):
    status, answer, _ = ask(cloud_url, "POST", "/v1/probe", b"x" * 300_000)
    assert (status, answer["received_bytes"]) == (200, 300_000)
    assert answer.keys() <= {"received_bytes", "arrival_bytes", "arrival_us"}  # of a body in four pieces or more


@pytest.mark.parametrize(
    ("changes", "status", "part"),
    [
        ({"model": "vgg99"}, 404, "no model 'vgg99' here; there are: tiny"),
        ({"fingerprint": "other"}, 409, "other weights, graph or cuts"),
        ({"cut": 10}, 400, "cut 10 of 'tiny' is not offered: 10 cuts from 0 to 9 are"),
        ({"cut": -1}, 400, "cut -1"),
        ({"cut": 2**62}, 400, "not offered"),
        ({"cut": 5}, 400, "takes 1 values, got 2"),
        ({"values": []}, 400, "takes 2 values, got 0"),
        ({"values": [1, 2]}, 400, "must be a float32 tensor"),
        ({"extra": 1}, 400, "unknown field"),
    ],
)
def test_a_wrong_request_is_refused_with_a_reason(cloud_url, body, changes, status, part):
    got, answer = infer(cloud_url, changed(body, **changes))
    assert got == status
    assert part in answer["error"]
    assert "\n" not in answer["error"]


@pytest.mark.parametrize(
    ("position", "tensor", "status", "part"),
    [
        (0, torch.zeros(1, 8, 16, 15), 400, "expected [B, 8, 16, 16]"),
        (0, torch.zeros(1, 8, 256), 400, "dimensions"),
        (1, torch.zeros(1, 8, 16, 16, dtype=torch.float16), 400, "must be float32, got float16"),
        (1, torch.zeros(0, 8, 16, 16), 400, "expected"),
        (1, torch.zeros(2, 8, 16, 16), 413, "over a batch of 1"),
    ],
)
def test_a_value_that_does_not_fit_the_cut_is_refused(cloud_url, body, position, tensor, status, part):
    message = json.loads(body)
    encoded = json.loads(wire.encode_request(TailRequest("tiny", 4, "", [tensor], "x")))["values"][0]
    message["values"][position] = encoded
    got, answer = infer(cloud_url, json.dumps(message).encode())
    assert (got, part in answer["error"]) == (status, True), answer


def test_a_cloud_that_takes_batches_gives_each_row_the_bits_of_the_unsplit_model(tiny, tiny_model, running_cloud):
    batch = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with running_cloud(max_batch=3) as url, torch.inference_mode():
        for cut in (0, 4, 7):
            request = TailRequest("tiny", cut, tiny.table.fingerprint, tiny.head(cut, (batch,)), "b")
            status, answer = infer(url, wire.encode_request(request))
            assert status == 200
            (output,) = wire.decode_values(wire.read_reply(json.dumps(answer).encode()).values)
            assert torch.equal(output, tiny_model.module(batch))


def test_a_body_over_the_limit_is_refused_by_its_length_and_by_its_chunks(cloud_url, tiny):
    limit = wire.body_limit([tiny.table])
    assert infer(cloud_url, b" " * (limit + 1))[0] == 413
    chunks = (b" " * 10_000 for _ in range(limit // 10_000 + 1))
    status, answer = infer(cloud_url, chunks)
    assert status == 413
    assert str(limit) in answer["error"]


def test_a_body_at_the_limit_is_read(cloud_url, tiny):
    status, answer = infer(cloud_url, b" " * wire.body_limit([tiny.table]))
    assert (status, "truncated" in answer["error"]) == (400, True)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x"])
def test_an_encoded_body_is_refused_unread(cloud_url, body, encoding):
    assert infer(cloud_url, body, {"Content-Encoding": encoding})[0] == 415


def test_an_unknown_path_and_method_say_so_in_json(cloud_url):
    status, answer, _ = ask(cloud_url, "GET", "/v2/nothing")
    assert (status, answer["error"]) == (404, "GET /v2/nothing: Not Found")
    status, _, response = ask(cloud_url, "GET", "/v1/infer")
    assert (status, response.getheader("Allow")) == (405, "POST")


def raw(url, data, wait_s=60.0):
    """What a server answers to bytes that no HTTP client would send."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=wait_s) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if b"}" in answer:
                break
        return answer


def test_a_body_that_stops_halfway_is_given_up(cloud_url):
    answer = raw(cloud_url, b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"not complete after 2 s" in answer


@pytest.mark.parametrize("start", [b"", b"POST /v1/inf", b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_connection_without_a_whole_head_is_closed(cloud_url, start):
    assert raw(cloud_url, start) == b""


@pytest.mark.parametrize(
    "header",
    [
        b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 20 + b"\r\n\r\n",
    ],
)
def test_broken_http_is_a_400_or_nothing_and_never_a_5xx(cloud_url, header):
    answer = raw(cloud_url, header)
    assert answer[9:12] in (b"400", b"")


def test_content_length_beyond_all_measure_is_refused_at_once(cloud_url):
    header = b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n"
    assert raw(cloud_url, header)[9:12] == b"413"


def test_aborted_uploads_leave_the_cloud_well(cloud_url, capfd):
    parts = urlsplit(cloud_url)
    for _ in range(50):
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{")
    assert ask(cloud_url, "GET", "/health")[0] == 200
    time.sleep(0.2)
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err


@settings(max_examples=150)
@given(body=st.binary(max_size=300))
def test_no_bytes_give_a_5xx(cloud_url, body):
    assert infer(cloud_url, body)[0] == 400


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(
    changes=st.dictionaries(st.sampled_from(["model", "cut", "request_id", "values", "more"]), json_like, min_size=1)
)
def test_no_json_gives_a_5xx(cloud_url, body, changes):
    assert infer(cloud_url, changed(body, **changes))[0] < 500


@settings(max_examples=150)
@given(
    cut=st.integers(0, 9),
    shape=st.lists(st.integers(0, 4), max_size=5),
    dtype=st.sampled_from(["float32", "int64", "bool", "bfloat16"]),
    seed=st.integers(0, 9),
)
def test_no_tensor_gives_a_5xx(cloud_url, tiny, cut, shape, dtype, seed):
    tensor = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(getattr(torch, dtype))
    request = TailRequest("tiny", cut, tiny.table.fingerprint, [tensor], "f")
    assert infer(cloud_url, wire.encode_request(request))[0] in (400, 413)


def test_what_is_left_when_the_drain_is_over_is_cut_off_soon(running_cloud):
    with socket.socket() as slow:
        with running_cloud(drain_s=0.5, body_timeout_s=600.0) as url:
            parts = urlsplit(url)
            slow.connect((parts.hostname, parts.port))
            slow.sendall(b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
            while "\nmidcut_requests_in_flight 2.0" not in metrics(url):  # that one, and the one that asks
                time.sleep(0.01)
            stopped_s = time.monotonic()
        assert time.monotonic() - stopped_s >= 0.5
