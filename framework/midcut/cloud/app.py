"""The cloud's routes. Made apart from running, so that tests and other servers can mount it."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec

from midcut import wire
from midcut.serving import DRAIN, discard_body, json_response, new_app, read_body

if TYPE_CHECKING:
    from concurrent.futures import Executor as Pool

    from aiohttp import web

    from midcut.cloud.hosted import HostedModels
    from midcut.settings import ServerSettings

PROBE_LIMIT_BYTES: Final = 64 * 1024 * 1024


def make_app(hosted: HostedModels, pool: Pool, settings: ServerSettings) -> web.Application:
    """Build the cloud's application.

    Args:
        hosted: the models.
        pool: threads that decode, compute and encode, off the event loop.
        settings: its `body_timeout_s` bounds every body.
    """
    routes = _Routes(hosted, pool, settings.body_timeout_s)
    app = new_app(hosted.body_limit_bytes, settings)
    app.router.add_post(wire.INFER_PATH, routes.infer)
    app.router.add_get(wire.MODELS_PATH, routes.models)
    app.router.add_post(wire.PROBE_PATH, routes.probe)
    app.router.add_get(wire.HEALTH_PATH, routes.health)
    return app


class _Routes:
    def __init__(self, hosted: HostedModels, pool: Pool, body_timeout_s: float) -> None:
        self._hosted = hosted
        self._pool = pool
        self._body_timeout_s = body_timeout_s

    async def infer(self, request: web.Request) -> web.Response:
        body = await read_body(request, self._hosted.body_limit_bytes, self._body_timeout_s)
        loop = asyncio.get_running_loop()
        return json_response(await loop.run_in_executor(self._pool, self._hosted.answer, body, perf_counter()))

    async def models(self, _: web.Request) -> web.Response:
        return json_response(msgspec.json.encode({"models": self._hosted.listing()}))

    async def probe(self, request: web.Request) -> web.Response:
        """Take a body and throw it away: a timed upload measures the link."""
        received = await discard_body(request, PROBE_LIMIT_BYTES, self._body_timeout_s)
        return json_response(msgspec.json.encode({"received_bytes": received}))

    async def health(self, request: web.Request) -> web.Response:
        leaving = not request.app[DRAIN].ready
        body = {"status": "draining" if leaving else "ok", "models": self._hosted.names}
        return json_response(msgspec.json.encode(body), 503 if leaving else 200)
