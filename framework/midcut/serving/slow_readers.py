"""Hangs up on clients that take their answers too slowly, which hold the memory of what they do not take."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from midcut.serving.body_budget import GRACE_S, LEAST_BYTES_PER_S
from midcut.wire.tcp import acknowledged_bytes, unacknowledged_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

_log = structlog.get_logger("midcut.serving")
_LOOK_EVERY_S: Final = 0.25
# A reader is not hung up on in favour of others before it had this long to show its rate.
_YOUNG_S: Final = 1.0
_RESET: Final = struct.pack("ii", 1, 0)


class _Progress(NamedTuple):
    """What a client had acknowledged at a time, of an answer that it has not taken completely yet."""

    at_s: float
    acknowledged: int


class SlowReaders:
    """Looks at the connections now and then, as long as there are any. Used on one event loop.

    A client must take its answer at the rate at which it must send a request. Where answers that nobody has taken yet
    exceed the limit together, the slowest reader is hung up on.

    Args:
        connections: all of a server.
        limit_bytes: the most bytes of answers that are not sent yet.
    """

    def __init__(self, connections: Callable[[], Sequence[web.RequestHandler]], limit_bytes: float) -> None:
        self._connections = connections
        self._limit_bytes = limit_bytes
        self._timer: asyncio.TimerHandle | None = None
        self._progress: dict[asyncio.Transport, _Progress] = {}

    def watch(self) -> None:
        """Begin to look; it ends by itself when there are no connections."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        connections = self._connections()
        unsent = {
            transport: size
            for connection in connections
            if (transport := connection.transport) is not None and (size := _unsent_bytes(transport))
        }
        self._progress = {transport: self._progress.get(transport) or _progress(transport) for transport in unsent}
        self._end_slow()
        self._end_slowest(unsent)
        if connections:
            self.watch()

    def _end_slow(self) -> None:
        now = asyncio.get_running_loop().time()
        for transport, began in list(self._progress.items()):
            if now - began.at_s < GRACE_S:
                continue
            if _rate(transport, began, now) < LEAST_BYTES_PER_S:
                self._end(transport, f"it takes its answer at less than {LEAST_BYTES_PER_S:g} bytes/s")
            else:
                self._progress[transport] = _progress(transport)

    def _end_slowest(self, unsent: dict[asyncio.Transport, int]) -> None:
        """Hang up on the slowest readers until the rest fits, or there is a single one."""
        now = asyncio.get_running_loop().time()
        held = sum(size for transport, size in unsent.items() if transport in self._progress)
        while held > self._limit_bytes and len(self._progress) > 1:
            rates = {
                transport: _rate(transport, began, now)
                for transport, began in self._progress.items()
                if now - began.at_s >= _YOUNG_S
            }
            if not rates:
                return
            slowest = min(rates, key=lambda transport: rates[transport])
            held -= unsent[slowest]
            self._end(slowest, "this server holds too much of answers, and it is the slowest to take its own")

    def _end(self, transport: asyncio.Transport, why: str) -> None:
        del self._progress[transport]
        _log.info("hung up", peer=transport.get_extra_info("peername"), reason=why)
        if (sock := transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError):  # the kernel would go on offering what it holds
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()


def _unsent_bytes(transport: asyncio.Transport) -> int:
    """Bytes that wait to be sent; with TLS those that the kernel holds, as no transport tells of the encrypted ones."""
    size = transport.get_write_buffer_size()
    if transport.get_extra_info("ssl_object") is not None:
        size += unacknowledged_bytes(transport.get_extra_info("socket"))
    return size


def _progress(transport: asyncio.Transport) -> _Progress:
    return _Progress(asyncio.get_running_loop().time(), _acknowledged(transport) or 0)


def _rate(transport: asyncio.Transport, began: _Progress, now: float) -> float:
    """Bytes a second since then; a fast reader's where the system does not tell."""
    acknowledged = _acknowledged(transport)
    if acknowledged is None:
        return float("inf")
    return (acknowledged - began.acknowledged) / max(now - began.at_s, 1e-9)


def _acknowledged(transport: asyncio.Transport) -> int | None:
    sock = transport.get_extra_info("socket")
    return None if sock is None else acknowledged_bytes(sock)
