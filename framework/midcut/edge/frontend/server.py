"""The edge's HTTP endpoint: takes an image or tensors, answers with class, timings and cut."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from midcut import wire
from midcut.edge.frontend.admission import AdmissionLimit
from midcut.edge.frontend.answers import answer_fields, decision_fields, leaves, output_fields, result_fields
from midcut.edge.frontend.inference import TensorAnswerer
from midcut.edge.frontend.planning import add_planning_routes
from midcut.edge.page.routes import EVENTS_PATH, OPEN_PAGE_PATHS, add_page
from midcut.edge.picture_input import PictureInput
from midcut.errors import MalformedError
from midcut.graph.outputs import named_leaves
from midcut.serving import DRAIN, REQUEST_ID, RefusedError, add_inference_routes, json_response, new_app, read_body
from midcut.serving.access import may_read
from midcut.serving.images import PixelBudget
from midcut.types import Placement
from midcut.wire.oip import RAW
from midcut.wire.route import MOST_HOPS
from midcut.wire.workload import off_loop, values_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp import web
    from prometheus_client import CollectorRegistry

    from midcut.config.settings import EdgeServer
    from midcut.edge.assembly import AssembledEdge
    from midcut.edge.engine import EdgeEngine
    from midcut.edge.page.live import LiveRecord
    from midcut.edge.page.parts import PageParts
    from midcut.types import CutTable, InferenceResult, LoadedModel, Tensor


def make_app(
    engine: EdgeEngine,
    model: LoadedModel,
    settings: EdgeServer,
    registry: CollectorRegistry | None = None,
    emit: Callable[[Mapping[str, Any]], None] | None = None,
    parts: PageParts | None = None,
) -> web.Application:
    """Build the edge's application around a started engine.

    Args:
        registry: metrics that `/metrics` shows besides the server's own.
        emit: gets each answer as JSON fields, for the outputs.
        parts: what `/v1/planning` changes, and the page shows unless `settings.page` is false; None has neither.
    """
    admission = AdmissionLimit(settings.max_requests, settings.queue_s)
    live = parts.live if parts is not None and settings.page else None
    routes = _Routes(engine, model, settings, admission, emit, live)
    paths = {} if live is None else {"open_paths": OPEN_PAGE_PATHS, "streams": frozenset({EVENTS_PATH})}
    app = new_app(routes.limit_bytes, settings, registry, browsed=OPEN_PAGE_PATHS | {EVENTS_PATH}, **paths)
    app.router.add_post(wire.INFER_PATH, admission.intake.wrap(routes.infer))
    tensors = TensorAnswerer(engine, routes.limit_bytes, settings.body_timeout_s, admission, model, routes.pixels)
    add_inference_routes(app, tensors, admission.intake.wrap)
    app.router.add_get("/v1/decision", routes.decision)
    app.router.add_get("/v1/calibration", routes.calibration)
    app.router.add_delete("/v1/calibration", routes.forget)
    app.router.add_get(wire.HEALTH_PATH, routes.health)
    if parts is not None:
        changed = add_page(app, engine, model, parts).send_soon if settings.page else None
        add_planning_routes(app, parts.steering, settings.body_timeout_s, changed)
    return app


def app_of(
    edge: AssembledEdge, settings: EdgeServer, emit: Callable[[Mapping[str, Any]], None] | None = None
) -> web.Application:
    """The application of an assembled edge whose engine is started; see `make_app`."""
    return make_app(edge.engine, edge.model, settings, edge.metrics.registry, emit, edge.page)


class _Routes:
    def __init__(
        self,
        engine: EdgeEngine,
        model: LoadedModel,
        settings: EdgeServer,
        admission: AdmissionLimit,
        emit: Callable[[Mapping[str, Any]], None] | None,
        live: LiveRecord | None,
    ) -> None:
        self._emit, self._live = emit, live
        self._engine = engine
        self._admission = admission
        self._model = model
        self._settings = settings
        self.pixels = PixelBudget(settings.max_pixels, settings.body_timeout_s)
        table = engine.partition.table
        self.limit_bytes = max(
            int(settings.max_body_mb * 1_000_000), int(wire.body_limit([table]) * table.largest_growth)
        )

    async def infer(self, request: web.Request) -> web.Response:
        kind = request.content_type
        if not kind.startswith("image/") and kind != wire.JSON_TYPE:
            raise RefusedError(415, f"Content-Type must be image/... or {wire.JSON_TYPE}, got {kind!r}")
        placement = _requested_placement(request)
        names = _requested_outputs(request, self._engine.partition.table)
        at_s = time.time()
        body = await read_body(request, self.limit_bytes, self._settings.body_timeout_s)
        with self._admission.place():
            inputs: list[Tensor] | PictureInput
            if kind == wire.JSON_TYPE:
                inputs = await off_loop(len(body), _read_tensors, body)
            else:
                inputs = await PictureInput.open(self._model, body, self.pixels)
            result = await self._engine.infer(inputs, request[REQUEST_ID], placement=placement)
        if self._emit is not None:
            answer = await asyncio.to_thread(answer_fields, self._model, result.output)
            self._emit(output_fields(self._model.name, answer, result, request.remote or "http", at_s))
        output_bytes = values_bytes(leaves(result.output))
        image = None if kind == wire.JSON_TYPE else body
        return json_response(
            await off_loop(output_bytes, self._answer, result, image, "values" in request.query, names)
        )

    def _answer(self, result: InferenceResult, image: bytes | None, with_values: bool, names: Sequence[str]) -> bytes:
        numbers = result_fields(result)
        timings = {name: numbers.pop(name) for name in (*(f"{part}_s" for part in result.parts), "latency_s")}
        fields = answer_fields(self._model, result.output)
        if self._live is not None:
            self._live.answered(image, fields, result)
        answer: dict[str, Any] = {**fields, **numbers, "timings": timings}
        if with_values:
            answer["values"] = wire.encode_values(leaves(result.output))
        if names:
            outputs = named_leaves(result.output)
            chosen = [outputs[name] for name in names if name in outputs]
            answer["outputs"] = dict(zip(names, wire.encode_values(chosen), strict=False))
        return msgspec.json.encode(answer)

    async def decision(self, _: web.Request) -> web.Response:
        return json_response(msgspec.json.encode(decision_fields(self._engine.decision, table=True)))

    async def calibration(self, _: web.Request) -> web.Response:
        calibration = self._engine.calibration
        return json_response(
            msgspec.json.encode({"enabled": calibration is not None, **(calibration.state() if calibration else {})})
        )

    async def forget(self, request: web.Request) -> web.Response:
        if self._engine.calibration is not None:
            self._engine.calibration.forget()
        return await self.calibration(request)

    async def health(self, request: web.Request) -> web.Response:
        leaving = not request.app[DRAIN].ready
        body: dict[str, Any] = {"status": "draining" if leaving else "ok"}
        if may_read(request):
            body |= {"model": self._model.name, "cut": self._engine.decision.placement.cut}
        return json_response(msgspec.json.encode(body), 503 if leaving else 200)


def _requested_placement(request: web.Request) -> Placement | None:
    """The placement in `?cut=K&codec=NAME`, for comparing it with the one in use; None if not given."""
    cut = request.query.get("cut")
    if cut is None:
        return None
    cuts = cut.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 7 for part in cuts):
        raise MalformedError(f"cut must be a number from 0, or two like 3,9 before a relay, got {cut[:80]!r}")
    codecs = request.query.get("codec", RAW).split(",")
    if len(cuts) > MOST_HOPS or len(codecs) not in (1, len(cuts)):
        raise MalformedError(f"cut and codec must be one for each hop, got cut={cut[:80]!r} and {len(codecs)} codecs")
    placement = None
    for part, codec in reversed(list(zip(cuts, codecs * (len(cuts) // len(codecs)), strict=True))):
        placement = Placement(int(part), codec, placement)
    return placement


def _requested_outputs(request: web.Request, table: CutTable) -> list[str]:
    """The outputs in `?outputs=logits,boxes`, whose values are added to the answer; `?outputs` adds all."""
    text = request.query.get("outputs")
    if text is None:
        return []
    names = [name for name in text.split(",") if name] or list(table.output_specs)
    for name in names:
        if name not in table.output_specs:
            there = ", ".join(table.output_specs)
            raise MalformedError(f"model {table.model!r} has no output {name[:80]!r}; it has: {there}")
    return names


def _read_tensors(body: bytes) -> list[Tensor]:
    values = wire.decode_values(wire.read_values(body).values)
    tensors = [value for value in values if not isinstance(value, int)]
    if len(tensors) != len(values):
        raise MalformedError("a model's inputs are tensors, got a plain int")
    return tensors
