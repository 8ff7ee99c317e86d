from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
import zlib
from contextlib import contextmanager

import pytest
import torch
from common.processes import free_port
from msgspec.structs import replace

from midcut import wire
from midcut.edge.clouds.failover import Clouds
from midcut.errors import CloudError, CloudRefusedError, CloudTimeoutError, CloudUnreachableError, ConfigError
from midcut.planning.breaker import BreakerState
from midcut.protocols import ModelLister
from midcut.proxies.faults import FaultProxy
from midcut.proxies.toxics import Garbage
from midcut.testing import TransportSuite
from midcut.types import BodyArrival, TailRequest
from midcut_transports.http import http_transport


def transport(url, timeout_s=60.0, connect_timeout_s=60.0, **settings):
    return http_transport(url=url, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, **settings)


class TestHttp(TransportSuite):
    @pytest.fixture(autouse=True)
    def _cloud(self, tiny, tiny_model, cloud_url):
        self.tiny, self.model, self.url = tiny, tiny_model, cloud_url

    def make(self):
        return transport(self.url)

    def request(self):
        with torch.inference_mode():
            values = self.tiny.head(4, self.model.example)
        return TailRequest("tiny", 4, self.tiny.table.fingerprint, values, "suite")

    def expected(self):
        with torch.inference_mode():
            return [self.model.module(*self.model.example)]

    def make_unreachable(self):
        return transport(f"http://127.0.0.1:{free_port()}")

    @pytest.mark.parametrize("limits", [{"timeout_s": 1e12}, {"timeout_s": 1e300}, {"connect_timeout_s": 1e9}])
    async def test_a_limit_beyond_what_the_kernel_counts_is_taken(self, limits):
        client = transport(self.url, **limits)
        await client.open()
        reply = await client.infer(self.request())
        await client.close()
        assert torch.equal(reply.values[0], self.expected()[0])


class Scripted:
    """A server whose n-th request gets the n-th answer: bytes to send; None hangs; "close" hangs up."""

    def __init__(self, answers):
        self.received = []
        self._left = list(answers)
        self._release = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while self._left and (body := receive(connection)) is not None:
                self.received.append(body)
                answer = self._left.pop(0)
                if answer is None:
                    self._release.wait(600)
                if answer in (None, "close"):
                    return
                connection.sendall(answer)
                if b"Connection: close" in answer:
                    return

    def close(self):
        self._release.set()
        self._listener.close()


@contextmanager
def scripted(*answers):
    server = Scripted(answers)
    try:
        yield server.url, server.received
    finally:
        server.close()


def receive(connection):
    """One request's body, or None where the client hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    header, body = data.split(b"\r\n\r\n", 1)
    length = next(
        int(line.split(b":")[1]) for line in header.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return body


ONES = struct.pack("<2f", 1.0, 1.0)


def oip_reply(data=ONES, *, tensor=None, parameters=None, **changes):
    """A reply of the Open Inference Protocol, made by hand: its header, and the bytes after it."""
    output = {"name": "y", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    header = {
        "model_name": "m",
        "model_version": "f",
        "id": "r",
        "parameters": {"compute_us": 1000, "server_us": 1500, "crc32": f"{zlib.crc32(data):08x}"} | (parameters or {}),
        "outputs": [output | (tensor or {})],
    }
    header = json.dumps(header | changes).encode()
    return reply(header + data, headers=f"Inference-Header-Content-Length: {len(header)}\r\n")


def reply(body=None, status="200 OK", headers=""):
    if body is None:
        return oip_reply()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


REQUEST = TailRequest("m", 1, "f", [torch.zeros(3)], "r")


def json_header(body):
    """The JSON header of a request body."""
    return json.JSONDecoder().raw_decode(body.decode("latin-1"))[0]


def send(url, times=1, **settings):
    async def go():
        client = transport(url, **settings)
        await client.open()
        try:
            for _ in range(times):
                answer = await client.infer(REQUEST)
        finally:
            await client.close()
        return answer

    return asyncio.run(go())


@pytest.mark.parametrize(("told", "taken"), [({"stand_in": True}, True), ({"stand_in": "yes"}, False), ({}, False)])
def test_whether_pytorch_stood_in_for_the_clouds_runtime_is_passed_on(told, taken):
    with scripted(oip_reply(parameters=told)) as (url, _):
        assert send(url).stand_in is taken


def test_what_a_cloud_tells_of_the_bodys_arrival_is_passed_on():
    with scripted(oip_reply(parameters={"arrival_us": 5528, "arrival_bytes": 13_159})) as (url, _):
        assert send(url).arrival == BodyArrival(13_159, 0.005528)
    with scripted(oip_reply(parameters={"arrival_us": 0, "arrival_bytes": 13_159})) as (url, _):
        assert send(url).arrival is None  # no rate


def test_a_reply_is_read():
    with scripted(reply()) as (url, received):
        answer = send(url)
    assert torch.equal(answer.values[0], torch.ones(2))
    assert (answer.compute_s, answer.server_s) == (0.001, 0.0015)
    assert json_header(received[0])["id"] == "r"
    assert received[0].endswith(bytes(12))
    assert json_header(received[0])["parameters"] == {
        "binary_data_output": True, "cut": 1, "fingerprint": "f", "timeout": 60_000_000
    }  # fmt: skip


def test_the_connection_is_kept_for_the_next_request():
    with scripted(reply(), reply(), reply()) as (url, received):
        send(url, times=3)
    assert len(received) == 3


def test_a_kept_connection_that_the_cloud_has_closed_is_tried_once_more():
    with scripted(reply(), "close", reply()) as (url, received):
        assert torch.equal(send(url, times=2).values[0], torch.ones(2))
    assert len(received) == 3
    assert received[1] == received[2]  # the very same request, id included


def test_a_cloud_that_hangs_up_twice_is_unreachable():
    with scripted("close", "close", reply()) as (url, received), pytest.raises(CloudUnreachableError, match="broke"):
        send(url)
    assert len(received) == 2


def test_nobody_listening_is_unreachable_and_says_where():
    port = free_port()
    with pytest.raises(CloudUnreachableError, match=f"cannot reach 127.0.0.1:{port}"):
        send(f"http://127.0.0.1:{port}")


def test_a_name_that_does_not_resolve_is_unreachable():
    with pytest.raises(CloudUnreachableError, match=r"cannot reach no-such-host\.invalid"):
        send("http://no-such-host.invalid:1")


def test_no_answer_in_time_is_a_timeout():
    with scripted(None) as (url, _), pytest.raises(CloudTimeoutError, match=r"no answer from .* in (1|0\.\d+) s"):
        send(url, timeout_s=1.0)


def test_a_reply_that_trickles_is_a_timeout():
    slow = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"
    with scripted(slow, None) as (url, _), pytest.raises(CloudTimeoutError):
        send(url, timeout_s=0.3)


def test_a_full_backlog_is_a_connect_timeout_or_a_timeout():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.settimeout(0)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        with pytest.raises(CloudTimeoutError, match=r"no (connection|answer)"):
            send(f"http://127.0.0.1:{port}", timeout_s=0.5, connect_timeout_s=0.3)
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (reply(wire.encode_error("other weights"), "409 Conflict"), "the cloud says 409: other weights"),
        (reply(wire.encode_error("draining"), "503 Service Unavailable"), "the cloud says 503: draining"),
        (reply(b"<html>Bad Gateway</html>", "502 Bad Gateway"), "the cloud says 502: '<html>Bad Gateway"),
        (reply(b"", "301 Moved Permanently", "Location: http://127.0.0.1:1/\r\n"), "redirects to"),
        (reply(b"{}"), "reply is invalid: the body is not an Open Inference Protocol message"),
        (reply(b"\x00\xff" * 50), "reply is invalid"),
        (reply(b'{"model_name":"m","outputs":[{}]}'), "reply is invalid"),
        (reply(b"{}", headers="Inference-Header-Content-Length: 3\r\n"), "reply is invalid"),
        (reply(b"{}", headers="Inference-Header-Content-Length: -1\r\n"), "reply is invalid"),
        (oip_reply(bytes(7)), "takes 8 bytes, got 7"),
        (oip_reply(bytes(16)), "takes 8 bytes, got 16"),
        (oip_reply(tensor={"shape": [2**40, 2**40]}), "takes"),
        (oip_reply(tensor={"shape": [-2]}), "reply is invalid"),
        (oip_reply(tensor={"datatype": "BYTES"}), "unknown datatype 'BYTES'"),
        (oip_reply(tensor={"parameters": {"binary_data_size": 9}}), "9 bytes announced, 8 are left"),
        (oip_reply(tensor={"parameters": {"binary_data_size": True}}), "must be int"),
        (oip_reply(parameters={"compute_us": -1}), "Expected `float` >= 0.0 - at `$.parameters.compute_us`"),
        (oip_reply(parameters={"server_us": "long"}), "got `str` - at `$.parameters.server_us`"),
        (
            oip_reply(parameters={"arrival_us": -5, "arrival_bytes": 7}),
            "Expected `float` >= 0.0 - at `$.parameters.arrival_us`",
        ),
        (
            oip_reply(parameters={"arrival_us": 5, "arrival_bytes": -7}),
            "Expected `int` >= 0 - at `$.parameters.arrival_bytes`",
        ),
        (
            oip_reply(parameters={"arrival_us": 5, "arrival_bytes": 7.5}),
            "got `float` - at `$.parameters.arrival_bytes`",
        ),
        (oip_reply(id="another"), "answered request 'another', not 'r'"),
        (oip_reply(parameters={"crc32": "00000000"}), "the checksum differs"),
        (oip_reply(parameters={"crc32": None}), "the checksum differs"),
        (oip_reply(model_version="g"), "answered with model 'g', not 'f'"),
        (oip_reply(model_version=None), "answered with model '', not 'f'"),
        (reply(b"", headers="Content-Encoding: gzip\r\n"), "gzip-encoded"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "127.0.0.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "127.0.0.1"),
    ],
)
def test_an_answer_that_is_none_is_refused_with_the_reason(answer, part):
    with scripted(answer, answer) as (url, _), pytest.raises(CloudRefusedError) as caught:
        send(url)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_vendors_server_may_mean_something_else_by_the_names_of_midcuts_parameters():
    told = {"cut": "left", "finished_by": 3, "queue_us": "12", "crc32": 5, "fallback": True, "more": [None]}

    async def go(url):
        client = transport(url, plain=True)
        await client.open()
        try:
            return await client.infer(replace(REQUEST, cut=0))
        finally:
            await client.close()

    with scripted(oip_reply(parameters=told)) as (url, _):
        assert asyncio.run(go(url)).values[0].tolist() == [1.0, 1.0]


def test_a_reply_garbled_anywhere_on_the_way_is_never_an_answer(tiny, tiny_model, cloud_url):
    with torch.inference_mode():
        values, whole = tiny.head(4, tiny_model.example), tiny_model.module(*tiny_model.example)
    names = [spec.name for spec in tiny.table.cuts[4].values]
    asked = TailRequest("tiny", 4, tiny.table.fingerprint, values, "r", names=names)

    async def go(proxy):
        client = transport(proxy.url)
        await client.open()
        try:
            return await client.infer(asked)
        except CloudError:
            return None
        finally:
            await client.close()

    with FaultProxy(cloud_url.removeprefix("http://"), seed=5) as proxy:
        fine = asyncio.run(go(proxy))
        assert torch.equal(fine.values[0], whole)
        for after in range(0, fine.received_bytes, 7):
            with proxy.under(Garbage(after_bytes=after)):
                garbled = asyncio.run(go(proxy))
            # Another reply may be a digit shorter, and the last random byte may be the right one by chance.
            assert garbled is None or (after > fine.received_bytes - 8 and torch.equal(garbled.values[0], whole)), after


def test_a_reply_that_ends_too_soon_is_unreachable():
    cut_short = oip_reply().replace(b"\r\n", b"\r\nConnection: close\r\n", 1)[:-5]
    with scripted(cut_short) as (url, _), pytest.raises(CloudUnreachableError, match="broke"):
        send(url)


def test_a_payload_over_a_megabyte_arrives_whole():
    big = TailRequest("m", 1, "f", [torch.arange(400_000, dtype=torch.float32)], "r")

    async def go(url):
        client = transport(url)
        await client.open()
        try:
            return await client.infer(big)
        finally:
            await client.close()

    with scripted(reply()) as (url, received):
        answer = asyncio.run(go(url))
    assert received[0].endswith(big.values[0].numpy().tobytes())
    assert 1_600_000 < len(received[0]) < answer.sent_bytes < 1_600_000 + 600


def test_a_url_with_a_path_is_kept_in_front():
    with scripted(reply()) as (url, _):
        assert send(f"{url}/behind/a/proxy/").values


@pytest.mark.parametrize("url", ["", "cloud:8700", "ftp://cloud", "/v1", "http://"])
def test_a_url_that_is_none_is_a_config_error(url):
    with pytest.raises(ConfigError, match=r"transport\.url must look like http://host:port"):
        transport(url)


@pytest.mark.parametrize("url", ["http://me:hunter2@cloud:8700", "http://hunter2@cloud", "https://:hunter2@cloud"])
def test_a_url_with_a_password_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigError, match=r"set transport\.token_env") as caught:
        transport(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "where"),
    [("http://b\u00fccher.invalid/x", "xn--bcher-kva.invalid:80"), ("http://[::1]:{port}", "[::1]:{port}")],
)
def test_a_host_is_called_what_it_is_called_on_the_wire(url, where):
    port = free_port()
    with pytest.raises(CloudUnreachableError) as caught:
        send(url.format(port=port))
    assert str(caught.value).startswith(f"cannot reach {where.format(port=port)}: ")


@pytest.mark.parametrize("setting", ["timeout_s", "connect_timeout_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_must_be_finite_and_over_zero(setting, value):
    with pytest.raises(ConfigError, match=f"transport.{setting} must be finite and over 0"):
        transport("http://127.0.0.1:1", **{setting: value})


def test_used_before_it_is_open_it_is_a_cloud_error():
    with pytest.raises(CloudUnreachableError, match="not open"):
        asyncio.run(transport("http://127.0.0.1:1").infer(REQUEST))


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "413 Too Large", "503 Service Unavailable"])
def test_a_refusal_carries_the_status(status):
    answer = reply(wire.encode_error("no"), status)
    with scripted(answer, answer) as (url, _), pytest.raises(CloudRefusedError) as caught:
        send(url)
    assert caught.value.http_status == int(status[:3])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", None), ("Retry-After: 7\r\n", 7.0), ("Retry-After: Fri, 31 Dec 2027 23:59:59 GMT\r\n", None)],
)
def test_a_refusal_carries_when_to_come_again(header, seconds):
    answer = reply(wire.encode_error("busy"), "503 Service Unavailable", header)
    with scripted(answer) as (url, _), pytest.raises(CloudRefusedError) as caught:
        send(url)
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize("framing", ["chunked", "until the end"])
def test_replies_framed_in_other_ways_are_read(framing):
    header, body = oip_reply().split(b"\r\n\r\n", 1)
    header = b"\r\n".join(line for line in header.split(b"\r\n") if not line.startswith(b"Content-Length"))
    if framing == "chunked":
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:])) + b"0\r\n\r\n"
        answer = header + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        with scripted(answer, answer) as (url, received):
            assert torch.equal(send(url, times=2).values[0], torch.ones(2))
        assert len(received) == 2
    else:
        with scripted(header + b"\r\nConnection: close\r\n\r\n" + body) as (url, _):
            assert torch.equal(send(url).values[0], torch.ones(2))


def test_an_interim_answer_is_not_the_answer():
    with scripted(b"HTTP/1.1 100 Continue\r\n\r\n" + oip_reply()) as (url, _):
        assert torch.equal(send(url).values[0], torch.ones(2))


def test_a_request_may_have_less_time_than_the_transport_gives():
    async def go(url):
        client = transport(url)
        await client.open()
        try:
            await client.infer(replace(REQUEST, timeout_s=0.5))
        finally:
            await client.close()

    with scripted(None) as (url, received), pytest.raises(CloudTimeoutError, match=r"in 0\.\d+ s"):
        asyncio.run(go(url))
    assert json_header(received[0])["parameters"]["timeout"] == 500_000


@pytest.mark.parametrize(
    "surplus", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: y", b"\x00junk", oip_reply(b"evil")]
)
def test_what_comes_after_an_answer_ends_the_connection_not_the_next_request(surplus):
    with scripted(oip_reply() + surplus, oip_reply(), oip_reply()) as (url, _):
        assert torch.equal(send(url, times=2).values[0], torch.ones(2))


def ask(url):
    async def go():
        client = transport(url)
        await client.open()
        try:
            return await client.listing()
        finally:
            await client.close()

    return asyncio.run(go())


def test_it_lists_what_the_cloud_holds(tiny, cloud_url):
    held = ask(cloud_url)
    assert list(held) == ["tiny"]
    assert (held["tiny"].fingerprint, held["tiny"].legal) == (tiny.table.fingerprint, tuple(range(10)))
    assert ask(cloud_url + "/")["tiny"] == held["tiny"]


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"{}", b'{"models":5}', b'{"models":[{"name":"x","fingerprint":"f"}]}', b'{"models":["x"]}']
)
def test_a_list_that_is_none_is_refused(body):
    with scripted_get(reply(body)) as url, pytest.raises(CloudRefusedError, match="is not the list of models"):
        ask(url)


def test_a_cloud_that_drains_lists_nothing():
    answer = reply(wire.encode_error("this server is shutting down"), "503 Service Unavailable")
    with scripted_get(answer) as url, pytest.raises(CloudRefusedError, match="503: this server is shutting down"):
        ask(url)


def test_nobody_there_lists_nothing():
    with pytest.raises(CloudUnreachableError):
        ask(f"http://127.0.0.1:{free_port()}")


async def test_another_vendors_server_has_no_list_to_wait_for_before_it_is_tried_again():
    url = f"http://127.0.0.1:{free_port()}"
    other = transport(url, plain=True)
    assert isinstance(transport(url), ModelLister)
    assert not isinstance(other, ModelLister)
    clouds, states = Clouds({url: other}, retry_after_s=0.02, failures=1), []
    clouds.on_change.append(lambda: states.append(clouds.state))
    await clouds.open()
    with pytest.raises(CloudUnreachableError):
        await clouds.infer(replace(REQUEST, cut=0), lambda _: None)
    async with asyncio.timeout(60):
        while clouds.state is not BreakerState.half_open:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert states == [BreakerState.open, BreakerState.half_open]
    await clouds.close()


@contextmanager
def scripted_get(answer):
    """A server that gives one answer to whatever comes first on a connection."""

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_exchange_is_timed_from_the_first_byte_written():
    class Slow(Scripted):
        def _serve(self, connection):
            receive(connection)
            time.sleep(0.2)
            connection.sendall(reply())

    server = Slow([])
    try:
        started = time.perf_counter()
        answer = send(server.url)
        took_s = time.perf_counter() - started
    finally:
        server.close()
    assert 0.19 < answer.wall_s < took_s
