"""A pool of kept-alive connections to one address."""

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
    """Connections to one address, kept for reuse while they are open.

    Args:
        connect_timeout_s: limit for connecting, TLS included.
        tls: the TLS context; None for plain TCP.
    """

    def __init__(self, host: str, port: int, connect_timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Connection] = []
        self._closed = False

    async def exchange(self, header: bytes, pieces: Sequence[memoryview], timeout_s: float) -> Answer:
        """Send a request that is safe to repeat; where the connection breaks it is sent once more, on a new one.

        Args:
            timeout_s: limit for all of it, connecting included.

        Raises:
            ConnectionLostError, InvalidResponseError: the second connection broke too, or the answer is not HTTP.
            NoConnectionInTimeError: `connect_timeout_s` passed.
            TimeoutError: `timeout_s` passed.
            OSError: no connection.
        """
        until_s = asyncio.get_running_loop().time() + timeout_s
        idle = self._take_idle()
        try:
            return await self._exchange_once(idle or await self._connect(until_s), header, pieces, until_s)
        except ConnectionLostError:
            return await self._exchange_once(await self._connect(until_s), header, pieces, until_s)
        except (TimeoutError, asyncio.CancelledError):
            if idle is not None:
                self._close_idle()  # their path may be dead as well: each would cost another timeout
            raise

    def close(self) -> None:
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _exchange_once(
        self, connection: Connection, header: bytes, pieces: Sequence[memoryview], until_s: float
    ) -> Answer:
        answer = await connection.exchange(header, pieces, until_s)
        if connection.usable:
            if self._closed or len(self._idle) >= _MAX_IDLE:
                connection.close()
            else:
                self._idle.append(connection)
        return answer

    def _take_idle(self) -> Connection | None:
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
            connection.close()  # it may be connected already, and uvloop does not notify it
            if isinstance(error, asyncio.CancelledError) or (connecting.expired() and until_s <= connect_until_s):
                raise
            raise NoConnectionInTimeError from None  # the kernel's own connect timeout as well
        return connection
