"""The listening sockets, and how to close them on nobody."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import socket
    import ssl

    from aiohttp import web

# Who had just connected, or asks on a kept connection, is still told that the server goes, and not cut off.
_ACCEPTED_GRACE_S: Final = 0.5
_POLL_S: Final = 0.02
_LAST_PORT: Final = 65535


class Listener:
    """Where a runner's server listens.

    Closing a listening socket resets the connections that the system has made on it and nobody has accepted yet.
    Under load there are always some, so these are accepted first.
    """

    def __init__(self, handler: web.Server, tls: ssl.SSLContext | None, server: asyncio.Server) -> None:
        self._handler, self._tls, self._server = handler, tls, server

    @classmethod
    async def open(cls, runner: web.AppRunner, tls: ssl.SSLContext | None, host: str, port: int) -> Self:
        """Begin to listen.

        Args:
            runner: set up.
            tls: None for plain HTTP.

        Raises:
            OSError, OverflowError: no such address, or it is taken.
        """
        handler = runner.server
        assert handler is not None, "the runner is not set up"  # noqa: S101 - for the type checker
        if not 0 <= port <= _LAST_PORT:  # uvloop takes what is left of it in 16 bits
            raise OverflowError(f"port must be 0 to {_LAST_PORT}")
        return cls(handler, tls, await asyncio.get_running_loop().create_server(handler, host, port, ssl=tls))

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def unsent_bytes(self) -> int:
        """Of written responses, what the system has not taken yet: a few dozen kB for each slow client."""
        connections = self._handler.connections
        return sum(one.transport.get_write_buffer_size() for one in connections if one.transport is not None)

    async def close(self) -> None:
        """Listen no longer; let those who are in the door have an answer."""
        listeners = [one.dup() for one in self._server.sockets]
        self._server.close()
        arrived = [connection for one in listeners for connection in _accept_pending(one)]
        await asyncio.gather(*(self._serve_connection(connection) for connection in arrived))
        until_s = asyncio.get_running_loop().time() + _ACCEPTED_GRACE_S
        await asyncio.sleep(_POLL_S)  # connections that were being made just now are counted only then
        while self._handler.connections and asyncio.get_running_loop().time() < until_s:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(_POLL_S)

    async def _serve_connection(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ACCEPTED_GRACE_S):
                await asyncio.get_running_loop().connect_accepted_socket(self._handler, connection, ssl=self._tls)


def _accept_pending(listener: socket.socket) -> list[socket.socket]:
    """Everybody who waits, and then nobody any more."""
    connections = []
    with listener, contextlib.suppress(OSError):
        listener.settimeout(0)
        while True:
            connection, _ = listener.accept()
            connection.settimeout(0)
            connections.append(connection)
    return connections
