"""Finishing an inference: in the cloud, at the edge if the cloud fails, or in both if the deadline is near."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from midcut.edge.picture_input import FileRequest
from midcut.edge.recheck import Recheck, difference
from midcut.errors import CloudError, CloudRefusedError, MalformedError
from midcut.graph.segments import Segments
from midcut.serving.threads import Threads
from midcut.tensors import begin_computing
from midcut.types import TailReply, Transfer
from midcut.wire.sizes import PAPER
from midcut.wire.tracing import span
from midcut.wire.workload import values_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from midcut.edge.clouds.failover import Clouds
    from midcut.edge.telemetry.hub import TelemetryHub
    from midcut.graph import Partition
    from midcut.graph.sizes import Shapes
    from midcut.protocols import Executor
    from midcut.types import CutTable, TailRequest, Tensor

    Values = Sequence[Tensor | int]

_T = TypeVar("_T")
_log = structlog.get_logger("midcut.edge")
# HTTP statuses with which a cloud may refuse a model that it no longer holds.
_OTHER_MODEL: Final = frozenset({400, 404, 409})
# A tail may run slower than any before (clock frequency, other requests). Starting late misses the deadline, starting
# early costs little: so reserve more than the slowest time.
_MARGIN: Final = 1.25
_MARGIN_S: Final = 0.002
# Share of the old estimate that is kept at each new measurement.
_KEPT_SHARE: Final = 0.9
# The two clocks of an exchange differ, and a cloud reports its seconds in whole microseconds.
_CLOCKS: Final = 1.02
_CLOCKS_S: Final = 0.001
# Codecs and text make a payload larger, and so do headers.
_SLACK: Final = 2
_HEADERS_BYTES: Final = 65_536
# After an answer that was computed wrongly, a cloud is left alone for this long.
_WRONG_ANSWER_S: Final = 60.0


class FinishedTail(msgspec.Struct, frozen=True):
    """The output's values, computed by the cloud (then with its reply) or by the edge.

    Attributes:
        values: the model's output values.
        fallback: why the edge had to compute the tail; `""` if it did not.
        link_s: seconds of the exchange, without the cloud's computation.
        edge_s: seconds of computation at the edge.
    """

    values: Values
    reply: TailReply | None = None
    fallback: str = ""
    link_s: float = 0.0
    edge_s: float = 0.0


class _CloudOutcome(msgspec.Struct, frozen=True):
    """The outcome of asking the cloud: a reply, or why there is none."""

    reply: TailReply | None = None
    fallback: str = ""
    link_s: float = 0.0


class _Work(NamedTuple):
    """A tail to compute, the model's inputs, and the model prepared for the shapes of those inputs."""

    request: TailRequest
    inputs: Values
    partition: Partition


class TailTimes:
    """Estimates how long the edge takes for a tail, from every tail that it ran. Used on the event loop only."""

    def __init__(self) -> None:
        self._slowest_s: dict[int, float] = {}

    def record(self, cut: int, seconds: float) -> None:
        """Record the seconds from request to end of the tail from a cut; cut 0 is the whole model.

        The estimate is the slowest time, which fades slowly.
        """
        faded_s = _KEPT_SHARE * self._slowest_s.get(cut, 0.0) + (1.0 - _KEPT_SHARE) * seconds
        self._slowest_s[cut] = max(seconds, faded_s)

    def seconds(self, cut: int) -> float:
        """Seconds to reserve for the tail from a cut, estimated from the nearest measured cut at or before it."""
        before = [measured for measured in self._slowest_s if measured <= cut]
        return self._slowest_s[max(before)] * _MARGIN + _MARGIN_S if before else 0.0


class TailCompute(Protocol):
    """Computes tails here: an edge's `LocalCompute`, or a relay's queue."""

    async def run(self, partition: Partition, start: int, stop: int, values: Values) -> tuple[Values, float]: ...

    def warm_up(self) -> None: ...

    def run_on_zeros(self) -> None: ...

    async def run_untimed(self, work: Callable[[], None]) -> None: ...


class LocalCompute:
    """This device's computation, on one thread.

    Two heads at once would slow each other down and distort the measured times. torch's thread count applies to the
    thread that sets it.
    """

    def __init__(self, partition: Partition, executor: Executor, threads: int) -> None:
        self._partition = partition
        self._segments = Segments(executor)
        self._threads = Threads(1, "compute", partial(begin_computing, threads))

    async def run(self, partition: Partition, start: int, stop: int, values: Values) -> tuple[Values, float]:
        """Run nodes start..stop-1; returns the values that cross `stop` and the seconds it took.

        Args:
            partition: the model, prepared for the shapes of the request's inputs.
        """
        return await self._threads.run(self._segments.run, partition, start, stop, values)

    async def make_for_shapes(self, shapes: Shapes) -> Partition:
        """Make the model for inputs of these shapes. The number of threads decides bits, so it is this thread's."""
        return await self._threads.run(self._partition.make_for_shapes, shapes)

    def ready(self, start: int, stop: int) -> bool:
        return self._segments.ready(self._partition, start, stop)

    def inexact(self, cut: int) -> bool:
        """Whether a cut must be run as the whole model; see `Segments.inexact`."""
        return self._segments.inexact(self._partition, cut)

    def prepare_soon(self, start: int, stop: int) -> None:
        """Make a segment ready in the background."""
        self._segments.prepare_soon(self._partition, start, stop)

    def warm_up(self) -> None:
        """Run the whole model in PyTorch, which may stand in for the executor, and make it ready for the executor."""
        self._partition.warm_up()
        self._segments.prepare(self._partition, 0, self._partition.table.last)

    def run_on_zeros(self) -> None:
        """Run the whole model once."""
        last = self._partition.table.last
        self._partition.warm_up(lambda values: self._segments.run(self._partition, 0, last, values))

    async def run_untimed(self, work: Callable[[], None]) -> None:
        """Run a function on the compute thread, without measuring it."""
        await self._threads.run(work)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.close)
        await asyncio.to_thread(self._segments.close)


class Tails:
    """Finishes inferences in the cloud or at the edge.

    Args:
        on_other_model: called when a cloud refuses a request because it may hold another model than was planned for.
        recheck_share: of the cloud's answers, how many the edge computes again.
        exact: the codecs that do not change the payload; only their answers are computed again.
    """

    def __init__(
        self,
        partition: Partition,
        clouds: Clouds,
        hub: TelemetryHub,
        here: TailCompute,
        on_other_model: Callable[[], None],
        *,
        recheck_share: float = 0.0,
        exact: frozenset[str] = frozenset(),
    ) -> None:
        self._partition = partition
        self._table = partition.table
        self._clouds = clouds
        self._hub = hub
        self._here = here
        self._on_other_model = on_other_model
        self._recheck, self._exact = Recheck(recheck_share), exact
        self._times = TailTimes()
        self._background: set[asyncio.Task[Any]] = set()

    @property
    def busy(self) -> bool:
        """Whether an exchange or a tail still runs, perhaps for a request that is already answered."""
        return bool(self._background)

    async def warm_up(self) -> None:
        """Run the whole model twice: the first run is far slower than later ones, so the second is measured."""
        await self._here.run_untimed(self._here.warm_up)
        began = perf_counter()
        await self._here.run_untimed(self._here.run_on_zeros)
        self._times.record(0, perf_counter() - began)

    async def close(self) -> None:
        """Cancel the tasks that still run in the background."""
        tasks = list(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def finish(
        self,
        request: TailRequest,
        inputs: Values,
        deadline_at_s: float | None,
        patience_s: float | None = None,
        blocked: str = "",
        partition: Partition | None = None,
    ) -> FinishedTail:
        """Get the output's values.

        Args:
            request: its time-out is set here if there is a deadline.
            inputs: the model's inputs, whose shapes decide whether the output's shape is known.
            deadline_at_s: the deadline, by `perf_counter`; None if there is none.
            patience_s: without a deadline, the edge starts the tail too when the cloud has not answered for this long;
                None waits as long as the transport does.
            blocked: why the cloud must not be asked; `""` if it may be.
            partition: the model, prepared for the shapes of the inputs; None if these are the example's.
        """
        work = _Work(request, inputs, self._partition if partition is None else partition)
        if request.cut == self._table.last:
            return FinishedTail(request.values)
        blocked_reason = blocked or self._clouds.blocked_reason()
        if blocked_reason:
            return await self._finish_here(work, _CloudOutcome(fallback=blocked_reason))
        if deadline_at_s is not None:
            return await self._finish_in_time(work, deadline_at_s)
        if patience_s is not None:
            asking = self._track(asyncio.create_task(self._ask_cloud(work)))
            return await self._race(asking, work, patience_s)
        outcome = await self._ask_cloud(work)
        return _cloud_tail(outcome) or await self._finish_here(work, outcome)

    async def _finish_in_time(self, work: _Work, deadline_at_s: float) -> FinishedTail:
        """Ask the cloud, and start the tail at the edge too at the last moment that still meets the deadline.

        The first result is used. If the edge cannot meet the deadline from the start, it begins only when the cloud
        has failed or the deadline is over.
        """
        left_s = deadline_at_s - perf_counter()
        spare_s = left_s - self._times.seconds(work.request.cut)
        if left_s <= 0.0:
            return await self._finish_here(
                work, _CloudOutcome(fallback="the deadline was over before the cloud was asked")
            )
        limited = work._replace(request=replace(work.request, timeout_s=left_s))
        asking = self._track(asyncio.create_task(self._ask_cloud(limited)))
        return await self._race(asking, work, spare_s if spare_s > 0.0 else left_s)

    async def _race(self, asking: asyncio.Task[_CloudOutcome], work: _Work, patience_s: float) -> FinishedTail:
        """Wait for the cloud's answer; start the tail at the edge too after a time, and use the first result."""
        started = perf_counter()
        try:
            await asyncio.wait({asking}, timeout=patience_s)
            if asking.done():
                return _cloud_tail(asking.result()) or await self._finish_here(work, asking.result())
            waited_s = perf_counter() - started
            computing = self._track(asyncio.create_task(self._compute(work)))
            await asyncio.wait({asking, computing}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and not computing.done() and (tail := _cloud_tail(asking.result())) is not None:
                return tail
            failed_here = computing.done() and not computing.cancelled() and computing.exception() is not None
            if failed_here and (tail := _cloud_tail(await asking)) is not None:
                return tail
            values, edge_s = await asyncio.shield(computing)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        why = asking.result().fallback if asking.done() else ""
        return FinishedTail(values, fallback=why or f"no answer {waited_s:.3g} s later", link_s=waited_s, edge_s=edge_s)

    def _track(self, task: asyncio.Task[_T]) -> asyncio.Task[_T]:
        """Keep a task that may outlast its request: a late result still informs breaker, telemetry and tail times."""
        self._background.add(task)
        task.add_done_callback(self._untrack)
        return task

    def _untrack(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("background work failed", error=str(error))  # the request may not have waited for this task

    async def _finish_here(self, work: _Work, outcome: _CloudOutcome) -> FinishedTail:
        values, edge_s = await self._compute(work)
        return FinishedTail(values, fallback=outcome.fallback, link_s=outcome.link_s, edge_s=edge_s)

    async def _compute(self, work: _Work) -> tuple[Values, float]:
        began, request = perf_counter(), work.request
        values, decode_s = request.values, 0.0
        if isinstance(request, FileRequest) and request.picture is not None:
            values = (await request.picture.tensor(),)
            self._partition.check_inputs(values)
            decode_s = request.picture.decode_s
        with span("tail", cut=request.cut):
            values, edge_s = await self._here.run(work.partition, request.cut, self._table.last, values)
        self._times.record(request.cut, perf_counter() - began)  # waiting for the thread included
        return values, decode_s + edge_s

    async def _ask_cloud(self, work: _Work) -> _CloudOutcome:
        started, request = perf_counter(), work.request
        rechecked_s = 0.0  # computing an answer again is no time of the link

        async def recheck(reply: TailReply) -> None:
            nonlocal rechecked_s
            began = perf_counter()
            try:
                await self._compute_again(work, reply)
            finally:
                rechecked_s += perf_counter() - began

        def check(reply: TailReply) -> Awaitable[None] | None:
            return recheck(reply) if self._check(work, reply) else None

        try:
            with span("link", "CLIENT", cut=request.cut, codec=request.codec):
                exchanging = partial(self._hub.exchanging, _most_bytes(request))
                reply = await self._clouds.infer(request, check, exchanging)
        except CloudError as error:
            if isinstance(error, CloudRefusedError) and error.http_status in _OTHER_MODEL:
                self._on_other_model()
            return _CloudOutcome(fallback=str(error), link_s=perf_counter() - started - rechecked_s)
        took_s = perf_counter() - started - rechecked_s
        self._hub.transferred(
            Transfer(
                sent_bytes=reply.sent_bytes,
                received_bytes=reply.received_bytes,
                wall_s=reply.wall_s,
                server_s=reply.server_s,
                at_s=time.time(),
                tcp=reply.tcp,
                fresh=reply.fresh,
                arrival=reply.arrival,
            )
        )
        return _CloudOutcome(reply, link_s=max(took_s - reply.compute_s - reply.beyond_s, 0.0))

    def _check(self, work: _Work, reply: TailReply) -> bool:
        """Raise CloudRefusedError for impossible times or bytes, or values that cannot be this model's output.

        Returns whether the tail is to be computed here too, as it is for a share of the answers.
        """
        _check_times(reply)
        partition, request, last = work.partition, work.request, self._table.last
        _check_bytes(reply, partition.table, request)
        try:
            partition.check_values(last, reply.values)
        except MalformedError as error:
            raise CloudRefusedError(f"the cloud's reply does not fit: {error}") from None
        if any(value.any_size for value in partition.expected(last)):
            return False
        # The output's shape is known in advance only for inputs of the table's shapes.
        shapes, (given, expected) = _shapes(reply.values), (_spec_shapes(partition.table, at) for at in (0, last))
        if shapes != expected and _shapes(work.inputs) == given:
            raise CloudRefusedError(f"the cloud's reply has shapes {shapes}, expected are {expected}")
        codecs = {request.codec} if request.onward is None else {request.codec, *(h.codec for h in request.onward.hops)}
        return codecs <= self._exact and self._recheck.is_due()

    async def _compute_again(self, work: _Work, reply: TailReply) -> None:
        """Raise CloudRefusedError if the cloud computes wrongly. A failure here says nothing of it, and is logged."""
        try:
            values, _ = await self._compute(work)
            different = difference(values, reply.values)
        except Exception as error:  # noqa: BLE001 - whatever it is, the cloud's answer is there
            reason = f"{type(error).__name__}: {error}"
            _log.warning("an answer could not be computed again", request_id=work.request.request_id, reason=reason)
            return
        if different:
            _log.error("the cloud computes wrongly", request_id=work.request.request_id, reason=different)
            raise CloudRefusedError(
                f"the cloud computed another answer than the edge: {different}", retry_after_s=_WRONG_ANSWER_S
            )


def _most_bytes(request: TailRequest) -> int:
    """What a request sends at most: codecs make it less, but for the text of base64."""
    size = values_bytes(request.values)
    return size * 4 // 3 if request.codec == PAPER else size


def _check_times(reply: TailReply) -> None:
    """Raise CloudRefusedError for seconds that cannot be: calibration, telemetry and the cost would believe them."""
    longest_s = reply.wall_s * _CLOCKS + _CLOCKS_S
    own_s = reply.compute_s + reply.beyond_s
    for name, seconds in (("compute", own_s), ("server", reply.server_s)):
        if not 0.0 <= seconds <= longest_s:  # true for NaN too, which is refused as well
            raise CloudRefusedError(
                f"the cloud reports {seconds:.3g} {name} seconds of an exchange that took {reply.wall_s:.3g} s"
            )


def _check_bytes(reply: TailReply, table: CutTable, request: TailRequest) -> None:
    """Raise CloudRefusedError for more bytes behind a relay than a hop can have, which the cost would believe."""
    if not reply.beyond:
        return
    largest = max(cut.payload_bytes for cut in table.cuts)
    batch = max(values_bytes(request.values) / max(table.cuts[request.cut].payload_bytes, 1), 1.0)
    most = _SLACK * largest * batch + _HEADERS_BYTES
    for times in reply.beyond:
        if max(times.sent_bytes, times.received_bytes) > most:
            raise CloudRefusedError(
                f"the relay reports {max(times.sent_bytes, times.received_bytes)} bytes of a hop of at most {most:.0f}"
            )


def _cloud_tail(outcome: _CloudOutcome) -> FinishedTail | None:
    if outcome.reply is None:
        return None
    return FinishedTail(outcome.reply.values, outcome.reply, link_s=outcome.link_s)


def _spec_shapes(table: CutTable, cut: int) -> list[tuple[int, ...]]:
    return [spec.shape for spec in table.cuts[cut].values if spec.is_tensor]


def _shapes(values: Values) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in values if not isinstance(value, int)]
