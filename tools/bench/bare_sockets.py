"""The floor of a split inference: head here, tail in another process, bare blocking sockets between them.

A request is the one tensor's bytes after a cut, a reply the output's bytes; both sides know the shapes.
Run as a program it is the tail's process.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from common.engines import compose_edge, load

from midcut.config.settings import CutSettings
from midcut.graph import partition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midcut.graph import Partition


@contextmanager
def bare_tail(model: str, cut: int) -> Iterator[int]:
    """A process that answers with the tail of one cut; gives its port on the loopback."""
    process = subprocess.Popen(
        [sys.executable, __file__, model, str(cut)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise SystemExit("the process of the bare tail did not start")
        yield int(line)
    finally:
        process.terminate()
        process.wait(15)


class Floor:
    """The edge's half, on the calling thread."""

    def __init__(self, cut: Partition, at: int, port: int) -> None:
        self._cut, self._at = cut, at
        self._connection = _connected(socket.create_connection(("127.0.0.1", port), 30.0))
        (self._output,) = _buffers(cut, cut.table.last)

    def once(self, inputs: Sequence[torch.Tensor]) -> tuple[float, torch.Tensor]:
        """Seconds of one inference, and its output."""
        started = time.perf_counter()
        (value,) = self._cut.head(self._at, inputs)
        if isinstance(value, int):
            raise SystemExit("the floor is measured at cuts that one tensor crosses")
        self._connection.sendall(value.contiguous().numpy().data)
        _receive(self._connection, self._output)
        output = self._cut.assemble([self._output.clone()])
        return time.perf_counter() - started, output


def serve(model: str, at: int) -> None:
    """Answer one connection until it ends."""
    torch.set_num_threads(1)
    cut = partition(load(compose_edge(f"model={model}")), CutSettings())
    cut.warm_up()
    buffers = _buffers(cut, at)
    if len(buffers) != 1:
        raise SystemExit("the floor is measured at cuts that one tensor crosses")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        connection = _connected(listener.accept()[0])
    with connection:
        while _receive(connection, buffers[0]):
            (output,) = cut.tail(at, buffers)
            if not isinstance(output, int):
                connection.sendall(output.contiguous().numpy().data)


def _connected(connection: socket.socket) -> socket.socket:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _buffers(cut: Partition, at: int) -> list[torch.Tensor]:
    return [torch.empty(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in cut.table.cuts[at].values]


def _receive(connection: socket.socket, into: torch.Tensor) -> bool:
    """Fill a tensor; whether the other side had that much to say."""
    memory = into.numpy().data.cast("B")
    while memory:
        got = connection.recv_into(memory)
        if not got:
            return False
        memory = memory[got:]
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("cut", type=int)
    options = parser.parse_args()
    serve(options.model, options.cut)
