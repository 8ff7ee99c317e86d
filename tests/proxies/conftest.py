"""A server for the proxies to lead to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest


@pytest.fixture(scope="package")
def echo():
    """The address of a server that sends everything back, and ends a connection when the other side does."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(peer):
        with peer, suppress(OSError):
            while data := peer.recv(65536):
                peer.sendall(data)

    def accept():
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
