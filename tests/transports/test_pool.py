"""Idle connections whose server no longer answers."""

from __future__ import annotations

import asyncio

import pytest

from midcut.serving import event_loop
from midcut_transports.connection import Connection
from midcut_transports.pool import Pool

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request, but none on the connections that were open at `fall_silent`."""

    def __init__(self):
        self.connections = 0
        self.answered = asyncio.Event()
        self._silent_up_to = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()

    def fall_silent(self):
        self._silent_up_to = self.connections

    async def _serve(self, reader, writer):
        self.connections += 1
        number = self.connections
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                if number > self._silent_up_to:
                    await self.answered.wait()
                    writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def fill(server, pool, count):
    """Put so many idle connections into the pool."""
    asking = [asyncio.create_task(pool.exchange(REQUEST, (), 0, 60.0)) for _ in range(count)]
    while server.connections < count:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    server.answered.set()
    assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * count


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_kept_connection_that_fell_silent_takes_the_other_kept_ones_with_it(cancelled):
    async with Server() as server:
        pool = Pool("127.0.0.1", server.port, 60.0)
        await fill(server, pool, 3)
        server.fall_silent()
        if cancelled:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(pool.exchange(REQUEST, (), 0, 60.0), 0.05)
        else:
            with pytest.raises(TimeoutError):
                await pool.exchange(REQUEST, (), 0, 0.05)
        answer = await pool.exchange(REQUEST, (), 0, 60.0)
        assert (answer.status, answer.fresh, server.connections) == (200, True, 4)
        pool.close()


async def test_a_fresh_connection_that_is_silent_says_nothing_of_the_kept_ones():
    async with Server() as server:
        pool = Pool("127.0.0.1", server.port, 60.0)
        await fill(server, pool, 1)
        server.answered.clear()
        first = asyncio.create_task(pool.exchange(REQUEST, (), 0, 60.0))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await pool.exchange(REQUEST, (), 0, 0.05)  # on a second, fresh connection
        server.answered.set()
        assert not (await first).fresh
        assert not (await pool.exchange(REQUEST, (), 0, 60.0)).fresh
        pool.close()


def test_a_connection_that_stands_when_nobody_waits_for_it_any_more_is_closed_whole(monkeypatch):
    stood = []

    class Leaving(Connection):
        def connection_made(self, transport):
            super().connection_made(transport)
            stood.append(self)
            asking.cancel()

    async def go():
        nonlocal asking
        async with Server() as server:
            asking = asyncio.create_task(Pool("127.0.0.1", server.port, 60.0).exchange(REQUEST, (), 0, 60.0))
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert stood[0]._socket is None

    asking = None
    monkeypatch.setattr("midcut_transports.pool.Connection", Leaving)
    event_loop.run(go())
