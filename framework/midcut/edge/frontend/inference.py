"""The edge's Open Inference Protocol endpoint: tensors in and out, for the whole model; the edge picks the cut."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from midcut.edge.frontend.answers import leaves
from midcut.edge.picture_input import PictureInput
from midcut.errors import FingerprintError, MalformedError, UnknownModelError
from midcut.graph.outputs import named_leaves
from midcut.serving import (
    ARRIVED_AT_S,
    REQUEST_ID,
    ModelRef,
    bind_request_id,
    message_response,
    read_chunks,
    unknown_version,
)
from midcut.serving.images import decode_batch
from midcut.wire import oip, oip_read, workload
from midcut.wire.oip_tensors import encode_reply, picture_files, request_values
from midcut.wire.workload import off_loop

if TYPE_CHECKING:
    from aiohttp import web

    from midcut.edge.engine import EdgeEngine
    from midcut.edge.frontend.admission import AdmissionLimit
    from midcut.serving.images import PixelBudget
    from midcut.types import InferenceResult, LoadedModel
    from midcut.wire.body import Body


class TensorAnswerer:
    """Answers `POST /v2/models/{model}/infer` with an engine.

    Args:
        limit_bytes: largest body; it also limits the batch size.
        body_timeout_s: seconds in which a body must arrive completely.
        admission: limits how many complete requests run at once.
        model: preprocesses pictures that come in place of tensors.
        pixels: limits how many of their pixels are decoded at once.
    """

    def __init__(
        self,
        engine: EdgeEngine,
        limit_bytes: int,
        body_timeout_s: float,
        admission: AdmissionLimit,
        model: LoadedModel,
        pixels: PixelBudget,
    ) -> None:
        self._engine = engine
        self._model, self._pixels = model, pixels
        self._where = f"model {engine.partition.table.model!r}"
        self._admission = admission
        self._table = engine.partition.table
        self._limit_bytes = limit_bytes
        self._body_timeout_s = body_timeout_s
        largest = max((spec.payload_bytes for spec in self._table.cuts[0].values), default=1)
        self._max_batch = max(limit_bytes // max(largest, 1), 1)

    def resolve(self, name: str, version: str | None = None) -> ModelRef:
        if name != self._table.model:
            raise UnknownModelError(f"no model {name[:200]!r} here; there is {self._table.model}")
        if version not in (None, self._table.fingerprint):
            raise unknown_version(str(version), name, [self._table.fingerprint])
        return ModelRef(self._table, None, batch=True)

    async def infer_oip(self, request: web.Request, _: ModelRef) -> web.StreamResponse:
        body = await read_chunks(request, self._limit_bytes, self._body_timeout_s)
        complete = perf_counter()
        header_length = request.headers.get(oip.HEADER_LENGTH)
        with self._admission.place():
            parse_cost = workload.parse_cost(body, header_length)
            call = await off_loop(parse_cost, self._read, body, header_length)
            inputs = await self._pictures(call)
            if inputs is None:
                inputs = await off_loop(workload.read_cost(body, parse_cost), self._tensors, call)
            if call.id:
                bind_request_id(request, call.id)
            parsed = perf_counter()
            left_s = None if call.timeout_s is None else max(call.timeout_s - (parsed - request[ARRIVED_AT_S]), 0.0)
            result = await self._engine.infer(inputs, request[REQUEST_ID], left_s)
        parse_us, server_us = int((parsed - complete) * 1e6), int((perf_counter() - complete) * 1e6)
        encode_cost = workload.encode_cost(call, leaves(result.output))
        return message_response(await off_loop(encode_cost, self._reply, call, result, parse_us, server_us))

    def _read(self, body: Body, header_length: str | None) -> oip_read.InferCall:
        call = oip_read.read_infer(body, header_length)
        if call.cut:
            raise MalformedError(f"the edge picks the cut itself: send no parameter cut, or 0, not {call.cut}")
        if call.fingerprint not in (None, self._table.fingerprint):
            raise FingerprintError(
                f"model {self._table.model!r} is {self._table.fingerprint} here, not {call.fingerprint[:80]!r}"
            )
        return call

    async def _pictures(self, call: oip_read.InferCall) -> Any:
        """The picture, or the tensor of a batch of them, that came as files; None if the inputs are tensors."""
        files = picture_files(call, self._table.cuts[0].values, self._max_batch, self._where)
        if files is None:
            return None
        if len(files) == 1:
            return await PictureInput.open(self._model, files[0], self._pixels)
        return [await decode_batch(self._model, files, self._pixels)]

    def _tensors(self, call: oip_read.InferCall) -> list[Any]:
        return request_values(call, self._table.cuts[0].values, {}, self._max_batch, self._where)

    def _reply(self, call: oip_read.InferCall, result: InferenceResult, parse_us: int, server_us: int) -> oip.Message:
        outputs = named_leaves(result.output)
        if call.outputs is not None:  # names of nodes are understood, too, as the cloud does
            specs = self._table.cuts[-1].values
            outputs |= {specs[o.value].name: outputs[o.name] for o in self._table.outputs if o.name in outputs}
        parameters = oip.ReplyParameters(
            parse_us=parse_us,
            compute_us=int((result.edge_s + result.between.get("relay", 0.0) + result.cloud_s) * 1e6),
            server_us=server_us,
            cut=result.cut,
            finished_by=result.finished_by,
        )
        return encode_reply(call, self._table, outputs, parameters)
