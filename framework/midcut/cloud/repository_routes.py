"""The model repository extension of the Open Inference Protocol: index, load and unload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from midcut.errors import MalformedError, UnknownModelError
from midcut.serving import json_response, read_body
from midcut.wire.body import parse
from midcut.wire.oip import REPOSITORY_PATH

if TYPE_CHECKING:
    from aiohttp import web

    from midcut.cloud.repository import Repository

_LIMIT_BYTES = 64 * 1024
_TIMEOUT_S = 30.0
_WEIGHTS = "weights"


class _IndexRequest(msgspec.Struct, frozen=True):
    """Body of an index request. `ready`: list only versions that are loaded."""

    ready: bool = False


class _LoadRequest(msgspec.Struct, frozen=True):
    """Body of a load or unload request.

    `parameters` has `weights`, or `config` with a JSON object that has it, as Triton's clients send.

    Attributes:
        parameters: for unload also `version`.
    """

    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


_INDEX_DECODER = msgspec.json.Decoder(_IndexRequest)
_LOAD_DECODER = msgspec.json.Decoder(_LoadRequest)
_CONFIG_DECODER = msgspec.json.Decoder(dict[str, Any])
_ERROR_PREFIX = "the body is not a request of the model repository extension"


def add_repository_routes(app: web.Application, repository: Repository | None) -> None:
    """Add the routes; without a repository they say that there is none."""
    routes = _Routes(repository)
    app.router.add_post(f"{REPOSITORY_PATH}/index", routes.index)
    app.router.add_post(f"{REPOSITORY_PATH}/models/{{model}}/load", routes.load)
    app.router.add_post(f"{REPOSITORY_PATH}/models/{{model}}/unload", routes.unload)
    if repository is not None:
        app.on_shutdown.append(lambda _: repository.close())


class _Routes:
    def __init__(self, repository: Repository | None) -> None:
        self._given = repository

    @property
    def _repository(self) -> Repository:
        if self._given is None:
            raise UnknownModelError("this cloud has no repository of models: start it with repository.folder=FOLDER")
        return self._given

    async def index(self, request: web.Request) -> web.Response:
        repository = self._repository
        body = await _read(request)
        wanted = parse(_INDEX_DECODER, body, _ERROR_PREFIX) if body else _IndexRequest()
        return json_response(msgspec.json.encode(repository.index(ready=wanted.ready)))

    async def load(self, request: web.Request) -> web.Response:
        repository, parameters = self._repository, await _parameters(request)
        files = [key for key in parameters if key.startswith("file:")]
        if files:
            raise MalformedError(
                f"files cannot be sent in a request (got {files[0][:80]!r}): copy them into repository.folder"
            )
        await repository.load(request.match_info["model"], _text(parameters, _WEIGHTS))
        return json_response(b"{}")

    async def unload(self, request: web.Request) -> web.Response:
        repository, parameters = self._repository, await _parameters(request)
        version = request.query.get("version") or _text(parameters, "version") or _text(parameters, _WEIGHTS)
        await repository.unload(request.match_info["model"], version)
        return json_response(b"{}")


async def _read(request: web.Request) -> bytes:
    return await read_body(request, _LIMIT_BYTES, _TIMEOUT_S)


async def _parameters(request: web.Request) -> dict[str, Any]:
    """The parameters of a request, and in them those of `config`."""
    body = await _read(request)
    parameters = parse(_LOAD_DECODER, body, _ERROR_PREFIX).parameters if body else {}
    config = _text(parameters, "config")
    return parameters | (
        parse(_CONFIG_DECODER, config.encode(), "parameter config is no JSON object") if config else {}
    )


def _text(parameters: dict[str, Any], name: str) -> str | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedError(f"parameter {name} must be text, got {value!r:.80}")
    return value
