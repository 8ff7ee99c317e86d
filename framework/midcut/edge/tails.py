"""The tail of one inference: in the cloud, here where the cloud does not answer, or both where time gets short."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import structlog
import torch
from msgspec.structs import replace

from midcut.errors import CloudError, CloudRefusedError, MalformedError
from midcut.types import TailReply, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midcut.edge.clouds.failover import Clouds
    from midcut.edge.telemetry.hub import TelemetryHub
    from midcut.graph import Partition
    from midcut.protocols import Executor
    from midcut.types import TailRequest, ValueSpec

    Values = Sequence[torch.Tensor | int]

_T = TypeVar("_T")
_log = structlog.get_logger("midcut.edge")
# What a cloud may say when it no longer holds what was planned for.
_OTHER_MODEL: Final = frozenset({400, 404, 409})
# Slower than ever seen, by the clock, by other requests: what is late is lost, what is early costs little.
_MARGIN: Final = 1.25
_MARGIN_S: Final = 0.002
_FORGET: Final = 0.9


class FinishedTail(msgspec.Struct, frozen=True):
    """The output's values and who made them: the cloud, with its reply, or the edge.

    Attributes:
        values: those live at the last cut.
        fallback: why the edge finished what the cloud should have, `""` where it did not have to.
        link_s: what the exchange took beside the cloud's computation.
        edge_s: seconds of computation here.
    """

    values: Values
    reply: TailReply | None = None
    fallback: str = ""
    link_s: float = 0.0
    edge_s: float = 0.0


class _Asked(msgspec.Struct, frozen=True):
    """What came of asking the cloud: a reply, or why there is none."""

    reply: TailReply | None = None
    fallback: str = ""
    link_s: float = 0.0


class TailTimes:
    """Learns from every tail that ran here. Used on the event loop only."""

    def __init__(self) -> None:
        self._known: dict[int, float] = {}

    def took(self, cut: int, seconds: float) -> None:
        """A tail from this cut was done that long after it was asked for; cut 0 is the whole model.

        The slowest counts, and fades.
        """
        faded_s = _FORGET * self._known.get(cut, 0.0) + (1.0 - _FORGET) * seconds
        self._known[cut] = max(seconds, faded_s)

    def seconds(self, cut: int) -> float:
        """How much time to leave for the tail from a cut: by the nearest known one that is as long or longer."""
        before = [known for known in self._known if known <= cut]
        return self._known[max(before)] * _MARGIN + _MARGIN_S if before else 0.0


class LocalCompute:
    """This device's computation, on one thread.

    Two heads at once would only slow each other down and spoil the times. torch's own count of threads holds on the
    thread that sets it.
    """

    def __init__(self, executor: Executor, threads: int) -> None:
        self._executor = executor
        self._thread = ThreadPoolExecutor(1, "compute", torch.set_num_threads, (threads,))

    async def run(self, segment: Callable[[], Values]) -> tuple[Values, float]:
        """Run one segment; returns its values and the seconds it took."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._executor.run, segment)

    async def call(self, work: Callable[[], None]) -> None:
        """Do something on the thread, unmeasured."""
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)


class Tails:
    """Finishes inferences, one way or the other.

    Args:
        other_model: called when a cloud says that it holds another model than was planned for.
    """

    def __init__(
        self,
        partition: Partition,
        clouds: Clouds,
        hub: TelemetryHub,
        here: LocalCompute,
        other_model: Callable[[], None],
    ) -> None:
        self._partition = partition
        self._table = partition.table
        self._clouds = clouds
        self._hub = hub
        self._here = here
        self._other_model = other_model
        self._times = TailTimes()
        self._captured, self._output = (_captured(self._table.cuts[at].values) for at in (0, self._table.last))
        self._left: set[asyncio.Task[Any]] = set()

    @property
    def busy(self) -> bool:
        """Whether an exchange or a tail goes on whose request may long be answered."""
        return bool(self._left)

    async def warm_up(self) -> None:
        """Run the whole model twice: the first run is far slower than the next, the next says how long it takes."""
        await self._here.call(self._partition.warm_up)
        _, whole_s = await self._here.run(self._whole)
        self._times.took(0, whole_s)

    def _whole(self) -> Values:
        self._partition.warm_up()
        return ()

    async def close(self) -> None:
        """Give up what nobody waits for any more."""
        left = list(self._left)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def finish(self, request: TailRequest, inputs: Values, until_s: float | None) -> FinishedTail:
        """Get the output's values.

        Args:
            request: without a time-out; it gets one.
            inputs: the model's own, for the shape of the output.
            until_s: the deadline, by `time.perf_counter()`; None where there is none.
        """
        if request.cut == self._table.last:
            return FinishedTail(request.values)
        why_not = self._clouds.why_not()
        if why_not:
            return await self._finish_here(request, _Asked(fallback=why_not))
        if until_s is None:
            asked = await self._ask(request, inputs)
        else:
            return await self._finish_in_time(request, inputs, until_s)
        return _by_cloud(asked) or await self._finish_here(request, asked)

    async def _finish_in_time(self, request: TailRequest, inputs: Values, until_s: float) -> FinishedTail:
        """Ask the cloud; when the time left only just suffices for the tail here, begin it: the first one counts.

        Where it does not suffice to begin with, the cloud has until the deadline, and the edge what is left of it.
        """
        left_s = until_s - perf_counter()
        spare_s = left_s - self._times.seconds(request.cut)
        if left_s <= 0.0:
            return await self._finish_here(request, _Asked(fallback="the deadline was over before the cloud was asked"))
        asking = self._keep(asyncio.create_task(self._ask(replace(request, timeout_s=left_s), inputs)))
        started = perf_counter()
        try:
            await asyncio.wait({asking}, timeout=spare_s if spare_s > 0.0 else left_s)
            if asking.done():
                return _by_cloud(asking.result()) or await self._finish_here(request, asking.result())
            waited_s = perf_counter() - started
            computing = self._keep(asyncio.create_task(self._compute(request)))
            await asyncio.wait({asking, computing}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and not computing.done() and (tail := _by_cloud(asking.result())) is not None:
                return tail
            values, edge_s = await asyncio.shield(computing)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        why = asking.result().fallback if asking.done() else ""
        return FinishedTail(values, fallback=why or f"no answer {waited_s:.3g} s later", link_s=waited_s, edge_s=edge_s)

    def _keep(self, task: asyncio.Task[_T]) -> asyncio.Task[_T]:
        """It may go on after its request was answered: the loser of two still teaches breaker and telemetry."""
        self._left.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("left behind", error=str(error))  # else its request has raised it

    async def _finish_here(self, request: TailRequest, asked: _Asked) -> FinishedTail:
        values, edge_s = await self._compute(request)
        return FinishedTail(values, fallback=asked.fallback, link_s=asked.link_s, edge_s=edge_s)

    async def _compute(self, request: TailRequest) -> tuple[Values, float]:
        began = perf_counter()
        values, edge_s = await self._here.run(partial(self._partition.tail, request.cut, request.values))
        self._times.took(request.cut, perf_counter() - began)  # waiting for the thread included
        return values, edge_s

    async def _ask(self, request: TailRequest, inputs: Values) -> _Asked:
        started = perf_counter()
        try:
            with self._hub.exchanging():
                reply = await self._clouds.infer(request, partial(self._check, inputs))
        except CloudError as error:
            if isinstance(error, CloudRefusedError) and error.said in _OTHER_MODEL:
                self._other_model()
            return _Asked(fallback=str(error), link_s=perf_counter() - started)
        took_s = perf_counter() - started
        self._hub.transferred(
            Transfer(
                sent_bytes=reply.sent_bytes,
                received_bytes=reply.received_bytes,
                wall_s=reply.wall_s,
                server_s=reply.server_s,
                at_s=time.time(),
                tcp=reply.tcp,
                fresh=reply.fresh,
            )
        )
        return _Asked(reply, link_s=max(took_s - reply.compute_s, 0.0))

    def _check(self, inputs: Values, reply: TailReply) -> None:
        """Refuse a reply that is not this model's output for this batch."""
        try:
            self._partition.check_values(self._table.last, reply.values)
        except MalformedError as error:
            raise CloudRefusedError(f"the cloud's reply does not fit: {error}") from None
        shapes = _shapes(reply.values)
        # Of another batch than the captured one the output's shape is not known beforehand.
        if shapes != self._output and _shapes(inputs) == self._captured:
            raise CloudRefusedError(f"the cloud's reply has shapes {shapes}, expected are {self._output}")


def _by_cloud(asked: _Asked) -> FinishedTail | None:
    if asked.reply is None:
        return None
    return FinishedTail(asked.reply.values, asked.reply, link_s=asked.link_s)


def _captured(specs: Sequence[ValueSpec]) -> list[tuple[int, ...]]:
    return [spec.shape for spec in specs if spec.is_tensor]


def _shapes(values: Values) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in values if not isinstance(value, int)]
