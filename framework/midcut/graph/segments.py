"""Runs segments with an executor, and in PyTorch where the executor is not ready or cannot."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from midcut.errors import MidcutError, one_line_cause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midcut.graph.partitioned import Partition
    from midcut.protocols import Executor

Values: TypeAlias = "Sequence[Any]"
_Key: TypeAlias = tuple[tuple[str, str], int, int]

_log = structlog.get_logger("midcut.executor")


class Segments:
    """Runs segments, prepares them in the background, and lets PyTorch stand in: no request waits or fails for it.

    Args:
        executor: closed by `close`.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._thread: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._preparing: set[_Key] = set()
        self._refused: set[_Key] = set()
        self._failed: set[_Key] = set()

    @property
    def identity(self) -> str:
        """The executor's."""
        return self._executor.identity

    @property
    def fused(self) -> Executor | None:
        """The executor if it merges nodes; known once a model was prepared.

        Of an emulated clock, it is the executor that runs inside it at full speed.
        """
        executor: Executor = getattr(self._executor, "full_speed", self._executor)
        return executor if getattr(executor, "fused", False) else None

    def inexact(self, partition: Partition, cut: int) -> bool:
        """Whether a cut must be run as the whole model.

        An executor that promises the bits of the whole refuses its head, or has not compared it yet; or an exported
        model, for which PyTorch cannot stand in, has a head or tail that its runtime does not take.
        """
        last = partition.table.last
        if cut in (0, last) or partition.resized:
            return False
        if not getattr(partition, "has_torch", True):
            return not (self.prepare(partition, 0, cut) and self.prepare(partition, cut, last))
        if not getattr(self._executor, "exact", False):
            return False
        return _key(partition, 0, cut) in self._refused or not self._executor.ready(partition, 0, cut)

    def run(self, partition: Partition, start: int, stop: int, values: Values) -> tuple[Values, float]:
        """Run nodes start..stop-1; returns the values that cross `stop`, and the seconds of computation.

        A segment that is not ready runs in PyTorch, and is prepared in the background. So does one for other sizes than
        the example's where the executor exports: it has exported the example's.
        """
        if partition.resized and self.fused is not None:
            return _run_in_torch(partition, start, stop, values)
        if not self.ready(partition, start, stop):
            self.prepare_soon(partition, start, stop)
            return _run_in_torch(partition, start, stop, values)
        if _key(partition, start, stop) in self._refused:
            return _run_in_torch(partition, start, stop, values)
        segment = self._executor.prepare(partition, start, stop)
        if self.fused is None:
            return segment.run(values)
        try:
            return segment.run(values)
        except Exception as error:  # noqa: BLE001 - PyTorch decides whether the values are at fault
            result = _run_in_torch(partition, start, stop, values)
            self._log_failed_run(partition, start, stop, error)
            return result

    def _log_failed_run(self, partition: Partition, start: int, stop: int, error: Exception) -> None:
        """Log a run that only PyTorch could do, such as a batch where the export is of one image; once a segment."""
        key = _key(partition, start, stop)
        if key not in self._failed:
            self._failed.add(key)
            reason = " ".join(str(error).split())[:300]
            _log.warning("a run is repeated in PyTorch", model=key[0][0], cuts=f"{start} to {stop}", reason=reason)

    def ready(self, partition: Partition, start: int, stop: int) -> bool:
        """Whether a request need not be run in PyTorch for lack of preparation."""
        return self._executor.ready(partition, start, stop) or _key(partition, start, stop) in self._refused

    def prepare(self, partition: Partition, start: int, stop: int) -> bool:
        """Make a segment ready now; False where the executor cannot run it, which is logged once."""
        key = _key(partition, start, stop)
        if key in self._refused:
            return False
        try:
            self._executor.prepare(partition, start, stop)
        except Exception as error:  # noqa: BLE001 - a runtime may raise anything; PyTorch can run it
            with self._lock:  # two threads may prepare it at the same time
                known = key in self._refused
                self._refused.add(key)
            if known:
                return False
            reason = str(error) if isinstance(error, MidcutError) else one_line_cause(error)
            stands_in = getattr(partition, "has_torch", True)
            _log.warning(
                "a segment runs in PyTorch instead" if stands_in else "a segment cannot run: its cut is not used",
                model=key[0][0],
                cuts=f"{start} to {stop}",
                executor=self.identity,
                reason=" ".join(reason.split())[:300],
            )
            return False
        return True

    def prepare_soon(self, partition: Partition, start: int, stop: int, then: Callable[[], None] | None = None) -> None:
        """Make a segment ready in the background, and call `then` on that thread afterwards."""
        key = _key(partition, start, stop)
        with self._lock:
            if key in self._preparing:
                return
            self._preparing.add(key)
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "prepare")
            self._thread.submit(self._prepare_in_background, partition, start, stop, then)

    def _prepare_in_background(
        self, partition: Partition, start: int, stop: int, then: Callable[[], None] | None
    ) -> None:
        began = perf_counter()
        try:
            if self.prepare(partition, start, stop):
                took_s = round(perf_counter() - began, 3)
                _log.info("segment ready", model=partition.table.model, cuts=f"{start} to {stop}", took_s=took_s)
        finally:
            with self._lock:
                self._preparing.discard(_key(partition, start, stop))
        if then is not None:
            then()

    def drop(self, partition: Partition) -> None:
        """Release what was prepared for a model that runs no more, and forget what was refused."""
        with self._lock:
            self._refused, self._failed = (
                {key for key in keys if key[0] != partition.table.key} for keys in (self._refused, self._failed)
            )
        release = getattr(self._executor, "drop", None)
        if release is not None:
            release(partition)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._executor.close()


def _key(partition: Partition, start: int, stop: int) -> _Key:
    return partition.table.key, start, stop


def _run_in_torch(partition: Partition, start: int, stop: int, values: Values) -> tuple[Values, float]:
    began = perf_counter()
    values = partition.run(start, stop, values)
    return values, perf_counter() - began
