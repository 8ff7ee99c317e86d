"""Routes of the Open Inference Protocol v2, which both servers offer; each server computes inferences its own way."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time
from msgspec.structs import replace

from midcut import wire
from midcut.errors import UnknownModelError
from midcut.serving.error_responses import RECEIVED, json_response
from midcut.serving.lifecycle import DRAIN
from midcut.types import CutTable
from midcut.wire import oip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aiohttp.abc import AbstractStreamWriter

    from midcut.serving.error_responses import Handler
    from midcut.types import ShapeRange, ValueSpec
    from midcut.wire.oip import Message

# Replies up to this size are joined: one more packet costs more than the copy.
_JOINED_BYTES: Final = 64 * 1024


class ModelRef(msgspec.Struct, frozen=True):
    """The model that a name in a path refers to.

    Attributes:
        cut: 13 for an alias like `alexnet@13`; None for the name alone, which is the whole model.
        batch: whether a request may have a larger batch than the model was captured with.
        version: the fingerprint in the path; None where it has none.
        versions: the fingerprints of all versions under that name, the newest one last; empty if it is the only one.
    """

    table: CutTable
    cut: int | None
    batch: bool = False
    version: str | None = None
    versions: tuple[str, ...] = ()


class InferenceServer(Protocol):
    """What a server provides to the routes: its models, and the answers to requests."""

    def resolve(self, name: str, version: str | None = None) -> ModelRef:
        """Find the model for a name, and perhaps a fingerprint, in a path. Raises UnknownModelError."""
        ...

    async def infer_oip(self, request: web.Request, model_ref: ModelRef) -> web.StreamResponse:
        """Answer POST .../infer. Raises WireError."""
        ...


def add_inference_routes(
    app: web.Application, server: InferenceServer, wrap: Callable[[Handler], Handler] = lambda handler: handler
) -> None:
    """Add everything under /v2 to an application made by `new_app`.

    Args:
        wrap: applied to the handler of inferences.
    """
    routes = _Routes(server)
    app.router.add_get(oip.SERVER_PATH, _get_server)
    app.router.add_get(oip.LIVE_PATH, _get_live)
    app.router.add_get(oip.READY_PATH, _get_ready)
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        app.router.add_post(f"{model}/infer", wrap(routes.infer))  # first, as it is requested most often
        app.router.add_get(model, routes.metadata)
        app.router.add_get(f"{model}/ready", routes.model_ready)


def message_response(message: Message) -> web.StreamResponse:
    """The response with a message as its body; a large body is written piece by piece."""
    return _MessageResponse(message) if message.binary else json_response(message.header)


class _MessageResponse(web.StreamResponse):
    """A 200 whose HTTP header is one formatted string: `web.Response` takes 20 us more, of 500 us for a 4 kB reply.

    aiohttp sends no signals for it (`on_response_prepare`).
    """

    def __init__(self, message: Message) -> None:
        super().__init__()
        self._message = message
        self._body_length = self._size_bytes = message.size_bytes

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self._eof_sent:
            return None
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        message, writer = self._message, request.writer
        more = _connection_header(request, keep_alive=self._keep_alive)
        if (received := request.get(RECEIVED)) is not None:
            more += f"{oip.RECEIVED_HEADER}: {received}\r\n"
        http_header = wire.reply_head(self._size_bytes, len(message.header), rfc822_formatted_time(), more).encode()
        if self._size_bytes <= _JOINED_BYTES:
            await writer.write_eof(b"".join((http_header, message.header, *message.pieces)))
        else:
            await writer.write(http_header + message.header)
            for piece in message.pieces:
                await writer.write(piece)
            await writer.write_eof()
        self._eof_sent = True
        return None


def _connection_header(request: web.BaseRequest, *, keep_alive: bool) -> str:
    """The header `Connection`, empty where the default of the client's HTTP version applies."""
    if keep_alive:
        return "" if request.version >= HttpVersion11 else "Connection: keep-alive\r\n"
    return "Connection: close\r\n"


class _Routes:
    def __init__(self, server: InferenceServer) -> None:
        self._inference_server = server

    async def metadata(self, request: web.Request) -> web.Response:
        model_ref = self._resolve(request)
        table = model_ref.table
        inputs = table.cuts[model_ref.cut or 0].values
        outputs = [replace(spec, name=name) for name, spec in table.output_specs.items()]
        body = {
            "name": request.match_info["model"],
            "versions": model_ref.versions or [table.fingerprint],
            "platform": oip.PLATFORM,
            "inputs": _metadata(inputs, () if model_ref.cut else table.ranges, model_ref),
            "outputs": _metadata(outputs, table.output_ranges, model_ref),
        }
        return json_response(msgspec.json.encode(body))

    async def model_ready(self, request: web.Request) -> web.Response:
        self._resolve(request)
        return json_response(msgspec.json.encode({"name": request.match_info["model"], "ready": True}))

    async def infer(self, request: web.Request) -> web.StreamResponse:
        return await self._inference_server.infer_oip(request, self._resolve(request))

    def _resolve(self, request: web.Request) -> ModelRef:
        return self._inference_server.resolve(request.match_info["model"], request.match_info.get("version"))


def unknown_version(version: str, name: str, fingerprints: Iterable[str]) -> UnknownModelError:
    """The error for a version that a server does not hold."""
    there = ", ".join(fingerprints)
    return UnknownModelError(f"no version {version[:200]!r} of model {name[:200]!r} here; there is {there}")


async def _get_server(_: web.Request) -> web.Response:
    body = {"name": "midcut", "version": metadata.version("midcut"), "extensions": oip.EXTENSIONS}
    return json_response(msgspec.json.encode(body))


async def _get_live(_: web.Request) -> web.Response:
    return json_response(b'{"live":true}')


async def _get_ready(request: web.Request) -> web.Response:
    ready = request.app[DRAIN].ready
    return json_response(msgspec.json.encode({"ready": ready}), 200 if ready else 503)


def _metadata(specs: Sequence[ValueSpec], ranges: Sequence[ShapeRange], model_ref: ModelRef) -> list[dict[str, Any]]:
    """Names, datatypes and shapes, with -1 for a size that is not fixed."""
    made = [_tensor_metadata(spec, batch=model_ref.batch) for spec in specs]
    for entry, range_ in zip(made, ranges, strict=False):
        ends = zip(range_.smallest, range_.largest, strict=False)
        entry["shape"][1:] = [low if low == high else -1 for low, high in ends]
    return made


def _tensor_metadata(spec: ValueSpec, *, batch: bool) -> dict[str, Any]:
    if not spec.is_tensor:
        return {"name": spec.name, "datatype": "INT64", "shape": [1]}
    shape = [-1, *spec.shape[1:]] if batch and spec.shape else list(spec.shape)
    return {"name": spec.name, "datatype": oip.DATATYPES[spec.dtype], "shape": shape}
