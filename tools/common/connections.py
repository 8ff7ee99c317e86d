"""HTTP connections over sockets that the caller opens, such as from a host of a test bed."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class OpenedConnection(http.client.HTTPConnection):
    """A connection whose sockets the caller opens.

    Args:
        open_socket: opens one, each time a connection is needed.
        host: what requests name as their host.
        timeout_s: of each wait for a reply.
    """

    def __init__(self, open_socket: Callable[[], socket.socket], host: str, timeout_s: float) -> None:
        super().__init__(host, timeout=timeout_s)
        self._open_socket = open_socket

    def connect(self) -> None:
        self.sock = self._open_socket()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # headers and body are written separately
        self.sock.settimeout(self.timeout)
