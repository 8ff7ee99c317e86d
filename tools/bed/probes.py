"""What runs on the hosts to measure a bed. Started by its path; one order a line, one answer a line.

python -I probes.py sink PORT            takes bodies, answers each with a byte
python -I probes.py send ADDRESS PORT    order: bytes of a body; answer: seconds until it was answered
python -I probes.py work                 order: pieces of CPU work; answer: the seconds they took
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time

_LENGTH = struct.Struct("!Q")
_CHUNK_BYTES = 1 << 20


def sink(port: int) -> None:
    with socket.create_server(("", port)) as server:
        print("ready", flush=True)
        connection = server.accept()[0]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = bytearray(_CHUNK_BYTES)
        while len(head := connection.recv(_LENGTH.size, socket.MSG_WAITALL)) == _LENGTH.size:
            left = _LENGTH.unpack(head)[0]
            while left:
                got = connection.recv_into(buffer, min(left, _CHUNK_BYTES))
                if not got:  # the sender is gone
                    return
                left -= got
            connection.sendall(b"!")


def send(address: str, port: int) -> None:
    with socket.create_connection((address, port), timeout=60.0) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print("ready", flush=True)
        for line in sys.stdin:
            body = _LENGTH.pack(int(line)) + os.urandom(int(line))
            start = time.perf_counter()
            connection.sendall(body)
            if not connection.recv(1):
                return
            print(time.perf_counter() - start, flush=True)


def work() -> None:
    import numpy as np  # noqa: PLC0415 - the other two start quicker without

    matrix = np.linspace(0.0, 1.0, 256 * 256, dtype=np.float32).reshape(256, 256)
    other = matrix.T.copy()
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            matrix @ other
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    role, *words = sys.argv[1:]
    if role == "sink":
        sink(int(words[0]))
    elif role == "send":
        send(words[0], int(words[1]))
    else:
        work()
