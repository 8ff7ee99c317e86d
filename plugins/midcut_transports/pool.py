"""Kept connections to one address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from midcut_transports.connection import Connection, ConnectionLostError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from midcut_transports.connection import Answer

_MAX_IDLE: Final = 32


class NoConnectionInTimeError(Exception):
    """Connecting took too long."""


class Pool:
    """Connections to one address, kept while they live.

    Args:
        connect_timeout_s: a connection must stand after this long, TLS included.
        tls: how to speak TLS, None for plain TCP.
    """

    def __init__(self, host: str, port: int, connect_timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Connection] = []
        self._closed = False

    async def exchange(self, head: bytes, pieces: Sequence[memoryview], timeout_s: float) -> Answer:
        """Send a request that is safe to repeat; where the connection breaks, once more on a fresh one.

        Args:
            timeout_s: for all of it, connecting included.

        Raises:
            ConnectionLostError, InvalidResponseError: the second one broke as well, or what came is no answer.
            NoConnectionInTimeError: `connect_timeout_s` passed.
            TimeoutError: `timeout_s` passed.
            OSError: no connection.
        """
        until_s = asyncio.get_running_loop().time() + timeout_s
        kept = self._take()
        try:
            return await self._once(kept or await self._connect(until_s), head, pieces, until_s)
        except ConnectionLostError:
            return await self._once(await self._connect(until_s), head, pieces, until_s)
        except (TimeoutError, asyncio.CancelledError):
            if kept is not None:
                self._close_idle()  # the way they took may be gone: each would cost another time-out
            raise

    def close(self) -> None:
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _once(self, connection: Connection, head: bytes, pieces: Sequence[memoryview], until_s: float) -> Answer:
        answer = await connection.exchange(head, pieces, until_s)
        if connection.usable:
            if self._closed or len(self._idle) >= _MAX_IDLE:
                connection.close()
            else:
                self._idle.append(connection)
        return answer

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self, until_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        connect_until_s = loop.time() + self._connect_timeout_s
        connecting = asyncio.timeout_at(min(until_s, connect_until_s))
        connection = Connection()
        try:
            async with connecting:
                await loop.create_connection(lambda: connection, self._host, self._port, ssl=self._tls)
        except (TimeoutError, asyncio.CancelledError) as error:
            connection.close()  # it may stand already, and uvloop tells it nothing
            if isinstance(error, asyncio.CancelledError) or (connecting.expired() and until_s <= connect_until_s):
                raise
            raise NoConnectionInTimeError from None  # or the system's own time-out, which is connecting's too
        return connection
