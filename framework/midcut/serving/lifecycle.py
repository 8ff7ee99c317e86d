"""Listening, and an orderly end: readiness goes first, then no new work, then what is in flight."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from midcut.errors import ConfigError
from midcut.serving.access import warn_if_unprotected
from midcut.serving.error_responses import RefusedError
from midcut.serving.json_runner import JsonRunner
from midcut.serving.listener import Listener
from midcut.wire.credentials import server_tls

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.config.settings import ServerSettings

_log = structlog.get_logger("midcut.serving")
_LINGER_S: Final = 2.0
_POLL_S: Final = 0.02
# What is still in flight when the drain is over may take this long.
_ABORT_S: Final = 1.0


@dataclass
class Drain:
    """Counts requests in flight, and knows how far the end has come.

    Attributes:
        ready: whether balancers should send work here.
        draining: new work is refused.
        in_flight: requests taken whose responses are not written yet.
        idle: set once nothing is in flight and new work is refused.
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
    """Run until told to stop, then finish what is in flight.

    Told to stop, readiness says 503 at once; after `leave_s` new work is refused; after `drain_s` more what is not
    answered, or whose answer is not written, is cut off.

    Args:
        ready: called once with the bound address, `http://host:port`.
        stop: ends it; without one, SIGTERM and SIGINT do.

    Raises:
        ConfigError: the address cannot be listened on, or the TLS files cannot be used.
    """
    tls = server_tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    warn_if_unprotected(settings)
    runner = make_runner(app, settings)
    await runner.setup()
    try:
        try:
            listener = await Listener.open(runner, tls, settings.host, settings.port)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"cannot listen on host={settings.host} port={settings.port}: {error}") from None
        stop = stop or stop_signals()
        ready(f"{'https' if tls else 'http'}://{settings.host}:{listener.port}")
        await stop.wait()
        await _drain(app[DRAIN], listener, settings)
        await listener.close()
    finally:
        await runner.cleanup()


def make_runner(app: web.Application, settings: ServerSettings) -> web.AppRunner:
    """What runs an application, with the limits that both servers have."""
    return JsonRunner(
        app,
        access_log=None,
        auto_decompress=False,  # a small body could unfold to gigabytes
        handler_cancellation=True,  # nobody waits any more: what is queued for them is dropped
        keepalive_timeout=settings.idle_timeout_s,
        lingering_time=_LINGER_S,
        shutdown_timeout=_ABORT_S,  # aiohttp may wait that long twice, after the drain
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
        _log.info("leaving: not ready, still taking work", leave_s=settings.leave_s)
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
            "requests cut off", in_flight=drain.in_flight, unsent_bytes=listener.unsent_bytes, drain_s=settings.drain_s
        )
