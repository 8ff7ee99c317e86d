"""Listening sockets that are closed without resetting the connections of clients who have just connected."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import socket
    import ssl

    from aiohttp import web

# Clients that have just connected, or use a kept connection, have this long to get their 503.
_LAST_REQUESTS_S: Final = 0.5
_POLL_S: Final = 0.02
_LAST_PORT: Final = 65535


class Listener:
    """The listening sockets of a server.

    Closing a listening socket resets the connections that the kernel has established on it and the server has not
    accepted yet. Under load there are always some; `close` accepts and answers them first.
    """

    def __init__(self, handler: web.Server, tls: ssl.SSLContext | None, server: asyncio.Server) -> None:
        self._handler, self._tls, self._server = handler, tls, server

    @classmethod
    async def open(cls, runner: web.AppRunner, tls: ssl.SSLContext | None, host: str, port: int) -> Self:
        """Start listening.

        Args:
            runner: its `setup` has run.
            tls: None for plain HTTP.

        Raises:
            OSError, OverflowError: there is no such address, or it is in use.
        """
        handler = runner.server
        assert handler is not None, "the runner is not set up"  # noqa: S101 - for the type checker
        if not 0 <= port <= _LAST_PORT:  # uvloop would truncate it to 16 bits
            raise OverflowError(f"port must be 0 to {_LAST_PORT}")
        return cls(handler, tls, await asyncio.get_running_loop().create_server(handler, host, port, ssl=tls))

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def unsent_bytes(self) -> int:
        """Bytes of responses that the kernel has not taken from aiohttp yet: some dozen kB for each slow client."""
        connections = self._handler.connections
        return sum(c.transport.get_write_buffer_size() for c in connections if c.transport is not None)

    async def close(self) -> None:
        """Stop listening, but answer the clients that have connected already."""
        listening = [listening_socket.dup() for listening_socket in self._server.sockets]
        self._server.close()
        pending = [connection for sock in listening for connection in _accept_pending(sock)]
        await asyncio.gather(*(self._serve_connection(connection) for connection in pending))
        deadline_at_s = asyncio.get_running_loop().time() + _LAST_REQUESTS_S
        await asyncio.sleep(_POLL_S)  # connections that are being established are counted only after this
        while self._handler.connections and asyncio.get_running_loop().time() < deadline_at_s:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(_POLL_S)

    async def _serve_connection(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_LAST_REQUESTS_S):
                await asyncio.get_running_loop().connect_accepted_socket(self._handler, connection, ssl=self._tls)


def _accept_pending(listening: socket.socket) -> list[socket.socket]:
    """Accept the connections that the kernel has established, then close the listening socket."""
    connections = []
    with listening, contextlib.suppress(OSError):
        listening.settimeout(0)
        while True:
            connection, _ = listening.accept()
            connection.settimeout(0)
            connections.append(connection)
    return connections
