"""A relay is a cloud that computes up to the request's second cut and passes the rest to its upstream.

If that fails, it finishes the request itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from midcut.chains import accepts
from midcut.edge.clouds.capabilities import held_model, usable_cuts
from midcut.edge.tails import Tails
from midcut.edge.tasks import cancel_task
from midcut.errors import CloudError, LoopError, MalformedError
from midcut.planning.tiers import OF_THE_CLOUD, SECOND
from midcut.types import TailRequest, TierTimes, UpstreamModel
from midcut.wire.route import MOST_HOPS, read_route
from midcut.wire.sizes import reply_limit_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    import torch
    from aiohttp import web

    from midcut.cloud.hosted import HostedModels
    from midcut.cloud.tails import TailQueue
    from midcut.edge.clouds.failover import Clouds
    from midcut.edge.telemetry.hub import TelemetryHub
    from midcut.graph import Partition
    from midcut.graph.segments import Segments
    from midcut.types import HeldModel, Placement
    from midcut.wire.oip_read import InferCall

    Values = Sequence[torch.Tensor | int]

_log = structlog.get_logger("midcut.cloud")
_ASK_AGAIN_S: Final = 5.0
_ASK_EVERY_S: Final = 30.0
_LISTING_TIMEOUT_S: Final = 3.0


class RelayedTail(msgspec.Struct, frozen=True):
    """What a relay's reply says of the rest of a request.

    Attributes:
        values: the model's output values.
        fallback_compute_s: seconds of computation here, if this relay had to finish the tail.
        beyond: the further hops that were used.
        fallback: why a relay finished the tail itself; `""` if none did.
        stand_in: as of `TailReply`, of any further hop.
    """

    values: Values
    fallback_compute_s: float = 0.0
    beyond: tuple[TierTimes, ...] = ()
    fallback: str = ""
    stand_in: bool = False


class Relay:
    """Passes requests on to an upstream, and keeps nothing of them: each says at which cuts this and later tiers stop.

    Args:
        hosted: the models of this cloud.
        queue: finishes a request here where the upstream does not.
        segments: for the seconds that a whole model takes here.
        clouds: the upstream, or several in order of preference, each with a breaker.
        hub: telemetry of the link to the upstream.
        codecs: names of the codecs that may be used on that link.
    """

    def __init__(
        self,
        hosted: HostedModels,
        queue: TailQueue,
        segments: Segments,
        clouds: Clouds,
        hub: TelemetryHub,
        codecs: Sequence[str],
    ) -> None:
        self._hosted, self._clouds, self._hub, self._codecs = hosted, clouds, hub, tuple(codecs)
        self._ask_requested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop_reason = ""
        self._models: dict[str, UpstreamModel] = {}
        self._upstream_ids: dict[str, tuple[str, ...]] = {}
        self._unreached_reason = "it was not asked for its models yet"
        self._tails = {
            name: Tails(partition, clouds, hub, _QueueCompute(partition, queue, segments), self._ask_requested.set)
            for name, partition in hosted.partitions.items()
        }

    async def context(self, _: web.Application) -> AsyncIterator[None]:
        """Be open as long as the application, for its `cleanup_ctx`."""
        await self._clouds.open()
        self._clouds.on_recovery.append(self._ask_requested.set)
        for tails in self._tails.values():
            await tails.warm_up()
        self._hub.start()
        self._task = asyncio.create_task(self._watch(), name="upstream")
        yield
        await cancel_task(self._task)
        for tails in self._tails.values():
            await tails.close()
        await asyncio.to_thread(self._hub.close)
        await self._clouds.close()

    def upstream(self, model: str) -> UpstreamModel:
        """What the upstream takes of a model now, for the list of models."""
        held = self._models.get(model)
        why = self._loop_reason or self._clouds.blocked_reason() or ("" if held is not None else self._unreached_reason)
        return UpstreamModel((), self._codecs, why) if why or held is None else held

    def upstream_ids(self, model: str) -> tuple[str, ...]:
        """Ids of the upstream processes, from the nearest to the last one."""
        return self._upstream_ids.get(model, ())

    def conditions(self) -> dict[str, float]:
        """What devices cannot observe: the second hop's bandwidth and ping, the cloud's load and price, where known."""
        observed = self._hub.observe()
        values = {second: observed.value(name) for name, second in SECOND.items()}
        values |= {name: observed.value(name) for name in OF_THE_CLOUD}
        return {name: value for name, value in values.items() if value is not None}

    async def profile(self, model: str) -> bytes:
        """The upstream's own profile of a model.

        Raises:
            CloudError: the upstream sends no profile.
        """
        return await self._clouds.profile(model)

    async def finish(
        self, partition: Partition, call: InferCall, stop: Placement, values: Values, left_s: float | None
    ) -> RelayedTail:
        """Have the rest of a request computed, from where this relay stops.

        Args:
            stop: the cut, the codec for the way to the upstream, and the hops behind it.
            values: the values at the cut.
            left_s: time until the deadline.
        """
        table = partition.table
        if stop.cut == table.last:
            return RelayedTail(values)
        request = TailRequest(
            table.model,
            stop.cut,
            table.fingerprint,
            values,
            call.id,
            codec=stop.codec,
            names=[spec.name for spec in table.cuts[stop.cut].values],
            reply_limit_bytes=reply_limit_bytes(table, self._hosted.max_batch),
            onward=stop.onward,
            hops=call.hops + 1,
            input_shapes=call.input_shapes,
        )
        deadline_at_s = None if left_s is None else perf_counter() + left_s
        why = self.upstream(table.model).why
        finished = await self._tails[table.model].finish(request, (), deadline_at_s, blocked=why, partition=partition)
        if finished.reply is None:
            wasted = (TierTimes(finished.link_s, 0.0),) if finished.link_s > 0.0 else ()
            return RelayedTail(finished.values, finished.edge_s, wasted, finished.fallback)
        reply = finished.reply
        first = TierTimes(finished.link_s, reply.compute_s, reply.sent_bytes, reply.received_bytes)
        beyond = (first, *reply.beyond)
        return RelayedTail(finished.values, beyond=beyond, fallback=reply.fallback, stand_in=reply.stand_in)

    def check(self, call: InferCall) -> None:
        """Refuse a request that goes round in circles.

        Raises:
            LoopError: the message says how.
        """
        if self._loop_reason:
            raise LoopError(self._loop_reason)
        if call.hops >= MOST_HOPS:
            raise LoopError(f"{call.hops} relays have passed this request on already, at most {MOST_HOPS} are allowed")

    async def _watch(self) -> None:
        while True:
            await self._ask()
            has_problem = self._loop_reason or self._unreached_reason or any(held.why for held in self._models.values())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ASK_AGAIN_S if has_problem else _ASK_EVERY_S):
                    await self._ask_requested.wait()
            self._ask_requested.clear()

    async def _ask(self) -> None:
        """Ask the upstream for its models, and log what has changed."""
        before = (self._loop_reason, self._unreached_reason, self._models)
        try:
            async with asyncio.timeout(_LISTING_TIMEOUT_S):
                listed = await self._clouds.listing()
        except CloudError as error:
            self._unreached_reason = str(error)
        except TimeoutError:
            self._unreached_reason = f"no list of models in {_LISTING_TIMEOUT_S:g} s"
        except Exception as error:  # noqa: BLE001 - a plugin's transport may raise anything
            self._unreached_reason = f"{type(error).__name__}: {error}"
        else:
            self._take(listed)
        if before != (self._loop_reason, self._unreached_reason, self._models):
            whys = {name: held.why for name, held in self._models.items() if held.why}
            reason = self._loop_reason or self._unreached_reason or whys
            if reason:
                _log.warning("requests are finished here, not passed on", reason=reason)
            else:
                _log.info("requests can be passed on", models=list(self._models))

    def _take(self, listed: Mapping[str, HeldModel]) -> None:
        self._unreached_reason = ""
        self._upstream_ids = {name: held.tiers for name, held in listed.items()}
        in_circles = any(self._hosted.own_id in ids for ids in self._upstream_ids.values())
        self._loop_reason = "the upstream_url of this relay leads back to this relay" if in_circles else ""
        self._models = {name: self._usable(partition, listed) for name, partition in self._hosted.partitions.items()}

    def _usable(self, partition: Partition, listed: Mapping[str, HeldModel]) -> UpstreamModel:
        table, held = partition.table, held_model(listed, partition.table)
        cuts, why = usable_cuts(listed, table, partition.legal, partition.probe)
        usable = held is not None and held.fingerprint == table.fingerprint
        legal = tuple(cut for cut in cuts if held is not None and cut in held.legal and cut != table.last)
        codecs = [name for name in self._codecs if held is None or accepts(held, name)]
        return UpstreamModel(legal if usable else (), tuple(codecs), why)


class _QueueCompute:
    """The cloud's queue as what finishes tails here: see `midcut.edge.tails.TailCompute`."""

    def __init__(self, partition: Partition, queue: TailQueue, segments: Segments) -> None:
        self._partition, self._queue, self._segments = partition, queue, segments

    async def run(self, partition: Partition, start: int, stop: int, values: Values) -> tuple[Values, float]:
        result = await self._queue.compute(partition, start, values, stop=stop)
        return result.values, result.compute_s

    def warm_up(self) -> None:
        """Do nothing: the cloud has already warmed up its models."""

    def run_on_zeros(self) -> None:
        last = self._partition.table.last
        self._partition.warm_up(lambda values: self._segments.run(self._partition, 0, last, values))

    async def run_untimed(self, work: Callable[[], Any]) -> None:
        await asyncio.to_thread(work)


def read_stop(call: InferCall, cut: int, partition: Partition, relay: Relay | None) -> Placement | None:
    """Where a request is to be passed on; None where it is to be finished here.

    Raises:
        MalformedError: a route that goes back or that is not on offer, or one for a cloud that is no relay.
        LoopError: the request has passed this relay before, or too many relays.
    """
    if call.route is None:
        return None
    stop = read_route(call.route, cut)
    if relay is None:
        raise MalformedError(
            "this cloud is no relay, it has no upstream_url: send no parameter route, or set upstream_url=http://..."
        )
    relay.check(call)
    for hop in stop.hops:
        if hop.cut != partition.table.last and hop.cut not in partition.legal:
            raise MalformedError(f"cut {hop.cut} in parameter route={call.route!r:.60} is not offered")
    return stop
