"""The application that both servers build on: request ids, JSON errors, authentication, metrics."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from time import perf_counter
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from midcut import wire
from midcut.serving.access import OPEN_PATHS, check_tokens
from midcut.serving.body_budget import BODIES, UPLOAD, BodyBudget
from midcut.serving.error_responses import BUSY_LOG, BusyLog, errors_as_json
from midcut.serving.lifecycle import DRAIN, Drain
from midcut.serving.metrics import ServerMetrics, new_registry
from midcut.serving.origins import check_origins
from midcut.wire.trace_context import PARENT_HEADER, STATE_HEADER, pass_on, read_trace_context
from midcut.wire.tracing import span
from midcut.wire.watched_files import Token

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware

    from midcut.config.settings import ServerSettings
    from midcut.serving.error_responses import Handler

_log = structlog.get_logger("midcut.serving")
METRICS_PATH: Final = "/metrics"
REGISTRY: Final = web.AppKey("registry", CollectorRegistry)
# Identifies a request in the logs of edge and cloud: the header X-Request-Id, or random.
REQUEST_ID: Final = web.RequestKey("request_id", str)
# When a request's header had arrived, by `perf_counter`: its time runs from then on.
ARRIVED_AT_S: Final = web.RequestKey("arrived_at_s", float)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


def new_app(
    limit_bytes: int,
    settings: ServerSettings,
    registry: CollectorRegistry | None = None,
    *,
    open_paths: frozenset[str] = frozenset(),
    streams: frozenset[str] = frozenset(),
    browsed: frozenset[str] = frozenset(),
) -> web.Application:
    """An application with the shared middleware, a `Drain` and `/metrics`.

    Args:
        limit_bytes: largest body.
        settings: if it has a token, every request must bring it.
        registry: what `/metrics` shows; None makes a new one.
        open_paths: paths that need no token, besides those of health checks.
        streams: paths whose responses end only when the server does, so that a shutdown must not wait for them.
        browsed: paths that only browsers ask for; see `check_origins`.

    Raises:
        ConfigError: the token cannot be read.
    """
    registry = registry or new_registry()
    token = Token(settings.token_env, settings.token_file)
    admin_token = Token(settings.admin_token_env, settings.admin_token_file, "admin_token")
    layers: list[Middleware] = [_observe_requests(ServerMetrics(registry)), errors_as_json]
    if token.current() or admin_token.current():
        layers.append(check_tokens(token, admin_token, OPEN_PATHS | open_paths))
    layers.append(check_origins(_known_names(settings), browsed, settings.hosts))
    layers.append(_count_in_flight(OPEN_PATHS | streams | {METRICS_PATH}))
    app = web.Application(middlewares=layers, client_max_size=limit_bytes)
    app[DRAIN] = Drain()
    app[BODIES] = BodyBudget(max(int(settings.bodies_mb * 1_000_000), 2 * limit_bytes))
    app[REGISTRY] = registry
    app[BUSY_LOG] = BusyLog()
    app.router.add_get(METRICS_PATH, _metrics)
    return app


def _known_names(settings: ServerSettings) -> set[str]:
    """See `check_origins`: a page under another name has no token, and no certificate for its name."""
    guarded = (settings.tls_cert, settings.token_env, settings.token_file, settings.admin_token_env,
               settings.admin_token_file)  # fmt: skip
    return {"*"} if any(guarded) else {settings.host, *settings.hosts}


def bind_request_id(request: web.Request, request_id: str) -> None:
    """Log the rest of this request under the id in its body, unless the id has characters that could corrupt a log."""
    if request_id != request[REQUEST_ID] and _REQUEST_ID.fullmatch(request_id):
        request[REQUEST_ID] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)


async def _metrics(request: web.Request) -> web.Response:
    body = generate_latest(request.app[REGISTRY])
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Server": "midcut"})


def _observe_requests(metrics: ServerMetrics) -> Middleware:
    """A middleware that binds the request id to the log, and counts and times requests."""
    detailed = _is_debug_logged()

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        client_id = request.headers.get(wire.ID_HEADER, "")
        request_id = client_id if _REQUEST_ID.fullmatch(client_id) else os.urandom(16).hex()
        request[REQUEST_ID] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)  # each request has its own context in aiohttp
        parents = request.headers.getall(PARENT_HEADER, ())
        context = read_trace_context(parents, request.headers.getall(STATE_HEADER, ())) if parents else None
        if context is not None:
            pass_on(context)
        route = _route(request)
        status = 499  # nginx's status for a client that closed the connection
        started = request[ARRIVED_AT_S] = perf_counter()
        metrics.request_started()
        try:
            with span(route, "SERVER", context, request_id=request_id) as recorded:
                response = await handler(request)
                status = response.status
                recorded.set_attribute("http.response.status_code", status)
        finally:
            if (upload := request.get(UPLOAD)) is not None:
                upload.release()
            took_s = perf_counter() - started
            # Counted after the response is on its way, so that it is not delayed.
            asyncio.get_running_loop().call_soon(metrics.request_finished, _method(request), route, status, took_s)
            if detailed:
                _log.debug("answered", path=request.path[:200], status=status, took_s=took_s)
        return response

    return observe


def _method(request: web.Request) -> str:
    return request.method if request.method in hdrs.METH_ALL else "other"  # clients could create any number of labels


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def _is_debug_logged() -> bool:
    """Whether any log handler takes debug lines; formatting unused ones would be a notable part of a small request."""
    return any(handler.level <= logging.DEBUG for handler in logging.getLogger().handlers)


def _count_in_flight(uncounted: frozenset[str]) -> Middleware:
    """A middleware that makes a shutdown wait until a request's response is written.

    Args:
        uncounted: paths for which it does not wait: health checks, scrapes, streams.
    """

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in uncounted:
            return await handler(request)
        drain = request.app[DRAIN]
        drain.enter()
        # aiohttp runs each request in a task of its own, which also writes the response: the request ends when it does.
        task = asyncio.current_task()
        assert task is not None, "a handler runs in a task"  # noqa: S101 - for the type checker
        task.add_done_callback(lambda _: drain.leave())
        response = await handler(request)
        if not drain.ready:
            response.force_close()  # the client reconnects elsewhere, rather than find the connection broken
        return response

    return count
