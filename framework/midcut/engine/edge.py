"""The edge's half of an inference, and all of it when the cloud does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import structlog
import torch

from midcut.engine.backoff import Backoff
from midcut.errors import CloudRefusedError, MalformedError, WireError
from midcut.types import InferenceResult, TailRequest, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midcut.engine.greeting import CloudScope
    from midcut.engine.hub import TelemetryHub
    from midcut.engine.replan import Observers, Planning
    from midcut.graph import Partition
    from midcut.protocols import CostModel, Executor, Transport
    from midcut.types import Decision, TailReply

    Values = Sequence[torch.Tensor | int]

_log = structlog.get_logger("midcut.engine")
# What a cloud refuses one request with, and what it may say when it no longer holds what was planned for.
_THIS_REQUEST: Final = frozenset({400, 413, 415})
_OTHER_MODEL: Final = frozenset({400, 404, 409})


@dataclass(frozen=True)
class EdgeParts:
    """What an engine is put together from; all of it made elsewhere.

    Attributes:
        scope: keeps planning on the cuts the cloud takes; None where nobody asks.
    """

    partition: Partition
    transport: Transport
    executor: Executor
    cost: CostModel
    hub: TelemetryHub
    planning: Planning
    observers: Observers
    scope: CloudScope | None = None


@dataclass(frozen=True)
class _Asked:
    """What came of asking the cloud: a reply, or why the edge has to finish; and what the exchange took."""

    reply: TailReply | None = None
    fallback: str = ""
    link_s: float = 0.0


class EdgeEngine:
    """Answers every request: a request runs on the cut it began with, and ends at the edge if it must.

    Args:
        retry_after_s: after the cloud failed, how long requests are finished here at once.
        threads: torch's intra-op threads.
    """

    def __init__(self, parts: EdgeParts, retry_after_s: float, threads: int = 1) -> None:
        self._parts = parts
        self._partition = parts.partition
        self._table = parts.partition.table
        self._backoff = Backoff(retry_after_s)
        # One thread: two heads at once would only slow each other down and spoil the times. torch's own count of
        # threads holds on the thread that sets it.
        self._compute = ThreadPoolExecutor(
            1, thread_name_prefix="compute", initializer=torch.set_num_threads, initargs=(threads,)
        )

    @property
    def decision(self) -> Decision:
        """What the next request begins with."""
        return self._parts.planning.decision

    @property
    def partition(self) -> Partition:
        return self._partition

    async def start(self) -> None:
        """Open the transport, ask the cloud what it holds, begin to measure, warm up, begin to plan."""
        await self._parts.transport.open()
        if self._parts.scope is not None:
            await self._parts.scope.start()
        self._parts.hub.start()
        await asyncio.get_running_loop().run_in_executor(self._compute, self._partition.warm_up)
        await self._parts.planning.start()

    async def close(self) -> None:
        """End the loops, the sources and the connections, in that order, whatever one of them raises."""
        async with contextlib.AsyncExitStack() as last_to_first:
            last_to_first.callback(self._parts.executor.close)
            last_to_first.push_async_callback(asyncio.to_thread, self._compute.shutdown, cancel_futures=True)
            last_to_first.push_async_callback(self._parts.transport.close)
            last_to_first.push_async_callback(asyncio.to_thread, self._parts.hub.close)
            last_to_first.push_async_callback(self._parts.planning.close)
            if self._parts.scope is not None:
                last_to_first.push_async_callback(self._parts.scope.close)

    async def infer(self, inputs: Sequence[torch.Tensor], request_id: str = "") -> InferenceResult:
        """Answer one request.

        Args:
            inputs: the model's positional inputs.
            request_id: made up where empty.

        Raises:
            MalformedError: the inputs do not fit the model.
        """
        decision = self.decision
        started = perf_counter()
        self._partition.check_inputs(inputs)
        cut = decision.placement.cut
        payload, edge_s = await self._run(partial(self._partition.head, cut, inputs))
        request = TailRequest(self._table.model, cut, self._table.fingerprint, payload, request_id or uuid.uuid4().hex)
        asked = _Asked() if cut == self._table.last else await self._ask_cloud(request, inputs)
        if asked.reply is not None:
            outputs = asked.reply.values
        elif cut != self._table.last:
            outputs, tail_s = await self._run(partial(self._partition.tail, cut, payload))
            edge_s += tail_s
        else:
            outputs = payload
        output = self._partition.assemble(outputs)
        result = self._result(decision, request, output, asked, edge_s, perf_counter() - started)
        self._parts.observers.inferred(result)
        return result

    async def _run(self, segment: Callable[[], Values]) -> tuple[Values, float]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._compute, self._parts.executor.run, segment)

    async def _ask_cloud(self, request: TailRequest, inputs: Values) -> _Asked:
        why_not = self._backoff.why_not()
        if why_not:
            return _Asked(fallback=why_not)
        self._backoff.trying()
        started = perf_counter()
        try:
            reply = await self._parts.transport.infer(request)
            took_s = perf_counter() - started
            self._check(reply, inputs)
        except asyncio.CancelledError:
            self._backoff.abandoned()
            raise
        except Exception as error:  # noqa: BLE001 - a stranger's transport; no request may be lost
            took_s = perf_counter() - started
            return _Asked(fallback=self._failed(error, took_s), link_s=took_s)
        self._answered()
        sent, received = reply.sent_bytes, reply.received_bytes
        self._parts.hub.transferred(Transfer(sent, received, reply.wall_s, reply.server_s, at_s=time.time()))
        return _Asked(reply, link_s=max(took_s - reply.compute_s, 0.0))

    def _answered(self) -> None:
        if self._backoff.succeeded():
            _log.info("the cloud answers again")
            self._ask_scope()

    def _failed(self, error: Exception, took_s: float) -> str:
        reason = str(error)
        if not isinstance(error, WireError):
            _log.error("transport failed", exc_info=error)
            reason = f"transport failed: {type(error).__name__}: {error}"
        said = error.said if isinstance(error, CloudRefusedError) else 0
        if said in _THIS_REQUEST:
            self._answered()
            _log.info("the cloud refuses a request, the edge finishes it", reason=reason)
        elif self._backoff.failed(reason, took_s):
            _log.warning("the cloud fails, the edge finishes by itself", reason=reason)
        if said in _OTHER_MODEL:
            self._ask_scope()
        return reason

    def _ask_scope(self) -> None:
        if self._parts.scope is not None:
            self._parts.scope.ask_soon()

    def _check(self, reply: TailReply, inputs: Values) -> None:
        """Refuse a reply that is not this model's output for this batch."""
        last = self._table.last
        try:
            self._partition.check_values(last, reply.values)
        except MalformedError as error:
            raise CloudRefusedError(f"the cloud's reply does not fit: {error}") from None
        if _shapes(inputs) != [spec.shape for spec in self._table.cuts[0].values if spec.is_tensor]:
            return  # another batch than the captured one: the output's shape is not known beforehand
        expected = [spec.shape for spec in self._table.cuts[last].values if spec.is_tensor]
        if _shapes(reply.values) != expected:
            raise CloudRefusedError(f"the cloud's reply has shapes {_shapes(reply.values)}, expected are {expected}")

    def _result(
        self,
        decision: Decision,
        request: TailRequest,
        output: Any,
        asked: _Asked,
        edge_s: float,
        latency_s: float,
    ) -> InferenceResult:
        reply, link_s = asked.reply, asked.link_s
        cloud_s = reply.compute_s if reply is not None else 0.0
        return InferenceResult(
            request_id=request.request_id,
            output=output,
            cut=request.cut,
            finished_by="edge" if reply is None else "cloud",
            fallback=asked.fallback,
            edge_s=edge_s,
            link_s=link_s,
            cloud_s=cloud_s,
            latency_s=latency_s,
            cost_usd=float(self._parts.cost.cost_usd(edge_s, link_s, cloud_s)),
            sent_bytes=reply.sent_bytes if reply is not None else 0,
            predicted=decision.forecast.row(decision.index) if decision.forecast is not None else {},
        )


def _shapes(values: Values) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in values if not isinstance(value, int)]
