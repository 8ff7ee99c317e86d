"""Execution in PyTorch, on this machine at its own speed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.protocols import Network


class Native:
    """Runs the nodes one by one in PyTorch, as the unsplit model would. Every segment is ready at once."""

    def __init__(self) -> None:
        self.identity = f"native torch {torch.__version__}"

    @property
    def conditions(self) -> str:
        return f"threads {torch.get_num_threads()}"

    def prepare(self, network: Network, start: int, stop: int) -> NativeSegment:
        return NativeSegment(network, start, stop)

    def ready(self, network: Network, start: int, stop: int) -> bool:  # noqa: ARG002
        return True

    def close(self) -> None:
        """Nothing to release."""


class NativeSegment:
    """Nodes start..stop-1 of a network."""

    def __init__(self, network: Network, start: int, stop: int) -> None:
        self._network, self._start, self._stop = network, start, stop

    def run(self, values: Sequence[Any]) -> tuple[Sequence[Any], float]:
        began = time.perf_counter()
        values = self._network.run(self._start, self._stop, values)
        return values, time.perf_counter() - began
