"""Programs that run on the hosts to measure a bed. Started by path; a line with an order, a line with the answer.

python -I probes.py sink PORT            takes bodies, answers each with a byte
python -I probes.py send ADDRESS PORT    order: size of a body in bytes; answer: seconds until the sink answered
python -I probes.py work                 order: number of pieces of CPU work; answer: the seconds they took
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
        while len(length := connection.recv(_LENGTH.size, socket.MSG_WAITALL)) == _LENGTH.size:
            left = _LENGTH.unpack(length)[0]
            while left:
                received = connection.recv_into(buffer, min(left, _CHUNK_BYTES))
                if not received:  # the sender is gone
                    return
                left -= received
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
    import numpy as np  # noqa: PLC0415 - the other two start faster without

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
