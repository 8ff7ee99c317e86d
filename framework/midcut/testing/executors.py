"""An executor to test against."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midcut.protocols import Network, Segment


class TorchExecutor:
    """An executor in PyTorch for tests: override `run` to count, delay or fail runs."""

    identity = "test"

    def run(self, segment: Callable[[], Sequence[Any]]) -> tuple[Sequence[Any], float]:
        """Call `segment`, which runs the nodes; returns its values and the seconds."""
        started = perf_counter()
        return segment(), perf_counter() - started

    def prepare(self, network: Network, start: int, stop: int) -> Segment:
        return _TorchSegment(self, network, start, stop)

    def ready(self, network: Network, start: int, stop: int) -> bool:  # noqa: ARG002
        return True

    def close(self) -> None:
        """Nothing to release."""


class _TorchSegment:
    def __init__(self, executor: TorchExecutor, network: Network, start: int, stop: int) -> None:
        self._executor = executor
        self._call = partial(network.run, start, stop)

    def run(self, values: Sequence[Any]) -> tuple[Sequence[Any], float]:
        return self._executor.run(partial(self._call, values))
