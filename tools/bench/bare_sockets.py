"""The least that a split inference can take: head here, tail in another process, bare blocking sockets between them.

A request is the bytes of the one tensor after the cut, a reply the bytes of the output; both sides know the shapes.
Run as a program, it is the process that computes the tail and prints its port.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from common.engines import load
from common.processes import running

from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.graph import partition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from midcut.graph import Partition


@contextmanager
def bare_server(model: str, cut: int, log: Path) -> Iterator[int]:
    """A process that computes the tail of one cut; yields its port on the loopback."""
    with running([sys.executable, __file__, model, str(cut)], log, r"^\d+$") as port:
        yield int(port[0])


class BareClient:
    """Computes the head on the calling thread, and asks a bare server for the rest."""

    def __init__(self, partition: Partition, cut: int, port: int) -> None:
        self._partition, self._cut = partition, cut
        self._connection = _without_delay(socket.create_connection(("127.0.0.1", port), 30.0))
        (self._output,) = _empty_tensors(partition, partition.table.last)

    def infer(self, inputs: Sequence[torch.Tensor]) -> tuple[float, torch.Tensor]:
        """Seconds of one inference, and its output."""
        started = time.perf_counter()
        (value,) = self._partition.head(self._cut, inputs)
        if isinstance(value, int):
            raise SystemExit("bare sockets are measured at cuts that one tensor crosses")
        self._connection.sendall(value.contiguous().numpy().data)
        _receive(self._connection, self._output)
        output = self._partition.assemble([self._output.clone()])
        return time.perf_counter() - started, output


def serve(model: str, cut: int) -> None:
    """Answer one connection until the client closes it."""
    torch.set_num_threads(1)
    parts = partition(load(compose("edge", [f"model={model}"])), CutSettings())
    parts.warm_up()
    tensors = _empty_tensors(parts, cut)
    if len(tensors) != 1:
        raise SystemExit("bare sockets are measured at cuts that one tensor crosses")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        connection = _without_delay(listener.accept()[0])
    with connection:
        while _receive(connection, tensors[0]):
            (output,) = parts.tail(cut, tensors)
            if not isinstance(output, int):
                connection.sendall(output.contiguous().numpy().data)


def _without_delay(connection: socket.socket) -> socket.socket:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _empty_tensors(partition: Partition, cut: int) -> list[torch.Tensor]:
    return [torch.empty(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in partition.table.cuts[cut].values]


def _receive(connection: socket.socket, tensor: torch.Tensor) -> bool:
    """Fill a tensor with what arrives; False where the other side closed the connection first."""
    memory = tensor.numpy().data.cast("B")
    while memory:
        count = connection.recv_into(memory)
        if not count:
            return False
        memory = memory[count:]
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("cut", type=int)
    options = parser.parse_args()
    serve(options.model, options.cut)
