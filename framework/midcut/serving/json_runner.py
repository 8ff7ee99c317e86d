"""Answers malformed HTTP, which reaches no handler, as JSON like every other error; aiohttp answers it with HTML."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, cast

import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from midcut import wire
from midcut.serving.body_budget import BODIES
from midcut.serving.error_responses import json_response
from midcut.serving.request_body import AWAITS_CONTINUE
from midcut.serving.slow_readers import SlowReaders
from midcut.wire.tcp import notice_dead_peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = structlog.get_logger("midcut.serving")
_MOST_CHARACTERS = 200
# A client that takes nothing of its answer for this long is hung up on.
_STALLED_S = 20.0


class JsonRunner(web.AppRunner):
    """An `AppRunner` that answers malformed HTTP with one line of JSON and logs one line, without a traceback.

    Args:
        most_connections: beyond so many, the one that has been idle for longest is closed, or the new one.
    """

    def __init__(self, app: web.Application, most_connections: int, **settings: Any) -> None:
        super().__init__(app, **settings)
        self._most_connections = most_connections

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        bodies = self.app.get(BODIES)
        return _JsonServer(
            _errors_as_json(server.request_handler),
            self._most_connections,
            math.inf if bodies is None else bodies.limit_bytes,
            request_factory=_without_expectation(server.request_factory),
            **self._kwargs,
        )


class _JsonServer(web.Server):
    """The only way in aiohttp to handle connections by a class of one's own."""

    def __init__(
        self, handler: Callable[..., Awaitable[web.StreamResponse]], most: int, unsent_bytes: float, **settings: Any
    ) -> None:
        super().__init__(handler, **settings)
        self._most = most
        self.slow_readers = SlowReaders(lambda: self.connections, unsent_bytes)

    def has_room(self) -> bool:
        """Whether one more connection may stay; closes one that is idle where there are too many."""
        connections = self.connections
        if len(connections) <= self._most:
            return True
        for connection in connections[:-1]:  # oldest first
            if connection._current_request is None:  # noqa: SLF001 - aiohttp has no public name for it
                connection.force_close()
                return True
        return False

    def __call__(self) -> web.RequestHandler:
        return _JsonHandler(self, loop=asyncio.get_running_loop(), **self._kwargs)


class _JsonHandler(web.RequestHandler):
    __slots__ = ("_server",)

    def __init__(self, manager: _JsonServer, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._server = manager

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if (sock := transport.get_extra_info("socket")) is not None:
            notice_dead_peer(sock, _STALLED_S)
        self._server.slow_readers.watch()
        if not self._server.has_room():
            cast("asyncio.Transport", transport).abort()

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


def _without_expectation(make_request: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Hide `Expect: 100-continue` from aiohttp, which grants it before it is known whether the request is refused."""

    def make(message: Any, *arguments: Any) -> web.BaseRequest:
        if hdrs.EXPECT not in message.headers or message.headers[hdrs.EXPECT].lower() != "100-continue":
            return make_request(message, *arguments)
        headers = CIMultiDict(message.headers)
        del headers[hdrs.EXPECT]
        request = make_request(message._replace(headers=CIMultiDictProxy(headers)), *arguments)
        request[AWAITS_CONTINUE] = True
        return request

    return make


def _errors_as_json(
    handler: Callable[..., Awaitable[web.StreamResponse]],
) -> Callable[..., Awaitable[web.StreamResponse]]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:  # raised outside the middlewares: an unknown `Expect` header
            return json_response(wire.encode_error(error.text or error.reason), error.status)

    return handle
