"""Clients that do not take their answers are hung up on; slow ones as long as there is room for what they leave."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl

import pytest
import trustme
from aiohttp import web

from midcut.config.settings import ServerSettings
from midcut.serving import event_loop, make_runner, new_app, slow_readers

MB = 1_000_000
pytestmark = pytest.mark.skipif(
    not hasattr(socket, "TCP_INFO"), reason="the system does not tell what was acknowledged"
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(slow_readers, "GRACE_S", 0.6)
    monkeypatch.setattr(slow_readers, "_YOUNG_S", 0.3)
    monkeypatch.setattr(slow_readers, "_LOOK_EVERY_S", 0.1)


@pytest.fixture
def serving(on_a_thread, run):
    """The address of a server on a thread and a loop of its own."""

    def start(tls=None):
        async def answer(request):
            return web.Response(body=bytes(int(request.query["mb"]) * MB))

        async def go(ready, stop):
            settings = ServerSettings(bodies_mb=30)
            app = new_app(MB, settings)
            app.router.add_get("/", answer)
            runner = make_runner(app, settings)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
            ready(runner.addresses[0])
            await stop.wait()
            await runner.cleanup()

        return on_a_thread(go, run)

    return start


@pytest.fixture(params=[asyncio.run, event_loop.run], ids=["asyncio", "ours"])
def run(request):
    """The loop of the server: their transports have no class in common."""
    return request.param


@pytest.fixture
def server(serving):
    with serving() as address:
        yield address


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


def test_a_client_that_stops_reading_over_tls_is_hung_up_on(serving):
    authority = trustme.CA()
    tls, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(trusting)
    with serving(tls) as address, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(60)
        sock.connect(address)
        with trusting.wrap_socket(sock, server_hostname="127.0.0.1") as client:
            client.sendall(b"GET /?mb=20 HTTP/1.1\r\nHost: x\r\n\r\n")
            hung_up = select.poll()
            hung_up.register(client, select.POLLHUP)
            assert hung_up.poll(60_000)


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
