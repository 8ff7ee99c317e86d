"""Damage on the way and connections that died silently, against a real cloud behind a fault proxy."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
import zlib
from urllib.parse import urlsplit

import pytest
import torch
from msgspec.structs import replace

from midcut.errors import CloudError, CloudUnreachableError
from midcut.proxies.faults import FaultProxy, Stream
from midcut.proxies.toxics import BitFlips, Timeout
from midcut.types import TailRequest
from midcut_transports.http import http_transport


@pytest.fixture
def proxy(cloud_url):
    with FaultProxy(urlsplit(cloud_url).netloc, seed=7) as proxy:
        yield proxy


@pytest.fixture
def request_of(tiny):
    def make(cut, image, codec="raw"):
        with torch.inference_mode():
            return TailRequest("tiny", cut, tiny.table.fingerprint, tiny.head(cut, (image,)), f"r{cut}", codec)

    return make


def transport(proxy, **settings):
    return http_transport(url=f"http://{proxy.address}", **{"timeout_s": 30.0, "connect_timeout_s": 5.0} | settings)


@pytest.mark.parametrize("codec", ["raw", "base64"])
@pytest.mark.parametrize("stream", list(Stream), ids=lambda stream: stream.value)
@pytest.mark.parametrize("greeted", [True, False])
async def test_flipped_bits_never_give_a_wrong_answer(proxy, request_of, tiny_model, codec, stream, greeted):
    generator = torch.Generator().manual_seed(5)
    client = transport(proxy)
    await client.open()
    if greeted:
        await client.listing()
    answered = failed = 0
    with proxy.under(BitFlips(every_bytes=20_000), stream):
        for number in range(120):
            image = torch.randn(1, 3, 16, 16, generator=generator)
            request = replace(request_of((0, 2, 4, 7)[number % 4], image, codec), request_id=f"r{number}")
            try:
                (value,) = (await client.infer(request)).values
            except CloudError:
                failed += 1
                continue
            answered += 1
            with torch.inference_mode():
                assert torch.equal(value, tiny_model.module(image))
    await client.close()
    assert answered > failed  # most are sent again, and get through


async def test_a_damaged_request_is_sent_again_on_another_connection(proxy, request_of, tiny_model):
    client = transport(proxy)
    await client.open()
    await client.listing()
    request = request_of(4, tiny_model.example[0])
    reply = await client.infer(request)
    assert not reply.fresh
    with proxy.under(BitFlips(every_bytes=1), Stream.upstream), pytest.raises(CloudError):
        await client.infer(request)
    assert torch.equal((await client.infer(request)).values[0], reply.values[0])
    await client.close()


@pytest.mark.parametrize("path", ["/v2/models/tiny/infer", "/v1/infer"])
def test_a_wrong_checksum_is_a_400_and_the_right_one_passes_it(cloud_url, path):
    body = b"{}"
    model = "tiny" if "/v2/" in path else ""
    right = format(zlib.crc32(model.encode() + b"\n\n" + body), "08x")
    for checksum, damaged in ((right, False), ("00000000", True), ("deferred", False)):
        ask = urllib.request.Request(cloud_url + path, body, {"Midcut-Checksum": checksum})
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(ask, timeout=60)
        assert error.value.code == 400
        assert error.value.headers["Midcut-Received"] == right
        assert ("damaged on the way" in error.value.read().decode()) is damaged


async def test_a_kept_connection_that_died_silently_costs_its_silence_and_no_failure(proxy, request_of, tiny_model):
    client = transport(proxy, connect_timeout_s=0.5)
    await client.open()
    request = request_of(4, tiny_model.example[0])
    await client.infer(request)
    dead = Timeout(timeout_ms=0)  # what was sent is never answered, and nothing is closed
    with proxy.under(dead):
        asking = asyncio.create_task(client.infer(request))
        await asyncio.sleep(0.2)
    reply = await asyncio.wait_for(asking, 25.0)
    assert reply.fresh
    await client.close()


async def test_an_idle_connection_is_not_used_after_its_time(proxy, request_of, tiny_model):
    client = transport(proxy, max_idle_s=0.05)
    await client.open()
    request = request_of(4, tiny_model.example[0])
    assert (await client.infer(request)).fresh
    await asyncio.sleep(0.1)
    assert (await client.infer(request)).fresh
    await client.close()


async def test_a_silent_first_address_does_not_hide_the_second(proxy, request_of, tiny_model, monkeypatch):
    silent = socket.socket()  # bound and listening with a full backlog: connecting to it is never answered
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    fill = [socket.socket() for _ in range(4)]
    for one in fill:
        one.settimeout(0)
        one.connect_ex(silent.getsockname())
    port = int(proxy.address.rpartition(":")[2])

    async def addresses(_host, _port, **_):
        family = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*family, silent.getsockname()), (*family, ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses, raising=False)
    client = http_transport(url=f"http://two.example:{port}", timeout_s=30.0, connect_timeout_s=20.0)
    await client.open()
    try:
        assert (await client.infer(request_of(4, tiny_model.example[0]))).values
    finally:
        await client.close()
        for one in (silent, *fill):
            one.close()


async def test_nothing_at_any_address_is_unreachable(monkeypatch):
    async def addresses(_host, _port, **_):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 9, 0, 0)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses, raising=False)
    client = http_transport(url="http://two.example:9", timeout_s=5.0, connect_timeout_s=5.0)
    await client.open()
    with pytest.raises(CloudUnreachableError):
        await client.infer(TailRequest("m", 0, "f", [torch.zeros(1)], "r"))
    await client.close()
