"""The queue of tails: bounded, with deadlines, and with requests computed together as one batch."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from midcut.cloud.batch_sizes import BatchSizeEstimator
from midcut.cloud.load import CloudLoad
from midcut.cloud.worker import Job, TailKey, TailResult, Worker
from midcut.config.settings import PriceSettings
from midcut.errors import BusyError, ExpiredError
from midcut.serving import UPLOADS_PER_PLACE, InFlightCounter
from midcut.wire.tracing import span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from midcut.config.settings import CloudSettings
    from midcut.graph import Partition
    from midcut.graph.batcher import Batcher
    from midcut.graph.segments import Segments
    from midcut.serving.metrics import CloudMetrics
    from midcut.serving.threads import Threads

    Values = Sequence[torch.Tensor | int]

# Smoothing factor of the moving average of tail run times, by which a request's wait is estimated.
_NEWEST_WEIGHT: Final = 0.2
# Handing work to a thread and back takes about this long, so that shorter tails run on the event loop itself.
_THREAD_ROUND_TRIP_S: Final = 3e-4
# Number of recent run times kept for each tail (`Job.tail`). `_is_quick` looks at the two shortest.
_REMEMBERED_RUNS: Final = 5


class Held:
    """Counts what is done `with` it."""

    count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1


class TailQueue:
    """Computes tails on worker threads, in order of arrival unless they wait for a batch. Used on one event loop.

    A tail whose recent runs took less time than handing it to a thread runs on the event loop.

    Args:
        segments: runs nodes of a model from one cut to another, and measures the time.
        pool: the worker threads.
        settings: `workers`, `queue`, `queue_s`, `batch_requests` and `batch_delay_s`.
        batchers: by name and fingerprint; requests for other models are computed one by one.
        price: what a busy second costs.

    Attributes:
        in_flight: counts the requests of the handlers that it wraps. It may raise BusyError before a body is read:
            where the queue is full, the wait would be too long, or too many requests are in flight.
        load: how busy the workers are.
    """

    def __init__(
        self,
        segments: Segments,
        pool: Threads,
        settings: CloudSettings,
        metrics: CloudMetrics,
        batchers: Mapping[tuple[str, str], Batcher],
        price: PriceSettings | None = None,
    ) -> None:
        self.load = CloudLoad(PriceSettings() if price is None else price)
        self.in_flight = InFlightCounter(self._check_in_flight)
        metrics.show_in_flight(lambda: self.in_flight.count)
        self._pool = pool
        self._settings = settings
        self._metrics = metrics
        self._waiting: deque[Job] = deque()
        self._free_workers = settings.workers
        self._capacity = settings.queue + settings.workers * settings.batch_requests
        self._delay_s = settings.batch_delay_s if settings.batch_requests > 1 else 0.0
        self._batch_sizes = BatchSizeEstimator(settings.batch_requests)
        self._timer: asyncio.TimerHandle | None = None
        self._held = Held()
        self._tail_s = 0.0
        self._recent_s: dict[TailKey, deque[float]] = {}
        self._batchers = batchers if settings.batch_requests > 1 else {}
        self._worker = Worker(segments, self._batchers)

    def place(self) -> Held:
        """Hold a place for a request whose body has been read, so that none is decoded and then refused.

        Raises:
            BusyError: the queue is full, or the wait would be longer than `queue_s`.
        """
        self._check_room()
        return self._held

    async def compute(
        self, partition: Partition, cut: int, values: Values, left_s: float | None = None, stop: int | None = None
    ) -> TailResult:
        """Wait for a worker and run a tail; it is not run where it is cancelled or expires while it waits.

        Args:
            values: the checked values at the cut.
            left_s: time until the deadline, after which nobody needs the result.
            stop: the cut at which a relay stops; None runs to the end.

        Raises:
            BusyError: the queue is full, or so long that the deadline would pass.
            ExpiredError: the deadline has passed.
            MalformedError: the tail does not run on these values.
        """
        with span("tail", model=partition.table.model, cut=cut):
            # Not `_capacity`: that is compared with all requests that hold a place, those being computed included.
            if len(self._waiting) >= self._settings.queue + self._free_workers * self._settings.batch_requests:
                raise self._busy_error(f"{len(self._waiting)} requests wait")
            if left_s is not None:
                self._check_deadline(left_s)
            stop = partition.table.last if stop is None else stop
            kind = self._job_kind(partition, cut, stop, values)
            elements = sum([1 if isinstance(value, int) else value.numel() for value in values])
            tail = partition.table.key, cut, stop, elements
            may_run = self._free_workers > 0 and not self._waiting and not (kind and self._delay_s > 0.0)
            if may_run and self._is_quick(tail):
                return self._compute_at_once(partition, tail, values, kind)
            loop = asyncio.get_running_loop()
            job = Job(partition, cut, stop, values, loop.create_future(), perf_counter(), tail, kind)
            self._waiting.append(job)
            self._metrics.waiting = len(self._waiting)
            self._start_workers()
            if job.future.done():
                return job.future.result()
            alarm = None if left_s is None else loop.call_later(left_s, self._expire, job)
            try:
                return await job.future
            except asyncio.CancelledError:
                if job.future.cancelled():
                    self._metrics.dropped("gone")
                raise
            finally:
                if alarm is not None:
                    alarm.cancel()
                if job in self._waiting:
                    self._waiting.remove(job)
                    self._metrics.waiting = len(self._waiting)
                    self._observe_batch_size(job.kind, 1)

    def _compute_at_once(
        self, partition: Partition, tail: TailKey, values: Values, kind: tuple[Any, ...]
    ) -> TailResult:
        """Compute a tail on the event loop, without the queue, in which nothing waits."""
        _, cut, stop, _ = tail
        outcome = self._worker.run_alone(partition, cut, stop, values, perf_counter())
        self._observe_batch_size(kind, 1)
        if isinstance(outcome, Exception):
            raise outcome
        self._learn(outcome, outcome.queue_s, None if partition.resized else tail)
        return outcome

    def _expire(self, job: Job) -> None:
        if not job.future.done():
            self._metrics.dropped("expired")
            job.future.set_exception(ExpiredError("the request's time was over before its tail was done"))

    def _check_in_flight(self, count: int) -> None:
        self._check_room()
        if count >= self._capacity * UPLOADS_PER_PLACE:
            raise self._busy_error(f"{count} requests are being read or answered")

    def _check_room(self) -> None:
        if self._held.count >= self._capacity:
            computing = self._settings.workers - self._free_workers
            raise self._busy_error(f"{self._held.count - computing} requests wait")
        if self._waiting and (wait_s := self._expected_wait_s()) > self._settings.queue_s:
            raise self._busy_error(f"{len(self._waiting)} requests wait, which takes about {wait_s:.2g} s")

    def _check_deadline(self, left_s: float) -> None:
        if left_s <= 0.0:
            self._metrics.dropped("expired")
            raise ExpiredError("the request's time was over before its tail was begun")
        if self._expected_wait_s() >= left_s:
            # No Retry-After: the queue has room for requests with more time.
            raise self._busy_error("the expected wait is longer than the time left for the request", retry_after=False)

    def _expected_wait_s(self) -> float:
        """About how long a new request waits; 0 while a worker is free, so that an old estimate is replaced."""
        return 0.0 if self._free_workers > 0 else self._tail_s * (1 + len(self._waiting)) / self._settings.workers

    def _busy_error(self, why: str, *, retry_after: bool = True) -> BusyError:
        self._metrics.dropped("busy")
        return BusyError(f"this cloud is busy: {why}", max(1, ceil(self._expected_wait_s())) if retry_after else None)

    def _job_kind(self, partition: Partition, cut: int, stop: int, values: Values) -> tuple[Any, ...]:
        """A key that is equal for requests that can be computed together; empty for one that cannot."""
        batcher = self._batchers.get(partition.table.key)
        if batcher is None or partition.resized or not batcher.cuts.issuperset((cut, stop)):
            return ()
        layouts = (v if isinstance(v, int) else (v.dtype, v.shape, v.stride()) for v in values)
        return (partition.table.key, cut, stop, *layouts)

    def _start_workers(self) -> None:
        """Give waiting jobs to the free workers."""
        while self._free_workers > 0 and self._waiting:
            first, remaining_s = self._next_job()
            if remaining_s > 0.0:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = asyncio.get_running_loop().call_later(remaining_s, self._start_workers)
                return
            group = self._take_group(first)
            if len(group) == 1 and self._is_quick(first.tail):
                self._set_outcomes(group, self._run(group))
                if self._waiting:  # one at a time, so that the loop can see to others
                    asyncio.get_running_loop().call_soon(self._start_workers)
                return
            self._free_workers -= 1
            self._pool.submit(self._run_on_thread, group, asyncio.get_running_loop())

    def _is_quick(self, tail: TailKey) -> bool:
        """Whether a tail is shorter than handing it to a thread, by its second shortest recent run, or the only one.

        Under load, other threads slow most runs.
        """
        recent_s = self._recent_s.get(tail)
        return recent_s is not None and sorted(recent_s)[:2][-1] < _THREAD_ROUND_TRIP_S

    def _next_job(self) -> tuple[Job, float]:
        """The first job that need not wait for a larger batch, or has waited long enough.

        Returns:
            the job, or the oldest one where all must wait; and how long it must still wait, seconds.
        """
        delay_s, oldest = self._delay_s, self._waiting[0]
        if delay_s <= 0.0:
            return oldest, 0.0
        waiting, now = Counter(job.kind for job in self._waiting), perf_counter()
        for job in self._waiting:
            job.batching_began_at_s = min(job.batching_began_at_s, now)
            if (
                not job.kind
                or self._batch_sizes.fills_a_batch(waiting, job.kind)
                or job.batching_began_at_s + delay_s <= now
            ):
                return job, 0.0
        return oldest, oldest.batching_began_at_s + delay_s - now

    def _take_group(self, first: Job) -> list[Job]:
        """Take a job, and the oldest ones that can be computed together with it, from the queue."""
        same_kind = [job for job in self._waiting if job.kind == first.kind] if first.kind else [first]
        group = same_kind[: self._settings.batch_requests]
        for job in group:
            self._waiting.remove(job)
        self._metrics.waiting = len(self._waiting)
        return group

    def _finish(self, group: list[Job], outcomes: Sequence[TailResult | Exception]) -> None:
        self._free_workers += 1
        self._set_outcomes(group, outcomes)
        self._start_workers()

    def _set_outcomes(self, group: list[Job], outcomes: Sequence[TailResult | Exception]) -> None:
        for job, outcome in zip(group, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, TailResult):
                job.future.set_result(outcome)
            else:
                job.future.set_exception(outcome)
        self._record(group, outcomes)

    def _record(self, group: list[Job], outcomes: Sequence[TailResult | Exception]) -> None:
        first = group[0]
        self._observe_batch_size(first.kind, len(group))
        computed = [outcome for outcome in outcomes if isinstance(outcome, TailResult)]
        if computed:
            alone = len(group) == 1 and not first.partition.resized
            self._learn(computed[0], sum(outcome.queue_s for outcome in computed), first.tail if alone else None)

    def _learn(self, result: TailResult, queue_s: float, alone: TailKey | None) -> None:
        """Take in how long a tail or a batch took.

        Args:
            queue_s: how long its requests waited, all together.
            alone: the tail that ran for one request, of the example's sizes; None for all others.
        """
        self._metrics.batch_requests.observe(result.batch_requests)
        self.load.computed(result.compute_s, queue_s)
        newest_s = result.compute_s / result.batch_requests
        self._tail_s += (newest_s - self._tail_s) * (_NEWEST_WEIGHT if self._tail_s else 1.0)
        if alone is not None:
            recent_s = self._recent_s.get(alone)
            if recent_s is None:  # the number of keys is bounded by the cuts and batch sizes, as values are checked
                recent_s = self._recent_s[alone] = deque(maxlen=_REMEMBERED_RUNS)
            recent_s.append(newest_s)

    def _observe_batch_size(self, kind: tuple[Any, ...], left: int) -> None:
        """Report how many jobs of a kind were queued together: those that left the queue and those that wait."""
        if kind:
            self._batch_sizes.observe(kind, left + sum(job.kind == kind for job in self._waiting))

    def _run_on_thread(self, group: list[Job], loop: asyncio.AbstractEventLoop) -> None:
        """On a worker thread: compute, then hand the outcomes to the event loop."""
        outcomes = self._run(group)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(self._finish, group, outcomes)

    def _run(self, group: list[Job]) -> Sequence[TailResult | Exception]:
        try:
            return self._worker.run(group)
        except Exception as error:  # noqa: BLE001 - a bug must not leave a client waiting
            return [error] * len(group)
        except BaseException as error:  # noqa: BLE001 - nor a library's panic, which is not an `Exception`
            return [RuntimeError(f"{type(error).__name__}: {error}")] * len(group)
