"""Told to stop, a server waits for replies that are still being written, as long as `drain_s` allows."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from midcut.config.settings import ServerSettings
from midcut.serving import DRAIN, event_loop, new_app, serve

# Longer than a server lives that takes no account of what it writes.
PAUSE_S = 3.5
BEING_HANDED_OVER = 8_000_000
IN_THE_SERVERS_BUFFER = 50_000  # aiohttp is done with it, the system has not taken it


async def large(request):
    request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return web.Response(body=b"x" * int(request.query["size"]))


async def broken(request):
    await request.read()
    raise ValueError("a bug")


async def lost(_):
    raise ConnectionResetError("a client went away")


async def endless(_):
    await asyncio.sleep(600)


class Server:
    """A server on a thread and a loop of its own."""

    def __init__(self, run, **settings):
        self.settings = ServerSettings(port=0, **settings)
        self.app = new_app(1000, self.settings)
        for handler in (large, broken, lost, endless):
            self.app.router.add_route("*", f"/{handler.__name__}", handler)
        self._bound, self._url = threading.Event(), ""
        self._thread = threading.Thread(target=lambda: run(self._serve()))

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await serve(self.app, self.settings, self._ready, self._stop)

    def _ready(self, url):
        self._url = url
        self._bound.set()

    def __enter__(self):
        self._thread.start()
        assert self._bound.wait(60)
        return self

    def __exit__(self, *_):
        self.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def stop(self):
        self._loop.call_soon_threadsafe(self._stop.set)

    def in_flight(self):
        return self.app[DRAIN].in_flight

    @contextmanager
    def client(self, path):
        """Somebody who has asked, and takes a few kB at a time."""
        with socket.socket() as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            asking.settimeout(60)
            asking.connect((urlsplit(self._url).hostname, urlsplit(self._url).port))
            asking.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            yield asking


def until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def received_bytes(client, size):
    """How much of a reply of that size arrives."""
    received = bytearray()
    while len(received) < size or len(received.partition(b"\r\n\r\n")[2]) < size:
        chunk = client.recv(1 << 16)
        if not chunk:
            break
        received += chunk
    return len(received.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    ("run", "size"),
    [(asyncio.run, BEING_HANDED_OVER), (event_loop.run, BEING_HANDED_OVER), (event_loop.run, IN_THE_SERVERS_BUFFER)],
)
def test_a_reply_that_is_being_written_when_the_server_is_told_to_stop_arrives_whole(run, size):
    with Server(run, drain_s=60.0) as server, server.client(f"/large?size={size}") as client:
        assert client.recv(1) == b"H"
        server.stop()
        time.sleep(PAUSE_S)
        assert received_bytes(client, size) == size


def test_every_request_leaves_once_however_it_ends():
    with Server(event_loop.run) as server:
        with server.client("/large?size=10") as client:
            until(lambda: server.in_flight() == 0)
            assert received_bytes(client, 10) == 10
        for path in ("/broken", "/lost", "/nowhere"):
            with server.client(path) as client:
                client.recv(4096)
            until(lambda: server.in_flight() == 0)
        for path in ("/endless", f"/large?size={BEING_HANDED_OVER}"):
            with server.client(path):
                until(lambda: server.in_flight() == 1)
            until(lambda: server.in_flight() == 0)  # nobody waits, or reads, any more
        time.sleep(0.1)
        assert server.in_flight() == 0
