"""What strangers do to a server while others are answered: hostile pictures, answers that nobody takes."""

from __future__ import annotations

import json
import socket
import struct
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from hostile_pictures import hostile_pictures

if TYPE_CHECKING:
    from collections.abc import Iterator

TWO_ADDRESSES = "two-addresses.test"
_SILENT = "127.0.0.2"
_PATIENCE_S = 60.0
_READERS = 20


@cache
def hostile_files() -> list[bytes]:
    """The files of hostile pictures; the first call takes seconds."""
    return list(hostile_pictures().values())


def send_picture(port: int, model: str, severity: float) -> None:
    """Have a cloud decode a hostile picture; `severity` chooses which."""
    file = hostile_files()[int(severity * len(hostile_files()))]
    data = struct.pack("<I", len(file)) + file
    tensor = {"name": "0", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    header = json.dumps({"inputs": [tensor]}).encode()
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Inference-Header-Content-Length: {len(header)}\r\nContent-Length: {len(header) + len(data)}\r\n\r\n"
    )
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as connection:
        connection.sendall(head.encode() + header + data)
        while connection.recv(65536):
            pass


def read_slowly(port: int, duration_s: float) -> None:
    """Ask for many answers on some connections, and take none of them."""
    ask = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" * 200
    with ExitStack() as stack:
        for _ in range(_READERS):
            with suppress(OSError):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), _PATIENCE_S))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                connection.settimeout(0)
                connection.send(ask)
        time.sleep(duration_s)


@contextmanager
def two_addresses(ports: list[int]) -> Iterator[None]:
    """The name `TWO_ADDRESSES` has an address that never answers, and then 127.0.0.1, as long as the block runs."""
    find = socket.getaddrinfo

    def both(host: Any, port: Any, *arguments: Any, **more: Any) -> Any:
        if host not in (TWO_ADDRESSES, TWO_ADDRESSES.encode()):
            return find(host, port, *arguments, **more)
        return [found for each in (_SILENT, "127.0.0.1") for found in find(each, port, *arguments, **more)]

    with ExitStack() as stack:
        for port in ports:
            listening = stack.enter_context(socket.create_server((_SILENT, port), backlog=0))
            for _ in range(3):  # the queue is full then, and Linux answers no further one
                waiting = stack.enter_context(socket.socket())
                waiting.settimeout(0)
                waiting.connect_ex(listening.getsockname())
        stack.callback(setattr, socket, "getaddrinfo", find)
        socket.getaddrinfo = both
        yield
