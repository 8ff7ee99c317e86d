"""Runs tails on a worker thread: one request alone, or several as one batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import structlog
import torch

from midcut.errors import DeviceError, MalformedError, OutOfMemoryError, is_exhausted

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from midcut.graph import Partition
    from midcut.graph.batcher import Batcher
    from midcut.graph.segments import Segments

    Values = Sequence[torch.Tensor | int]

TailKey: TypeAlias = tuple[tuple[str, str], int, int, int]
_log = structlog.get_logger("midcut.cloud")


class TailResult(msgspec.Struct, frozen=True):
    """The result of a tail.

    Attributes:
        values: the values at the cut where it ended.
        queue_s: how long the request waited for a worker.
        compute_s: time of the tail; of the whole batch where several requests were computed together.
        batch_requests: how many requests were computed together.
        stand_in: PyTorch computed it in place of a runtime that was not ready yet.
    """

    values: Values
    queue_s: float
    compute_s: float
    batch_requests: int
    stand_in: bool = False


@dataclass(eq=False, slots=True)
class Job:
    """A segment to be computed for one request.

    Attributes:
        stop: the cut at which it ends; the model's last cut if no relay passes it on.
        future: its outcome; set on the event loop only.
        queued_at_s: when it joined the queue, by `perf_counter`.
        tail: what its time depends on: model, both cuts, and number of elements.
        kind: a key that is equal for jobs that can be computed together; empty for one that cannot.
        batching_began_at_s: when a free worker first waited for a larger batch with it, by `perf_counter`.
    """

    partition: Partition
    cut: int
    stop: int
    values: Values
    future: asyncio.Future[TailResult]
    queued_at_s: float
    tail: TailKey
    kind: tuple[Any, ...] = ()
    batching_began_at_s: float = math.inf


class Worker:
    """Runs tails. Has no state, so that threads share it.

    Args:
        segments: runs nodes of a model from one cut to another, and measures the time.
        batchers: name and fingerprint -> what joins requests into batches.
    """

    def __init__(self, segments: Segments, batchers: Mapping[tuple[str, str], Batcher]) -> None:
        self._segments = segments
        self._batchers = batchers

    def run(self, group: Sequence[Job]) -> Sequence[TailResult | Exception]:
        """The outcome of each job. A batch that fails is repeated one by one, as one job may be the cause of it."""
        if len(group) > 1:
            try:
                return self._run_batched(group)
            except Exception as error:  # noqa: BLE001 - whatever a kernel raises
                _log.warning(
                    "batch failed, its requests are computed one by one", error=_one_line(error), requests=len(group)
                )
        return [self.run_alone(job.partition, job.cut, job.stop, job.values, job.queued_at_s) for job in group]

    def run_alone(
        self, partition: Partition, cut: int, stop: int, values: Values, queued_at_s: float
    ) -> TailResult | Exception:
        """The outcome of one segment. The arguments are the fields of a `Job`."""
        started = perf_counter()
        stand_in = not self._segments.ready(partition, cut, stop)
        try:
            values, compute_s = self._segments.run(partition, cut, stop, values)
        except Exception as error:  # noqa: BLE001 - ints or indices that fit by type may still be impossible
            _log.warning("tail failed", model=partition.table.model, cut=cut, error=_one_line(error))
            if is_exhausted(error):
                return OutOfMemoryError(f"the tail from cut {cut} ran out of memory: {_one_line(error)}")
            if _is_device_error(error):
                return DeviceError(f"the device failed in the tail from cut {cut}: {_one_line(error)}")
            return MalformedError(f"the tail from cut {cut} does not run on these values: {_one_line(error)}")
        except BaseException as error:  # noqa: BLE001 - a library's panic is not an `Exception`; a client waits
            return RuntimeError(f"{type(error).__name__}: {error}")
        return TailResult(values, started - queued_at_s, compute_s, 1, stand_in)

    def _run_batched(self, group: Sequence[Job]) -> list[TailResult]:
        started, first = perf_counter(), group[0]
        batcher = self._batchers[first.partition.table.key]
        stand_in = not self._segments.ready(first.partition, first.cut, first.stop)
        stacked = batcher.stack(first.cut, [job.values for job in group])
        outputs, compute_s = self._segments.run(first.partition, first.cut, first.stop, stacked)
        values_of_each = batcher.unstack(outputs, len(group), first.stop)
        return [
            TailResult(values, started - job.queued_at_s, compute_s, len(group), stand_in)
            for job, values in zip(group, values_of_each, strict=True)
        ]


def _is_device_error(error: Exception) -> bool:
    """Whether the device failed. Torch has an exception class for that, which some of its libraries do not use."""
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error) or "HIP error" in str(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
