"""Serving and graceful shutdown: first not ready, then no new work, then no work in flight."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

from midcut.errors import ConfigError
from midcut.serving.access import warn_if_unprotected
from midcut.serving.error_responses import RefusedError
from midcut.serving.json_runner import JsonRunner
from midcut.serving.listener import Listener
from midcut.wire.addresses import address_url
from midcut.wire.credentials import server_tls
from midcut.wire.watched_files import Certificate

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from midcut.config.settings import ServerSettings

_log = structlog.get_logger("midcut.serving")
_LINGER_S: Final = 2.0
_POLL_S: Final = 0.02
_CERTIFICATES_EVERY_S: Final = 2.0
# Requests still in flight after the drain may take this much longer.
_ABORT_S: Final = 1.0


@dataclass
class Drain:
    """State of a graceful shutdown.

    Attributes:
        ready: whether load balancers should send requests here.
        draining: whether new requests are refused.
        in_flight: accepted requests whose responses are not written yet.
        idle: set once new requests are refused and none is in flight.
    """

    ready: bool = True
    draining: bool = False
    in_flight: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        self.ready, self.draining = False, True
        if not self.in_flight:
            self.idle.set()

    def enter(self) -> None:
        if self.draining:
            raise RefusedError(503, "this server is shutting down", {"Retry-After": "1", "Connection": "close"})
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
        if self.draining and not self.in_flight:
            self.idle.set()


DRAIN: Final = web.AppKey("drain", Drain)


async def serve(
    app: web.Application,
    settings: ServerSettings,
    ready: Callable[[str], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until stopped, then finish the requests in flight.

    After the stop, readiness is 503 at once, new requests are refused after `leave_s`, and `drain_s` later the requests
    whose responses are not written yet are aborted.

    Args:
        ready: called once with the bound address, `http://host:port`.
        stop: stops the server; None stops it at SIGTERM or SIGINT.

    Raises:
        ConfigError: the server cannot listen on the address, or the TLS files cannot be used.
    """
    tls = server_tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    certificate = _certificate(tls, settings)
    warn_if_unprotected(settings)
    runner = make_runner(app, settings)
    await runner.setup()
    try:
        try:
            listener = await Listener.open(runner, tls, settings.host, settings.port)
        except (OSError, OverflowError) as error:
            where = f"{settings.section}.host={settings.host} {settings.section}.port={settings.port}"
            raise ConfigError(f"cannot listen on {where}: {error}") from None
        stop = stop or stop_signals()
        ready(address_url("https" if tls else "http", settings.host, listener.port))
        await _wait(stop, certificate)
        await _drain(app[DRAIN], listener, settings)
        await listener.close()
    finally:
        await runner.cleanup()


class Served:
    """An application that is served from now on, until `stop`; see `serve`.

    A failure of the server after `url` is logged when it happens. Nothing raises it: the program's other work goes on.

    Args:
        stopping: stops the server too when somebody else sets it, as a signal does; `stop` sets it.
    """

    def __init__(self, app: web.Application, settings: ServerSettings, stopping: asyncio.Event | None = None) -> None:
        self._stop = stopping or asyncio.Event()
        self._url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(serve(app, settings, self._url.set_result, self._stop), name="server")
        self._task.add_done_callback(self._log_failure)

    async def url(self) -> str:
        """The address, once it is served.

        Raises:
            ConfigError: it cannot be served there.
        """
        waited: tuple[asyncio.Future[Any], ...] = (self._task, self._url)
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not self._url.done():
            await self._task  # raises what went wrong
        return await self._url

    async def stop(self) -> None:
        """Finish the requests in flight, and close."""
        self._stop.set()
        await asyncio.wait({self._task})

    def _log_failure(self, task: asyncio.Task[None]) -> None:
        # Before it is served, `url` raises it.
        error = None if task.cancelled() else task.exception()
        if error is not None and self._url.done():
            _log.error("the server failed, no request is answered any more", url=self._url.result(), exc_info=error)


def _certificate(tls: ssl.SSLContext | None, settings: ServerSettings) -> Certificate | None:
    if tls is None or settings.tls_cert is None:
        return None
    return Certificate(tls, settings.tls_cert, settings.tls_key, settings.tls_client_ca)


async def _wait(stop: asyncio.Event, certificate: Certificate | None) -> None:
    """Wait until the server is to stop; use new certificates meanwhile."""
    if certificate is None:
        await stop.wait()
        return
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CERTIFICATES_EVERY_S):
                await stop.wait()
        certificate.refresh()


def make_runner(app: web.Application, settings: ServerSettings) -> web.AppRunner:
    """The runner of an application, with the limits of both servers."""
    return JsonRunner(
        app,
        settings.connections,
        access_log=None,
        auto_decompress=False,  # a small compressed body could become gigabytes
        handler_cancellation=True,  # a client that hung up needs no answer: its queued work is dropped
        keepalive_timeout=settings.idle_timeout_s,
        lingering_time=_LINGER_S,
        shutdown_timeout=_ABORT_S,  # aiohttp may wait this long twice, after the drain
    )


def stop_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. Main thread only."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _drain(drain: Drain, listener: Listener, settings: ServerSettings) -> None:
    drain.ready = False
    if settings.leave_s > 0.0:
        _log.info("not ready any more, still accepting requests", leave_s=settings.leave_s)
        await asyncio.sleep(settings.leave_s)
    _log.info("draining", in_flight=drain.in_flight)
    drain.begin()
    try:
        async with asyncio.timeout(settings.drain_s):
            await drain.idle.wait()
            while listener.unsent_bytes:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        _log.warning(
            "requests aborted", in_flight=drain.in_flight, unsent_bytes=listener.unsent_bytes, drain_s=settings.drain_s
        )
