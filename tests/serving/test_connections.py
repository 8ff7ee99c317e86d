"""How many connections a server keeps, and for how long it waits for a client that does not read."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from urllib.parse import urlsplit

from aiohttp import web

from midcut.config.settings import ServerSettings
from midcut.serving import make_runner


def test_an_idle_connection_makes_room_for_a_new_one(running_cloud):
    with running_cloud(connections=4) as url:
        parts = urlsplit(url)
        idle = [socket.create_connection((parts.hostname, parts.port), timeout=60) for _ in range(4)]
        for _ in range(3):
            connection = http.client.HTTPConnection(parts.netloc, timeout=60)
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
            connection.close()
        assert idle[0].recv(1) == b""  # the oldest was closed
        for each in idle:
            each.close()


async def test_a_client_that_stops_reading_is_hung_up_on(monkeypatch):
    monkeypatch.setattr("midcut.serving.json_runner._STALLED_S", 0.5)

    async def answer(_):
        return web.Response(body=bytes(32_000_000))

    app = web.Application()
    app.router.add_get("/", answer)
    runner = make_runner(app, ServerSettings())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with socket.create_connection(runner.addresses[0], timeout=60) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        deadline = time.monotonic() + 60
        seen = False
        while not seen or runner.server.connections:
            seen = seen or bool(runner.server.connections)
            assert time.monotonic() < deadline, "the server still waits for its client"
            await asyncio.sleep(0.02)
    await runner.cleanup()
