"""Refusals of what never becomes a request: broken heads, lengths that contradict. aiohttp alone answers in prose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from midcut import wire
from midcut.serving.refusals import json_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = structlog.get_logger("midcut.serving")
_MOST_CHARACTERS = 200


class JsonRunner(web.AppRunner):
    """An `AppRunner` whose every refusal is a line of JSON, and a line in the log, no traceback."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        made.__class__ = _JsonServer
        made.request_handler = _in_json(made.request_handler)
        return made


class _JsonServer(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _JsonHandler(self, loop=self._loop, **self._kwargs)


class _JsonHandler(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        reason = " ".join((message or "broken request").split())[:_MOST_CHARACTERS]
        _log.info("refused", status=status, reason=reason, peer=request.remote)
        response = json_response(wire.encode_error(reason), status)
        response.force_close()
        return response


def _in_json(handler: Callable[..., Awaitable[web.StreamResponse]]) -> Callable[..., Awaitable[web.StreamResponse]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:  # raised beside the middlewares: an `Expect` that nobody can meet
            return json_response(wire.encode_error(error.text or error.reason), error.status)

    return handle
