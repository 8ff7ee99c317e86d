"""What midcut's two HTTP servers share: bounded bodies, refusals as JSON, and an orderly end."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import http_exceptions, web

from midcut import wire
from midcut.errors import ConfigError, TooLargeError, WireError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from midcut.settings import ServerSettings

    _Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger("midcut.serving")
_LINGER_S: Final = 2.0
# A response that is being written when the drain is over may still take this long.
_CUT_OFF_S: Final = 1.0


class RefusedError(WireError):
    """A request refused with a status that has no class of its own."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass
class Drain:
    """Counts requests in flight; once draining, new work is refused and health says so."""

    draining: bool = False
    in_flight: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        self.draining = True
        if not self.in_flight:
            self.idle.set()

    def enter(self) -> None:
        if self.draining:
            raise RefusedError(503, "this server is shutting down")
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
        if self.draining and not self.in_flight:
            self.idle.set()


DRAIN: Final = web.AppKey("drain", Drain)


def new_app(limit_bytes: int) -> web.Application:
    """An application with the shared middleware and a `Drain`."""
    app = web.Application(middlewares=[_refusals, _counted], client_max_size=limit_bytes)
    app[DRAIN] = Drain()
    return app


def json_response(body: bytes, status: int = 200) -> web.Response:
    """A response whose head `wire.reply_head_bytes` knows."""
    return web.Response(body=body, status=status, content_type=wire.JSON_TYPE, headers={"Server": "midcut"})


async def read_body(request: web.Request, limit_bytes: int, timeout_s: float) -> bytearray:
    """Read a whole body.

    Raises:
        TooLargeError: over the limit, by its own word or in fact.
        RefusedError: encoded (415), not complete in time (408), or not framed as HTTP asks (400).
    """
    body = bytearray()
    await _each_chunk(request, limit_bytes, timeout_s, body.extend)
    return body


async def discard_body(request: web.Request, limit_bytes: int, timeout_s: float) -> int:
    """Read a whole body away and return its length. Raises like `read_body`."""
    lengths: list[int] = []
    await _each_chunk(request, limit_bytes, timeout_s, lambda chunk: lengths.append(len(chunk)))
    return sum(lengths)


async def _each_chunk(
    request: web.Request, limit_bytes: int, timeout_s: float, take: Callable[[bytes], object]
) -> None:
    if "Content-Encoding" in request.headers:
        raise RefusedError(415, "encoded bodies are not taken: send the body without Content-Encoding")
    too_large = TooLargeError(f"the body is over this server's limit of {limit_bytes} bytes")
    if (request.content_length or 0) > limit_bytes:
        raise too_large
    received = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.content.iter_any():
                received += len(chunk)
                if received > limit_bytes:
                    raise too_large
                take(chunk)
    except TimeoutError:
        raise RefusedError(408, f"the body was not complete after {timeout_s:g} s") from None
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as error:
        raise RefusedError(400, f"the body is not complete or not framed as it should be: {error}") from None


@web.middleware
async def _refusals(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Every answer that is no success is one line of JSON; every cause is one line of log."""
    try:
        return await handler(request)
    except WireError as error:
        return _refuse(request, error.status, str(error))
    except web.HTTPException as error:
        response = _refuse(request, error.status, f"{request.method} {request.path[:200]}: {error.reason}")
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except ConnectionError as error:
        _log.info("client went away", path=request.path[:200], peer=request.remote, error=str(error))
        raise
    except Exception:  # noqa: BLE001 - a bug: logged with its traceback, and the server lives on
        _log.exception("request failed", path=request.path[:200])
        return json_response(wire.encode_error("internal error; the server's log says more"), 500)


def _refuse(request: web.Request, status: int, reason: str) -> web.Response:
    _log.info("refused", status=status, reason=reason, path=request.path[:200], peer=request.remote)
    return json_response(wire.encode_error(reason), status)


@web.middleware
async def _counted(request: web.Request, handler: _Handler) -> web.StreamResponse:
    if request.path == wire.HEALTH_PATH:
        return await handler(request)
    drain = request.app[DRAIN]
    drain.enter()
    try:
        return await handler(request)
    finally:
        drain.leave()


async def serve(
    app: web.Application,
    settings: ServerSettings,
    ready: Callable[[str], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Run until told to stop, then finish what is in flight.

    While draining, health answers 503 and new work is refused; after `drain_s` what is left is cut off.

    Args:
        ready: called once with the bound address, `http://host:port`.
        stop: ends it; without one, SIGTERM and SIGINT do.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # a small body could unfold to gigabytes
        keepalive_timeout=settings.idle_timeout_s,
        lingering_time=_LINGER_S,
        shutdown_timeout=_CUT_OFF_S,  # aiohttp may wait that long twice, after the drain
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            raise ConfigError(f"cannot listen on host={settings.host} port={settings.port}: {error}") from None
        stop = stop or stop_signals()
        ready(site.name)
        await stop.wait()
        await _drain(app[DRAIN], settings.drain_s)
    finally:
        await runner.cleanup()


def stop_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. Main thread only."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _drain(drain: Drain, drain_s: float) -> None:
    _log.info("draining", in_flight=drain.in_flight)
    drain.begin()
    try:
        async with asyncio.timeout(drain_s):
            await drain.idle.wait()
    except TimeoutError:
        _log.warning("requests cut off", in_flight=drain.in_flight, drain_s=drain_s)
