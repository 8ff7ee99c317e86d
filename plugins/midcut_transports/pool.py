"""A pool of kept-alive connections to one address."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs

from midcut.wire.tcp import notice_dead_peer
from midcut_transports.connection import Connection, ConnectionLostError, Limits, Request, SilentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.wire.watched_files import ClientTls
    from midcut_transports.connection import Answer
    from midcut_transports.integrity import Integrity

_MAX_IDLE: Final = 32
# A name's next address is tried when the one before has not answered for this long (RFC 8305, section 5).
_NEXT_ADDRESS_S: Final = 0.25
# A kept connection may be silent for this many times as long as the slowest of the last answers took.
_SILENT_ANSWERS: Final = 4.0
# And for as long as all bytes under way take at half a megabit per second: a proxy acknowledges bytes long before the
# cloud has them, and a request sent twice over a slow link is a slower request.
_SLOWEST_BYTES_PER_S: Final = 62_500.0
_RECENT_ANSWERS: Final = 16


class NoConnectionInTimeError(Exception):
    """Connecting took too long."""


class ReusedConnectionTimeoutError(TimeoutError):
    """The time was over while the request waited on a kept connection, which may be what is dead."""


class Pool:
    """Connections to one address, kept for reuse while they are open.

    Args:
        connect_timeout_s: limit for connecting, TLS included.
        tls: gives the TLS context of each connection; None for plain TCP.
        max_idle_s: a connection that was unused for longer is closed, since the way may have been forgotten.
        unacknowledged_s: a connection on which nothing is acknowledged for this long is closed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        connect_timeout_s: float,
        tls: ClientTls | None = None,
        *,
        max_idle_s: float = 60.0,
        unacknowledged_s: float = 5.0,
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._connect_timeout_s = connect_timeout_s
        self._max_idle_s = max_idle_s
        self._prepare = partial(notice_dead_peer, timeout_s=unacknowledged_s)
        self._answers_s: deque[float] = deque(maxlen=_RECENT_ANSWERS)
        self._idle: list[Connection] = []
        self._under_way_bytes = 0
        self._closed = False

    async def exchange(
        self,
        header: bytes,
        pieces: Sequence[memoryview],
        body_bytes: int,
        timeout_s: float,
        limit_bytes: int = 1_000_000,
        integrity: Integrity | None = None,
    ) -> Answer:
        """Send a request that is safe to repeat; where it does not get through it is sent once more, on a new one.

        Args:
            pieces, body_bytes: the body, and its size.
            timeout_s: limit for all of it, connecting included.
            limit_bytes: the largest answer.
            integrity: tells whether the request got through undamaged; None does not ask.

        Raises:
            ConnectionLostError, InvalidResponseError: the second connection broke too, or the answer is not HTTP.
            NoConnectionInTimeError: `connect_timeout_s` passed.
            ReusedConnectionTimeoutError: `timeout_s` passed, on a connection that was kept from earlier requests.
            TimeoutError: `timeout_s` passed.
            OSError: no connection.
        """
        size_bytes = len(header) + body_bytes
        self._under_way_bytes += size_bytes
        silent_s = max(
            self._connect_timeout_s,
            _SILENT_ANSWERS * max(self._answers_s, default=0.0),
            self._under_way_bytes / _SLOWEST_BYTES_PER_S,
        )
        now = asyncio.get_running_loop().time()
        limits = Limits(now + timeout_s, silent_s, limit_bytes)
        request = Request(header, pieces, size_bytes, None if integrity is None else integrity.advance)
        idle = self._take_idle(now)
        try:
            connection = idle or await self._connect(limits.deadline_at_s)
            answer = await connection.exchange(request, limits)
            if integrity is None or not integrity.doubt(answer):
                return self._keep(connection, answer)
            connection.close()
        except ConnectionLostError as error:
            if isinstance(error, SilentError):
                self._close_idle()  # their way may be dead as well
        except (TimeoutError, asyncio.CancelledError) as error:
            if idle is not None:
                self._close_idle()  # as above: each would cost another timeout
                if isinstance(error, TimeoutError):
                    raise ReusedConnectionTimeoutError from None
            raise
        finally:
            self._under_way_bytes -= size_bytes
        return await self._repeat(request, limits, integrity)

    async def _repeat(self, request: Request, limits: Limits, integrity: Integrity | None) -> Answer:
        """Send a request that did not get through on a new connection."""
        self._under_way_bytes += request.size_bytes
        try:
            connection = await self._connect(limits.deadline_at_s)
            answer = await connection.exchange(request, limits)
        finally:
            self._under_way_bytes -= request.size_bytes
        if integrity is not None and (doubt := integrity.doubt(answer, last=True)):
            connection.close()
            raise ConnectionLostError(doubt)
        return self._keep(connection, answer)

    def close(self) -> None:
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _keep(self, connection: Connection, answer: Answer) -> Answer:
        self._answers_s.append(answer.wall_s)
        if connection.usable:
            if self._closed or len(self._idle) >= _MAX_IDLE:
                connection.close()
            else:
                self._idle.append(connection)
        return answer

    def _take_idle(self, now: float) -> Connection | None:
        oldest_at_s = now - self._max_idle_s
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since_at_s >= oldest_at_s:
                return connection
            connection.close()
        return None

    async def _connect(self, deadline_at_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        connect_deadline_at_s = loop.time() + self._connect_timeout_s
        connecting = asyncio.timeout_at(min(deadline_at_s, connect_deadline_at_s))
        connection = Connection(self._prepare)
        try:
            async with connecting:
                await self._open(connection)
        except (TimeoutError, asyncio.CancelledError) as error:
            connection.close()  # it may be connected already, and uvloop does not notify it
            if isinstance(error, asyncio.CancelledError) or (
                connecting.expired() and deadline_at_s <= connect_deadline_at_s
            ):
                raise
            raise NoConnectionInTimeError from None  # the kernel's own connect timeout as well
        return connection

    async def _open(self, connection: Connection) -> None:
        """Connect to the first of the host's addresses that answers, so that a silent one does not hide the others."""
        loop, tls = asyncio.get_running_loop(), None if self._tls is None else self._tls.current()
        if _is_address(self._host):
            await loop.create_connection(lambda: connection, self._host, self._port, ssl=tls)
            return
        addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1, loop=loop
        )
        try:
            name = self._host if tls else None
            await loop.create_connection(lambda: connection, sock=sock, ssl=tls, server_hostname=name)
        except BaseException:
            sock.close()
            raise


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
