"""The edge engine: runs the head of each inference, and all of it if the cloud does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from midcut import wire
from midcut.edge.answer_price import AnswerPrice
from midcut.edge.file_choice import FILE_AT_0
from midcut.edge.picture_input import FileRequest, PictureInput
from midcut.edge.size_choice import SizeChoice
from midcut.edge.tails import LocalCompute, Tails
from midcut.errors import MalformedError
from midcut.planning.patience import patience_s
from midcut.types import InferenceResult, Placement, TailRequest, TierTimes, Usage
from midcut.wire.oip import FILE, RAW
from midcut.wire.tracing import span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midcut.config.settings import EngineSettings
    from midcut.edge.calibration.calibration import Calibration
    from midcut.edge.clouds.capabilities import CloudCapabilities
    from midcut.edge.clouds.failover import Clouds
    from midcut.edge.clouds.profile_fetcher import CloudProfileFetcher
    from midcut.edge.file_choice import FileChoice
    from midcut.edge.planning_loop import Observers, Planning
    from midcut.edge.tails import FinishedTail
    from midcut.edge.telemetry.hub import TelemetryHub
    from midcut.graph import Partition
    from midcut.planning.policy import Policy
    from midcut.protocols import CostModel, Executor
    from midcut.types import Decision, TailReply, Tensor


@dataclass(frozen=True)
class EdgeParts:
    """Components of an engine.

    Attributes:
        settings: the engine itself uses only `threads`, `deadline_s`, `give_up_factor` and `recheck`.
        capabilities: limits planning to the cuts that the cloud accepts; None does not ask the cloud.
        profile_fetcher: asks the cloud for its own profile; None plans with a given one.
        calibration: learns from every request; None if disabled.
        codecs: names of the codecs that a request may ask for, besides the built-in ones.
        exact_codecs: those of them, and of the built-in ones, that change no payload.
        files: chooses between a picture's file and other placements; None never sends a file.
        policy: gives the policy in use, for requests of other sizes; None leaves them at the decision's cut.
        learn: called with every answered request of the captured batch size, for components that learn.
    """

    partition: Partition
    settings: EngineSettings
    clouds: Clouds
    executor: Executor
    cost: CostModel
    hub: TelemetryHub
    planning: Planning
    observers: Observers
    capabilities: CloudCapabilities | None = None
    profile_fetcher: CloudProfileFetcher | None = None
    calibration: Calibration | None = None
    codecs: tuple[str, ...] = ()
    exact_codecs: tuple[str, ...] = (RAW, wire.PAPER)
    files: FileChoice | None = None
    policy: Callable[[], Policy] | None = None
    learn: Callable[[Decision, InferenceResult], None] | None = None


class EdgeEngine:
    """Answers requests. Each runs at the cut in use when it began, and the edge finishes it if the cloud fails."""

    def __init__(self, parts: EdgeParts) -> None:
        self.parts = parts
        self._price = AnswerPrice(parts.cost)
        self._partition = parts.partition
        self._table = parts.partition.table
        self._names = [[spec.name for spec in cut.values] for cut in self._table.cuts]
        self._example_shapes = [spec.shape for spec in self._table.cuts[0].values if spec.is_tensor]
        # Of a picture that is not decoded here only the shape is known.
        self._undecoded = [np.broadcast_to(np.uint8(0), shape) for shape in self._example_shapes]
        self._example_elements = sum(math.prod(shape) for shape in self._example_shapes)
        self._under_way = self._begun = 0
        self._used: Decision | None = None
        run = os.urandom(8).hex()
        self._ids = (f"{run}{number:016x}" for number in itertools.count())
        self._codecs = wire.codec_names(parts.codecs)
        self._at_size = SizeChoice(self._table, parts.policy)
        self._local = LocalCompute(parts.partition, parts.executor, parts.settings.thread_count)
        self._tails = Tails(
            parts.partition,
            parts.clouds,
            parts.hub,
            self._local,
            self._refresh_capabilities,
            recheck_share=parts.settings.recheck_share,
            exact=frozenset(parts.exact_codecs),
        )

    @property
    def decision(self) -> Decision:
        """The decision that the next request will use."""
        return self.parts.planning.decision

    @property
    def calibration(self) -> Calibration | None:
        return self.parts.calibration

    @property
    def partition(self) -> Partition:
        return self._partition

    async def start(self) -> None:
        """Open the transports, ask the cloud for its models, warm up, start telemetry, start planning."""
        await self.parts.clouds.open()
        if self.parts.capabilities is not None:
            await self.parts.capabilities.start()
        self.parts.clouds.on_recovery.append(self._refresh_capabilities)
        self.parts.clouds.on_first_listing.append(self._refresh_capabilities)
        await self._tails.warm_up()
        self.parts.hub.start()
        await self.parts.planning.start()
        if self.parts.profile_fetcher is not None:
            self.parts.clouds.on_recovery.append(self.parts.profile_fetcher.ask_soon)
            self.parts.profile_fetcher.start()

    async def close(self) -> None:
        """Close the loops, the sources and the connections, in that order, all of them even if one raises an error."""
        async with contextlib.AsyncExitStack() as last_to_first:
            last_to_first.push_async_callback(self._local.close)
            last_to_first.push_async_callback(self.parts.clouds.close)
            last_to_first.push_async_callback(self._tails.close)
            last_to_first.push_async_callback(asyncio.to_thread, self.parts.hub.close)
            last_to_first.push_async_callback(self.parts.planning.close)
            if self.parts.capabilities is not None:
                last_to_first.push_async_callback(self.parts.capabilities.close)
            if self.parts.profile_fetcher is not None:
                last_to_first.push_async_callback(self.parts.profile_fetcher.close)

    async def infer(
        self,
        inputs: Sequence[Tensor] | PictureInput,
        request_id: str = "",
        deadline_s: float | None = None,
        placement: Placement | None = None,
    ) -> InferenceResult:
        """Answer one request.

        Args:
            inputs: the model's positional inputs, or the file of a picture, which is decoded here unless it is sent.
            request_id: generated if empty.
            deadline_s: seconds until the answer is due; None uses the engine's own deadline.
            placement: overrides the decision's placement, so that placements can be compared.

        Raises:
            MalformedError: the inputs do not fit the model, a picture is broken, or the placement's cut or codec is not
                on offer.
            BusyError, OutOfMemoryError: a picture cannot be decoded now.
        """
        picture = inputs if isinstance(inputs, PictureInput) else None
        if picture is not None and (self.parts.files is None or picture.file_format not in self.parts.files.formats):
            inputs = [await picture.tensor()]
        decision = self._take_decision()
        self._begun += 1
        self._under_way += 1
        begun, alone = self._begun, self._under_way == 1 and not self._tails.busy
        try:
            with span("inference", model=self._table.model) as recorded:
                result = await self._answer(decision, inputs, request_id, deadline_s, placement)
                recorded.set_attribute("midcut.cut", result.cut)
                recorded.set_attribute("midcut.finished_by", result.finished_by)
        finally:
            self._under_way -= 1
        self.parts.observers.inferred(result)
        # If picture files may be sent, forecasts include decoding. A request with tensors has no decoding and cannot be
        # compared.
        comparable = self.parts.files is None or isinstance(inputs, PictureInput)
        if comparable and self._has_example_shapes(inputs):
            if self.parts.calibration is not None:
                self.parts.calibration.answered(decision, result, alone=alone and begun == self._begun)
            if self.parts.learn is not None:
                self.parts.learn(decision, result)
        return result

    def _has_example_shapes(self, inputs: Sequence[Tensor] | PictureInput) -> bool:
        return isinstance(inputs, PictureInput) or _input_shapes(inputs) == self._example_shapes

    async def _answer(
        self,
        decision: Decision,
        inputs: Sequence[Tensor] | PictureInput,
        request_id: str,
        deadline_s: float | None,
        placement: Placement | None,
    ) -> InferenceResult:
        started = perf_counter()
        used = self._exact(self._choose(decision, inputs)) if placement is None else self._check_placement(placement)
        time_limit_s = self.parts.settings.deadline_s if deadline_s is None else deadline_s
        deadline_at_s = None if time_limit_s is None else started + time_limit_s
        patience_s = self._patience_s(decision, used)
        if used == FILE_AT_0:
            sent = self._file_request(inputs, request_id)
            tail = await self._tails.finish(sent, self._undecoded, deadline_at_s, patience_s)
            return self._build_result(decision, sent, tail, tail.edge_s, perf_counter() - started)
        decode_s = 0.0
        if isinstance(inputs, PictureInput):
            picture, inputs = inputs, [await inputs.tensor()]
            decode_s = picture.decode_s
        partition = await self._partition_for(inputs)
        partition.check_inputs(inputs)
        if partition.resized:
            decision = self._at_size.decide(decision, partition)
            used = decision.placement if placement is None else self._check_placement(placement, partition)
            patience_s = self._patience_s(decision, used)
        cut = used.cut
        stand_in = cut > 0 and not self._local.ready(0, cut)
        # At cut 0 the head has no nodes, so there is no need to wait for the compute thread.
        with span("head", cut=cut):
            payload, edge_s = (
                await self._local.run(partition, 0, cut, inputs) if cut else (partition.head(0, inputs), 0.0)
            )
        request = TailRequest(
            self._table.model,
            cut,
            self._table.fingerprint,
            payload,
            request_id or next(self._ids),
            codec=used.codec,
            names=[spec.name for spec in partition.table.cuts[cut].values] if partition.resized else self._names[cut],
            reply_limit_bytes=self._reply_limit_bytes(inputs),
            onward=used.onward,
            input_shapes=tuple(_input_shapes(inputs)) if partition.resized else (),
        )
        tail = await self._tails.finish(request, inputs, deadline_at_s, patience_s, partition=partition)
        edge_s += decode_s + tail.edge_s
        result = self._build_result(decision, request, tail, edge_s, perf_counter() - started, partition)
        return replace(result, stand_in=("edge", *result.stand_in)) if stand_in else result

    async def _partition_for(self, inputs: Sequence[Tensor]) -> Partition:
        """The model, prepared for the shapes of these inputs. The first request of a shape waits for verification."""
        if self._partition.sizes is None:
            return self._partition
        shapes = tuple(tuple(getattr(value, "shape", ())) for value in inputs)
        found = self._partition.for_shapes(shapes)
        return await self._local.make_for_shapes(shapes) if found is None else found

    def _choose(self, decision: Decision, inputs: Sequence[Tensor] | PictureInput) -> Placement:
        if self.parts.files is None:
            return decision.placement
        if isinstance(inputs, PictureInput):
            return self.parts.files.choose(decision, inputs)
        return self.parts.files.for_tensors(decision)

    def _file_request(self, inputs: Sequence[Tensor] | PictureInput, request_id: str) -> FileRequest:
        if not isinstance(inputs, PictureInput):
            raise MalformedError(f"codec {FILE} sends the file of a picture, and this input did not come as one")
        return FileRequest(
            self._table.model,
            0,
            self._table.fingerprint,
            (np.frombuffer(inputs.data, np.uint8),),
            request_id or next(self._ids),
            codec=FILE,
            names=self._names[0],
            reply_limit_bytes=self._reply_limit_bytes(self._undecoded),
            picture=inputs,
        )

    def _patience_s(self, decision: Decision, used: Placement) -> float | None:
        """How long the cloud may take before the edge starts the tail too; None without a forecast to judge by."""
        factor, forecast = self.parts.settings.give_up_factor, decision.forecast
        if factor is None or forecast is None or used != decision.placement:
            return None
        return float(patience_s(forecast, decision.index, factor))

    def _reply_limit_bytes(self, inputs: Sequence[Tensor]) -> int:
        elements = sum(math.prod(value.shape) for value in inputs)
        return wire.reply_limit_bytes(self._table, max(elements / max(self._example_elements, 1), 1.0))

    def _take_decision(self) -> Decision:
        """Take the current decision into use if its head is ready, and return the decision in use.

        What is not ready is prepared in the background: the head, and the tail in case the cloud fails, for which an
        exported model waits, too, as PyTorch cannot run it meanwhile.
        """
        decision, last = self.decision, self._table.last
        cut = decision.placement.cut
        tail_ready = cut == last or self._local.ready(cut, last)
        if not tail_ready:
            self._local.prepare_soon(cut, last)
        head_ready = cut == 0 or self._local.ready(0, cut)
        if not head_ready:
            self._local.prepare_soon(0, cut)
        if head_ready and (tail_ready or getattr(self._partition, "has_torch", True)):
            self._used = decision
        return self._used or decision

    def _exact(self, chosen: Placement) -> Placement:
        """The placement, or the whole model here where an executor that promises its bits cannot give them."""
        return Placement(self._table.last, RAW) if self._local.inexact(chosen.cut) else chosen

    def _check_placement(self, placement: Placement, partition: Partition | None = None) -> Placement:
        legal = (partition or self._partition).legal
        if placement.cut not in legal:
            raise MalformedError(f"cut {placement.cut} is not on offer; the cuts are {legal}")
        if placement.codec == FILE and placement.cut:
            raise MalformedError(f"codec {FILE} is for cut 0 only, not for cut {placement.cut}")
        cut = placement.cut
        for hop in placement.hops[1:]:
            if not cut <= hop.cut <= self._table.last:
                raise MalformedError(f"{placement.text} go back: each cut must be from the one before to the last one")
            cut = hop.cut
        if placement.codec not in self._codecs:
            # The transport would refuse it too, but as if the cloud had refused it.
            raise MalformedError(
                f"codec {placement.codec[:40]!r} is not on offer; the codecs are {', '.join(self._codecs)}"
            )
        return placement

    def _refresh_capabilities(self) -> None:
        if self.parts.capabilities is not None:
            self.parts.capabilities.ask_soon()

    def _build_result(
        self,
        decision: Decision,
        request: TailRequest,
        tail: FinishedTail,
        edge_s: float,
        latency_s: float,
        partition: Partition | None = None,
    ) -> InferenceResult:
        reply, link_s = tail.reply, tail.link_s
        cloud_s = reply.compute_s if reply is not None else 0.0
        forecast = decision.forecast
        relayed = request.onward is not None or (forecast is not None and forecast.placements.onward is not None)
        between: dict[str, float] = {}
        second = _second_hop(reply) if relayed else TierTimes(0.0, 0.0)
        if relayed:
            between = {"relay": cloud_s, "second_link": second.link_s}
            cloud_s = second.compute_s
        usage = Usage(
            edge_s=edge_s,
            link_s=link_s,
            cloud_s=cloud_s,
            sent_bytes=reply.sent_bytes if reply is not None else 0,
            received_bytes=reply.received_bytes if reply is not None else 0,
            cut=request.cut,
            codec=request.codec,
            observation=decision.observation,
            relay_s=between.get("relay"),
            second_link_s=between.get("second_link"),
            second_sent_bytes=second.sent_bytes,
            second_received_bytes=second.received_bytes,
        )
        relay_fallback = reply.fallback if reply is not None else ""
        return InferenceResult(
            request_id=request.request_id,
            output=(partition or self._partition).assemble(tail.values),
            cut=request.cut,
            codec=request.codec,
            finished_by=_finisher(reply, relayed=relayed),
            fallback=tail.fallback or (f"the relay finished: {relay_fallback}" if relay_fallback else ""),
            edge_s=edge_s,
            link_s=link_s,
            cloud_s=cloud_s,
            latency_s=latency_s,
            cost_usd=self._price.usd(usage),
            sent_bytes=reply.sent_bytes if reply is not None else 0,
            predicted=_predicted_row(decision, Placement(request.cut, request.codec, request.onward)),
            server_s=reply.server_s if reply is not None else 0.0,
            between=between,
            onward=request.onward,
            stand_in=() if reply is None or not reply.stand_in else ("relay", "cloud") if relayed else ("cloud",),
        )


def _second_hop(reply: TailReply | None) -> TierTimes:
    """The hop from a relay to the cloud: all its seconds but those of the cloud's computation count as the link's."""
    if reply is None or not reply.beyond:
        return TierTimes(0.0, 0.0)
    first, last = reply.beyond[0], reply.beyond[-1]
    return TierTimes(reply.beyond_s - last.compute_s, last.compute_s, first.sent_bytes, first.received_bytes)


def _finisher(reply: TailReply | None, *, relayed: bool) -> str:
    if reply is None:
        return "edge"
    return "relay" if relayed and (reply.fallback or not reply.beyond) else "cloud"


def _input_shapes(inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in inputs]


def _predicted_row(decision: Decision, placement: Placement) -> dict[str, Any]:
    if decision.forecast is None:
        return {}
    row = decision.index if placement == decision.placement else decision.forecast.find(placement)
    return {} if row is None else decision.forecast.row(row)
