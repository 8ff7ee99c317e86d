"""What a worker thread does: one tail, or several requests' as one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import torch

from midcut.errors import DeviceError, MalformedError, OutOfMemoryError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from midcut.graph import Partition
    from midcut.graph.batcher import Batcher
    from midcut.protocols import Executor

    Values = Sequence[torch.Tensor | int]

_log = structlog.get_logger("midcut.cloud")


class Computed(msgspec.Struct, frozen=True):
    """A tail's values, and what they took.

    Attributes:
        values: at the last cut.
        queue_s: waited for a worker.
        compute_s: the tail; where several requests were computed together, all of them.
        together: how many requests were.
    """

    values: Values
    queue_s: float
    compute_s: float
    together: int


@dataclass(eq=False, slots=True)
class Job:
    """A tail to be computed.

    Attributes:
        done: whoever waits for it; set on the event loop only.
        since_s: when it began to wait, by `perf_counter`.
        kind: equal for jobs that can be computed together; empty where this one cannot.
        batching_since_s: since when a worker is free for it that waits for others to go with it, by `perf_counter`.
    """

    partition: Partition
    cut: int
    values: Values
    done: asyncio.Future[Computed]
    since_s: float
    kind: tuple[Any, ...] = ()
    batching_since_s: float = math.inf


class Worker:
    """Runs tails. Has no state of its own: threads share it.

    Args:
        executor: runs the tails and times them.
        batchers: model -> how its requests are computed together.
    """

    def __init__(self, executor: Executor, batchers: Mapping[str, Batcher]) -> None:
        self._executor = executor
        self._batchers = batchers

    def run(self, group: Sequence[Job]) -> Sequence[Computed | Exception]:
        """An outcome for each. Where several do not run as one, each runs by itself: one may spoil the others."""
        if len(group) > 1:
            try:
                return self._run_batched(group)
            except Exception as error:  # noqa: BLE001 - whatever a kernel raises
                _log.warning("requests are computed one by one", error=_one_line(error), requests=len(group))
        return [self._run_single(job) for job in group]

    def _run_batched(self, group: Sequence[Job]) -> list[Computed]:
        begun, first = perf_counter(), group[0]
        batcher = self._batchers[first.partition.table.model]

        def tails() -> Values:
            return first.partition.tail(first.cut, batcher.stack(first.cut, [job.values for job in group]))

        outputs, compute_s = self._executor.run(tails)
        apart = batcher.unstack(outputs, len(group))
        return [
            Computed(values, begun - job.since_s, compute_s, len(group))
            for job, values in zip(group, apart, strict=True)
        ]

    def _run_single(self, job: Job) -> Computed | Exception:
        begun = perf_counter()
        try:
            values, compute_s = self._executor.run(partial(job.partition.tail, job.cut, job.values))
        except Exception as error:  # noqa: BLE001 - ints or indices that fit by type may still be impossible
            _log.warning("tail failed", model=job.partition.table.model, cut=job.cut, error=_one_line(error))
            if _is_out_of_memory(error):
                return OutOfMemoryError(f"the tail from cut {job.cut} found no memory: {_one_line(error)}")
            if _is_device_error(error):
                return DeviceError(f"the device failed in the tail from cut {job.cut}: {_one_line(error)}")
            return MalformedError(f"the tail from cut {job.cut} does not run on these values: {_one_line(error)}")
        return Computed(values, begun - job.since_s, compute_s, 1)


def _is_out_of_memory(error: Exception) -> bool:
    """Torch has a class for the GPU's memory; the CPU's is told by words alone."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _is_device_error(error: Exception) -> bool:
    """Torch has a class for what a device reports, which its libraries' own errors do not use."""
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error) or "HIP error" in str(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
