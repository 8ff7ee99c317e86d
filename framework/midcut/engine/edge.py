"""The edge's half of an inference, and all of it when the cloud does not answer."""

from __future__ import annotations

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import structlog

from midcut.engine.backoff import Backoff
from midcut.errors import CloudRefusedError, MalformedError, WireError
from midcut.types import InferenceResult, TailRequest, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from midcut.engine.hub import TelemetryHub
    from midcut.engine.replan import Observers, Planning
    from midcut.graph import Partition
    from midcut.protocols import CostModel, Executor, Transport
    from midcut.types import Decision, TailReply

    Values = Sequence[torch.Tensor | int]

_log = structlog.get_logger("midcut.engine")


@dataclass(frozen=True)
class EdgeParts:
    """What an engine is put together from; all of it made elsewhere."""

    partition: Partition
    transport: Transport
    executor: Executor
    cost: CostModel
    hub: TelemetryHub
    planning: Planning
    observers: Observers


class EdgeEngine:
    """Answers every request: a request runs on the cut it began with, and ends at the edge if it must.

    Args:
        retry_after_s: after the cloud failed, how long requests are finished here at once.
    """

    def __init__(self, parts: EdgeParts, retry_after_s: float) -> None:
        self._parts = parts
        self._partition = parts.partition
        self._table = parts.partition.table
        self._backoff = Backoff(retry_after_s)
        # One thread: two heads at once would only slow each other down and spoil the times.
        self._compute = ThreadPoolExecutor(1, thread_name_prefix="compute")

    @property
    def decision(self) -> Decision:
        """What the next request begins with."""
        return self._parts.planning.decision

    @property
    def partition(self) -> Partition:
        return self._partition

    async def start(self) -> None:
        """Open the transport, begin to measure and to plan."""
        await self._parts.transport.open()
        self._parts.hub.start()
        await self._parts.planning.start()

    async def close(self) -> None:
        """End the loop, the sources and the connections, in that order."""
        await self._parts.planning.close()
        await asyncio.to_thread(self._parts.hub.close)
        await self._parts.transport.close()
        self._compute.shutdown(wait=True, cancel_futures=True)
        self._parts.executor.close()

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
        self._partition.check_values(0, inputs)
        cut = decision.placement.cut
        payload, edge_s = await self._run(partial(self._partition.head, cut, inputs))
        request = TailRequest(self._table.model, cut, self._table.fingerprint, payload, request_id or uuid.uuid4().hex)
        fallback, reply = "", None
        if cut != self._table.last:
            reply, fallback = await self._ask_cloud(request, inputs)
        if reply is not None:
            outputs = reply.values
        elif cut != self._table.last:
            outputs, tail_s = await self._run(partial(self._partition.tail, cut, payload))
            edge_s += tail_s
        else:
            outputs = payload
        output = self._partition.assemble(outputs)
        result = self._result(decision, request, output, reply, fallback, edge_s, perf_counter() - started)
        self._parts.observers.inferred(result)
        return result

    async def _run(self, segment: Callable[[], Values]) -> tuple[Values, float]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._compute, self._parts.executor.run, segment)

    async def _ask_cloud(self, request: TailRequest, inputs: Values) -> tuple[TailReply | None, str]:
        """The cloud's reply, or None and why the edge has to finish."""
        why_not = self._backoff.why_not()
        if why_not:
            return None, why_not
        self._backoff.trying()
        started = perf_counter()
        try:
            reply = await self._parts.transport.infer(request)
            wall_s = perf_counter() - started
            self._check(reply, inputs)
        except WireError as error:
            return None, self._failed(str(error), started)
        except asyncio.CancelledError:
            self._backoff.abandoned()
            raise
        except Exception as error:  # noqa: BLE001 - a stranger's transport; no request may be lost
            _log.exception("transport failed")
            return None, self._failed(f"transport failed: {type(error).__name__}: {error}", started)
        if self._backoff.succeeded():
            _log.info("the cloud answers again")
        sent, received = reply.sent_bytes, reply.received_bytes
        self._parts.hub.transferred(Transfer(sent, received, wall_s, reply.server_s, at_s=time.time()))
        return reply, ""

    def _failed(self, reason: str, started: float) -> str:
        if self._backoff.failed(reason, perf_counter() - started):
            _log.warning("the cloud fails, the edge finishes by itself", reason=reason)
        return reason

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
        reply: TailReply | None,
        fallback: str,
        edge_s: float,
        latency_s: float,
    ) -> InferenceResult:
        cloud_s = reply.compute_s if reply is not None else 0.0
        # Where nothing is sent there is no link; waiting for the thread is in the whole only.
        sends = request.cut != self._table.last
        link_s = max(latency_s - edge_s - cloud_s, 0.0) if sends else 0.0
        return InferenceResult(
            request_id=request.request_id,
            output=output,
            cut=request.cut,
            finished_by="edge" if reply is None else "cloud",
            fallback=fallback,
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
