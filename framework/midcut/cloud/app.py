"""The routes of the cloud as an application, which tests and other servers can mount."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from midcut import wire
from midcut.cloud.profiles import OwnProfiles
from midcut.cloud.relay import RelayedTail, read_stop
from midcut.cloud.repository_routes import add_repository_routes
from midcut.cloud.tails import TailQueue
from midcut.cloud.worker import TailResult
from midcut.serving import (
    ARRIVED_AT_S,
    DRAIN,
    REGISTRY,
    add_inference_routes,
    bind_request_id,
    discard_body,
    json_response,
    message_response,
    new_app,
    read_body,
    read_chunks,
)
from midcut.serving.access import may_read
from midcut.serving.body_budget import UPLOAD
from midcut.serving.images import PixelBudget
from midcut.serving.metrics import CloudMetrics
from midcut.wire import oip, oip_read, version, workload
from midcut.wire.oip_tensors import encode_reply
from midcut.wire.route import times_text
from midcut.wire.workload import off_loop, values_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from midcut.cloud.hosted import HostedModels
    from midcut.cloud.relay import Relay
    from midcut.cloud.repository import Repository
    from midcut.config.settings import CloudSettings, PriceSettings, ServerSettings
    from midcut.graph import Partition
    from midcut.graph.segments import Segments
    from midcut.serving import ModelRef
    from midcut.serving.threads import Threads
    from midcut.types import CutTable, Placement

_log = structlog.get_logger("midcut.cloud")
PROBE_LIMIT_BYTES: Final = 64 * 1024 * 1024
_LONGEST_REASON: Final = 300


def make_app(
    hosted: HostedModels,
    segments: Segments,
    pool: Threads,
    server: ServerSettings,
    cloud: CloudSettings,
    make_relay: Callable[[TailQueue], Relay] | None = None,
    price: PriceSettings | None = None,
    repository: Repository | None = None,
) -> web.Application:
    """Build the cloud's application.

    Args:
        hosted: the models that the cloud serves.
        segments: runs nodes of a model from one cut to another, and measures the time.
        pool: threads that compute tails; `cloud.workers` of them.
        server: its `body_timeout_s` limits the time of every body.
        cloud: settings of the queue and of batching.
        make_relay: makes what passes requests on to an upstream; None for a cloud that is no relay.
        price: what a busy second costs; None asks for nothing.
        repository: loads and unloads further versions of models; None for a cloud that holds what it has.
    """
    app = new_app(hosted.body_limit_bytes, server)
    metrics = CloudMetrics(app[REGISTRY])
    tail_queue = TailQueue(segments, pool, cloud, metrics, hosted.batchers, price)
    relay = None if make_relay is None else make_relay(tail_queue)
    if relay is not None:
        app.cleanup_ctx.append(relay.context)
    pixels = PixelBudget(cloud.max_pixels, server.body_timeout_s)
    routes = _Routes(hosted, tail_queue, metrics, server.body_timeout_s, pixels, pool, relay)
    app.router.add_post(wire.INFER_PATH, tail_queue.in_flight.wrap(routes.infer_paper))
    add_inference_routes(app, routes, tail_queue.in_flight.wrap)
    app.router.add_get(wire.MODELS_PATH, routes.models)
    app.router.add_get(wire.PROFILE_PATH, OwnProfiles(hosted, segments, pool, cloud, relay).answer)
    app.router.add_get(wire.CONDITIONS_PATH, routes.conditions)
    app.router.add_post(wire.PROBE_PATH, routes.probe)
    app.router.add_get(wire.HEALTH_PATH, routes.health)
    add_repository_routes(app, repository)
    return app


class _Timestamps(msgspec.Struct, frozen=True):
    """Points of time of one inference, seconds by `perf_counter`."""

    started: float
    received: float
    parsed: float
    computed: float
    encoded: float


class _Routes:
    def __init__(
        self,
        hosted: HostedModels,
        tails: TailQueue,
        metrics: CloudMetrics,
        body_timeout_s: float,
        pixels: PixelBudget,
        pool: Threads,
        relay: Relay | None = None,
    ) -> None:
        self._pixels, self._pool = pixels, pool
        self._misfits: set[str] = set()
        self._asked_unnamed = False
        self._hosted = hosted
        self._tails = tails
        self._metrics = metrics
        self._body_timeout_s = body_timeout_s
        self._relay = relay

    async def infer_paper(self, request: web.Request) -> web.Response:
        started = perf_counter()
        body = await read_body(request, self._hosted.body_limit_bytes, self._body_timeout_s)
        received = perf_counter()
        with self._tails.place():
            # A size that was never asked for is verified first, which takes some runs of the model.
            cost = sys.maxsize if self._hosted.has_sizes else len(body)
            message, partition, values = await off_loop(cost, self._hosted.read_paper_request, body)
            bind_request_id(request, message.request_id)
            parsed = perf_counter()
            with self._hosted.version_of(partition):
                result = await self._tails.compute(partition, message.cut, values)
        computed = perf_counter()
        reply = await off_loop(
            values_bytes(result.values),
            wire.encode_reply,
            message.request_id,
            result.values,
            result.compute_s,
            received,
        )
        self._record(
            message.model, wire.PAPER, result, _Timestamps(started, received, parsed, computed, perf_counter())
        )
        response = json_response(reply)
        response.headers[oip.CHECKSUM_HEADER] = oip.checksum([reply])  # the paper's message has no place for one
        return response

    def resolve(self, name: str, version: str | None = None) -> ModelRef:
        return self._hosted.resolve_path(name, version)

    async def infer_oip(self, request: web.Request, model_ref: ModelRef) -> web.StreamResponse:
        started = perf_counter()
        body = await read_chunks(request, self._hosted.body_limit_bytes, self._body_timeout_s)
        received = perf_counter()
        with self._tails.place():
            header_length = request.headers.get(oip.HEADER_LENGTH)
            parse_cost = workload.parse_cost(body, header_length)
            call = await off_loop(parse_cost, oip_read.read_infer, body, header_length)
            files = self._hosted.picture_files(model_ref, call)
            if files is not None:
                decoded = await self._hosted.read_pictures(model_ref, call, files, self._pixels)
            else:
                make_size = self._hosted.size_to_make(model_ref, call)
                if make_size is not None:
                    await self._pool.run(make_size)
                decode_cost = workload.decode_cost(call, workload.read_cost(body, parse_cost))
                decoded = await off_loop(decode_cost, self._hosted.read_request, model_ref, call)
            partition, cut, values = decoded
            if call.id:
                bind_request_id(request, call.id)
            parsed = perf_counter()
            # Not by the event loop's clock: uvloop updates it once an iteration, in milliseconds.
            left_s = None if call.timeout_s is None else call.timeout_s - (parsed - request[ARRIVED_AT_S])
            stop = read_stop(call, cut, partition, self._relay)
            with self._hosted.version_of(partition):
                if stop is None:
                    result = await self._tails.compute(partition, cut, values, left_s)
                    relayed = RelayedTail(result.values)
                else:
                    result, relayed = await self._compute_and_pass_on(partition, call, cut, stop, values, left_s)
        computed = perf_counter()
        parameters = oip.ReplyParameters(
            parse_us=int((parsed - received) * 1e6),
            queue_us=int(result.queue_s * 1e6),
            compute_us=int((result.compute_s + relayed.fallback_compute_s) * 1e6),
            server_us=int((computed - received) * 1e6),
        )
        arrival = request[UPLOAD].arrival
        if arrival is not None:
            parameters.arrival_bytes, parameters.arrival_us = arrival.size_bytes, int(arrival.seconds * 1e6)
        if relayed.beyond:
            parameters.route_us = times_text(relayed.beyond)
        if result.stand_in or relayed.stand_in:
            parameters.stand_in = True
        if relayed.fallback:
            parameters.fallback = relayed.fallback[:_LONGEST_REASON]
        outputs = _named_outputs(partition.table, call, relayed.values)
        message = await off_loop(
            workload.encode_cost(call, relayed.values),
            encode_reply,
            call,
            partition.table,
            outputs,
            parameters,
            self._hosted.reply_codec(call),
        )
        self._record(
            partition.table.model, call.codec, result, _Timestamps(started, received, parsed, computed, perf_counter())
        )
        return message_response(message)

    async def _compute_and_pass_on(
        self,
        partition: Partition,
        call: oip_read.InferCall,
        cut: int,
        stop: Placement,
        values: Sequence[Any],
        left_s: float | None,
    ) -> tuple[TailResult, RelayedTail]:
        """Compute what is this relay's, and have the rest computed upstream."""
        assert self._relay is not None, "a request with a route is refused where there is none"  # noqa: S101 - a type
        began = perf_counter()
        if stop.cut == cut:
            result = TailResult(values, 0.0, 0.0, 1)
        else:
            result = await self._tails.compute(partition, cut, values, left_s, stop.cut)
        left_s = None if left_s is None else left_s - (perf_counter() - began)
        return result, await self._relay.finish(partition, call, stop, result.values, left_s)

    def _record(self, model: str, codec: str, result: TailResult, times: _Timestamps) -> None:
        read_s, parse_s = times.received - times.started, times.parsed - times.received
        encode_s = times.encoded - times.computed
        self._metrics.inferred(model, codec, (read_s, parse_s, result.queue_s, result.compute_s, encode_s))

    async def models(self, request: web.Request) -> web.Response:
        stated = request.headers.get(version.VERSION_HEADER)
        if stated is None and not self._asked_unnamed:
            self._asked_unnamed = True
            _log.info(
                "a client without a wire version asked for the models; if it is an edge, it speaks wire 1, which is "
                "still supported, and if its models differ from these, it says so itself and computes alone",
                peer=request.remote,
                here=version.software(),
            )
        why = version.misfit(stated)
        if why and why not in self._misfits:  # at most as many as there are versions below the oldest one
            self._misfits.add(why)
            _log.warning(why, peer=request.remote)
        listed = [self._with_tiers(model) for model in self._hosted.listing()]
        response = json_response(msgspec.json.encode({"models": listed, "wire": (version.OLDEST, version.VERSION)}))
        response.headers[oip.CHECKSUM_HEADER] = oip.CHECKSUM
        return response

    def _with_tiers(self, listed: dict[str, Any]) -> dict[str, Any]:
        """A model's entry with the tiers behind this one."""
        relay, name = self._relay, listed["name"]
        if relay is None:
            return {**listed, "tiers": [self._hosted.own_id]}
        return {**listed, "tiers": [self._hosted.own_id, *relay.upstream_ids(name)], "upstream": relay.upstream(name)}

    async def conditions(self, _: web.Request) -> web.Response:
        """Fields of observations that only this side knows. Of a relay, load and price are those of its upstream."""
        known = self._tails.load if self._relay is None else self._relay
        return json_response(msgspec.json.encode(known.conditions()))

    async def probe(self, request: web.Request) -> web.Response:
        """Read a body and drop it: a client that times the upload measures the link."""
        received = await discard_body(request, PROBE_LIMIT_BYTES, self._body_timeout_s)
        answer, arrival = {"received_bytes": received}, request[UPLOAD].arrival
        if arrival is not None:
            answer |= {"arrival_bytes": arrival.size_bytes, "arrival_us": int(arrival.seconds * 1e6)}
        return json_response(msgspec.json.encode(answer))

    async def health(self, request: web.Request) -> web.Response:
        draining = not request.app[DRAIN].ready
        body: dict[str, Any] = {"status": "draining" if draining else "ok"}
        if may_read(request):
            body["models"] = self._hosted.names
        return json_response(msgspec.json.encode(body), 503 if draining else 200)


def _named_outputs(table: CutTable, call: oip_read.InferCall, values: Sequence[Any]) -> dict[str, Any]:
    """The values by the model's names. An edge gets a value that is several outputs only once, as a table of cuts does.

    A request may also ask for outputs by the names of their nodes, which earlier versions used.
    """
    if call.outputs is None and call.fingerprint is not None:
        return dict(zip(table.reply_names, values, strict=True))
    named = {output.name: values[output.value] for output in table.outputs}
    if call.outputs is None:
        return named
    by_node = {spec.name: value for spec, value in zip(table.cuts[-1].values, values, strict=True)}
    return by_node | named
