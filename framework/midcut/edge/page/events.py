"""Server-sent events to a bounded number of open pages; one that reads too slowly is hung up on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from aiohttp import web

from midcut.serving import DRAIN, RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

_log = structlog.get_logger("midcut.edge")
# Events that wait for a page; one that is further behind is dropped.
_MOST_WAITING: Final = 4
_SEND_BUFFER_BYTES: Final = 64 * 1024
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "midcut",
}


@dataclass(eq=False)
class _Page:
    """An open page, and the events that wait for it; None ends it."""

    request: web.Request
    events: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_MOST_WAITING))


class Events:
    """Sends the edge's state to every open page. Without one it does nothing.

    Args:
        first: makes the first event of a page, e.g. with what happened before.
        update: makes the further events; called once for all pages.
        most: pages at once; further ones are refused with 503.
        interval_s: seconds between two events.
        on_last_closed: called when no page is open any more.

    Attributes:
        clients: number of open pages.
    """

    def __init__(
        self,
        first: Callable[[], Awaitable[Mapping[str, Any]]],
        update: Callable[[], Awaitable[Mapping[str, Any]]],
        most: int,
        interval_s: float,
        on_last_closed: Callable[[], None],
    ) -> None:
        self._first, self._update = first, update
        self._most, self._interval_s = most, interval_s
        self._on_last_closed = on_last_closed
        self._pages: set[_Page] = set()
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def clients(self) -> int:
        return len(self._pages)

    def send_soon(self) -> None:
        """Send the state at once instead of at the next interval, because it has changed."""
        self._soon.set()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer one page until it goes away, is too slow, or the server shuts down.

        Raises:
            RefusedError: too many pages are open.
        """
        if self.clients >= self._most:
            raise RefusedError(503, f"{self._most} pages are open already", {"Retry-After": "10"})
        page = _Page(request)
        self._pages.add(page)
        try:
            _limit_send_buffer(request)
            if self._task is None:
                self._task = asyncio.create_task(self._send_each(request.app), name="page events")
            response = web.StreamResponse(headers=_HEADERS)
            response.force_close()
            await response.prepare(request)
            await response.write(_event("first", await self._first()))
            while (event := await page.events.get()) is not None:
                await response.write(event)
        except ConnectionError:
            _log.debug("page closed", peer=request.remote)
        finally:
            self._pages.discard(page)
            if not self._pages and self._task is not None:
                self._task.cancel()
                self._task = None
                self._on_last_closed()
        return response

    async def _send_each(self, app: web.Application) -> None:
        while app[DRAIN].ready:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._soon.wait()
            self._soon.clear()
            try:
                event = _event("state", await self._update())
            except Exception:  # noqa: BLE001 - a plugin's planner or field; the page shows the next state
                _log.exception("the page's state could not be made")
                continue
            for page in list(self._pages):
                self._put(page, event)
        for page in list(self._pages):
            self._put(page, None)

    def _put(self, page: _Page, event: bytes | None) -> None:
        try:
            page.events.put_nowait(event)
        except asyncio.QueueFull:
            _log.info("page dropped: it reads too slowly", peer=page.request.remote)
            self._pages.discard(page)
            if page.request.transport is not None:
                page.request.transport.abort()


def _event(name: str, fields: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(fields))


def _limit_send_buffer(request: web.Request) -> None:
    """Let the system hold little for a page that does not read."""
    connection = request.transport.get_extra_info("socket") if request.transport is not None else None
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
