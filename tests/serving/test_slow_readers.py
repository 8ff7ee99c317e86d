"""Clients that do not take their answers are hung up on; slow ones as long as there is room for what they leave."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web

from midcut.config.settings import ServerSettings
from midcut.serving import make_runner, new_app, slow_readers

MB = 1_000_000
pytestmark = pytest.mark.skipif(
    not hasattr(socket, "TCP_INFO"), reason="the system does not tell what was acknowledged"
)


@pytest.fixture
async def server(monkeypatch):
    monkeypatch.setattr(slow_readers, "GRACE_S", 0.6)
    monkeypatch.setattr(slow_readers, "_YOUNG_S", 0.3)
    monkeypatch.setattr(slow_readers, "_LOOK_EVERY_S", 0.1)

    async def answer(request):
        return web.Response(body=bytes(int(request.query["mb"]) * MB))

    settings = ServerSettings(bodies_mb=30)
    app = new_app(MB, settings)
    app.router.add_get("/", answer)
    runner = make_runner(app, settings)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0]
    await runner.cleanup()


async def ask(address, mb, window=4096):
    """A connection whose client has read nothing yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.settimeout(0)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, address)
    await loop.sock_sendall(sock, b"GET /?mb=%d HTTP/1.1\r\nHost: x\r\n\r\n" % mb)
    return sock


async def read(sock):
    """Bytes until the answer ends or the server hangs up, and whether it did."""
    loop, count = asyncio.get_running_loop(), 0
    try:
        async with asyncio.timeout(90):
            while chunk := await loop.sock_recv(sock, 65536):
                count += len(chunk)
    except ConnectionError:
        return count, True
    except TimeoutError:
        return count, False
    return count, True


async def test_a_client_that_stops_reading_is_hung_up_on(server):
    sock = await ask(server, 20)
    await asyncio.sleep(2.0)
    count, ended = await read(sock)
    assert ended
    assert count < 20 * MB
    sock.close()


async def test_a_client_that_takes_a_few_bytes_at_a_time_is_hung_up_on(server):
    sock, loop = await ask(server, 20), asyncio.get_running_loop()
    for _ in range(40):
        await loop.sock_recv(sock, 2)
        await asyncio.sleep(0.05)
    count, ended = await read(sock)
    assert ended
    assert count < 100_000
    sock.close()


async def test_a_slow_client_gets_its_whole_answer(server):
    sock, loop, count = await ask(server, 8, 65536), asyncio.get_running_loop(), 0
    async with asyncio.timeout(90):
        while count < 8 * MB:
            count += len(await loop.sock_recv(sock, 65536))
            await asyncio.sleep(0.01)
    sock.close()


async def test_the_slowest_makes_room_where_too_much_waits(server):
    slow, fast = await ask(server, 25), await ask(server, 25, 1 << 20)
    loop, got = asyncio.get_running_loop(), {slow: 0, fast: 0}

    async def take(sock, size, pause_s):
        while got[sock] < 25 * MB and (chunk := await loop.sock_recv(sock, size)):
            got[sock] += len(chunk)
            await asyncio.sleep(pause_s)

    async with asyncio.timeout(90):
        await asyncio.gather(take(slow, 4096, 0.1), take(fast, 65536, 0.01), return_exceptions=True)
    assert got[fast] > 25 * MB
    assert got[slow] < 10 * MB
    slow.close()
    fast.close()
