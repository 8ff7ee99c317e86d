"""The binary reply, which does not use aiohttp's own response, as HTTP clients see it."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession, web

from midcut.config.settings import ServerSettings
from midcut.serving import make_runner, message_response
from midcut.wire.oip import Message


@pytest.fixture
async def address():
    """Answers `/SIZE` with so many bytes after a JSON header, in two pieces."""

    async def answer(request):
        size = int(request.match_info["size"])
        pieces = [memoryview(b"a" * (size // 2)), memoryview(b"b" * (size - size // 2))]
        response = message_response(Message(b'{"x":1}', pieces))
        if "leave" in request.query:
            response.force_close()
        return response

    app = web.Application()
    app.router.add_get("/{size}", answer)
    runner = make_runner(app, ServerSettings())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0]
    await runner.cleanup()


@pytest.mark.parametrize("size", [2, 4_000, 64 * 1024 - 7, 64 * 1024, 3_000_000])
async def test_small_and_large_replies_arrive_whole_on_one_connection(address, size):
    host, port = address
    async with ClientSession(f"http://{host}:{port}") as session:
        for _ in range(3):
            async with session.get(f"/{size}") as reply:
                body = await reply.read()
                assert reply.status == 200
                assert reply.headers["Content-Type"] == "application/octet-stream"
                assert reply.headers["Inference-Header-Content-Length"] == "7"
                assert reply.headers["Server"] == "midcut"
                assert reply.headers["Date"].endswith("GMT")
                assert int(reply.headers["Content-Length"]) == len(body) == size + 7
                assert body == b'{"x":1}' + b"a" * (size // 2) + b"b" * (size - size // 2)
                assert "Connection" not in reply.headers
        assert len(session.connector._conns) == 1


async def raw_response(address, request, wait_s):
    """HTTP header, body, and what follows until the server closes; None where it keeps the connection open."""

    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    header = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(11)
    try:
        rest = await asyncio.wait_for(reader.read(), wait_s)
    except TimeoutError:
        rest = None
    writer.close()
    return header, body, rest


@pytest.mark.parametrize(
    ("request_", "connection", "closed"),
    [
        (b"GET /4 HTTP/1.1\r\nHost: x\r\n\r\n", None, False),
        (b"GET /4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"close", True),
        (b"GET /4?leave HTTP/1.1\r\nHost: x\r\n\r\n", b"close", True),
        (b"GET /4 HTTP/1.0\r\n\r\n", b"close", True),
        (b"GET /4 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"keep-alive", False),
    ],
)
async def test_the_connection_is_kept_as_the_client_and_the_server_want_it(address, request_, connection, closed):
    header, body, rest = await raw_response(address, request_, 60.0 if closed else 0.3)
    assert body == b'{"x":1}aabb'
    values = [field.split(b": ")[1] for field in header.split(b"\r\n") if field.startswith(b"Connection: ")]
    assert values == ([] if connection is None else [connection])
    assert rest == (b"" if closed else None)


async def test_a_client_that_leaves_amid_a_large_reply_costs_nobody_else(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /3000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readexactly(100)
    writer.transport.abort()
    assert (await raw_response(address, b"GET /4 HTTP/1.1\r\nHost: x\r\n\r\n", 0.3))[1] == b'{"x":1}aabb'
