"""The routes of the live page: its files, and the state of the edge as server-sent events."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from midcut.edge.frontend.answers import decision_fields
from midcut.edge.page.events import Events
from midcut.edge.page.live import thumbnail

if TYPE_CHECKING:
    from midcut.edge.engine import EdgeEngine
    from midcut.edge.page.live import LastAnswer, LiveRecord
    from midcut.edge.page.parts import PageParts
    from midcut.edge.steering import Steering
    from midcut.types import Decision, LoadedModel

EVENTS_PATH: Final = "/v1/events"
_FILES: Final = Path(__file__).parent / "files"
_SERVED: Final = {
    "/": ("index.html", "text/html"),
    "/page/page.css": ("page.css", "text/css"),
    "/page/page.js": ("page.js", "text/javascript"),
    "/page/charts.js": ("charts.js", "text/javascript"),
    "/page/uplot.css": ("uplot/uPlot.min.css", "text/css"),
    "/page/uplot.js": ("uplot/uPlot.iife.min.js", "text/javascript"),
    "/page/uplot.txt": ("uplot/LICENSE", "text/plain"),
}
OPEN_PAGE_PATHS: Final = frozenset(_SERVED)
"""Files that need no token: they hold nothing of this edge, and ask for the token."""
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Server": "midcut",
}
# Columns that name a placement; those of three tiers have a second hop.
_PLACEMENT: Final = ("cut", "codec")
_SECOND_HOP: Final = ("second_cut", "second_codec")
_MOST_PAGES: Final = 8
_INTERVAL_S: Final = 1.0


def add_page(
    app: web.Application,
    engine: EdgeEngine,
    model: LoadedModel,
    parts: PageParts,
    interval_s: float = _INTERVAL_S,
) -> Events:
    """Add the page to an edge's application.

    Returns:
        what sends events to open pages.
    """
    state = _State(engine, model, parts.live, parts.steering)
    events = Events(state.first, state.update, _MOST_PAGES, interval_s, state.forget)
    for path in _SERVED:
        app.router.add_get(path, _serve_file)
    app.router.add_get(EVENTS_PATH, events.stream)
    return events


async def _serve_file(request: web.Request) -> web.Response:
    name, kind = _SERVED[request.path]
    body = await asyncio.to_thread((_FILES / name).read_bytes)
    return web.Response(body=body, content_type=kind, charset="utf-8", headers=_HEADERS)


class _State:
    """Makes the fields that the page shows."""

    def __init__(self, engine: EdgeEngine, model: LoadedModel, live: LiveRecord, steering: Steering) -> None:
        self._engine, self._model, self._live, self._steering = engine, model, live, steering
        self._sent_at_s = 0.0
        self._picture_of: LastAnswer | None = None
        self._picture = ""

    async def first(self) -> dict[str, Any]:
        """The state, and the points of the last minutes."""
        self._live.watched = True
        return {**await self._now(), **self._points_after(0.0)}

    async def update(self) -> dict[str, Any]:
        """The state, and the points since the last update."""
        since_at_s, self._sent_at_s = self._sent_at_s, time.time()
        return {**await self._now(), **self._points_after(since_at_s)}

    def forget(self) -> None:
        """No page is open any more."""
        self._live.forget_last()
        self._picture_of, self._picture = None, ""

    def _points_after(self, at_s: float) -> dict[str, Any]:
        decisions, results = self._live.decisions.copy(), self._live.results.copy()
        return {
            "decisions": [point for point in decisions if point.at_s > at_s],
            "results": [point for point in results if point.at_s > at_s],
        }

    async def _now(self) -> dict[str, Any]:
        live, clouds = self._live, self._engine.parts.clouds
        runner_up = self._steering.runner_up()
        return {
            "model": self._model.name,
            "note": self._model.note,
            "at_s": time.time(),
            "began_s": live.began_at_s,
            "planning": self._steering.state(),
            "decision": _decision_event_fields(self._engine.decision),
            "runner_up": None
            if runner_up is None
            else {name: runner_up[name] for name in (*_PLACEMENT, *_SECOND_HOP) if name in runner_up},
            "clouds": clouds.states(),
            "why": clouds.why or clouds.never_reached,
            "requests": live.requests,
            "fallbacks": live.fallbacks,
            "sent_bytes": live.sent_bytes,
            "cost_usd": live.cost_usd,
            "monthly_usd": live.monthly_usd(),
            "last": await self._last_fields(),
        }

    async def _last_fields(self) -> dict[str, Any] | None:
        last = self._live.last
        if last is None:
            return None
        if last is not self._picture_of:
            picture = await asyncio.to_thread(thumbnail, last.image) if last.image is not None else ""
            self._picture_of, self._picture = last, picture
        top = last.fields.get("top5")
        return {
            "at_s": last.at_s,
            "label": last.fields.get("label"),
            "class": last.fields.get("class"),
            "task": last.fields.get("task"),
            "probability": top[0]["probability"] if top else None,
            "latency_s": last.latency_s,
            "cut": last.cut,
            "finished_by": last.finished_by,
            "picture": self._picture,
        }


def _decision_event_fields(decision: Decision) -> dict[str, Any]:
    """A decision with its forecast as columns and rows of short numbers, as it is sent every second."""
    forecast, fields = decision.forecast, decision_fields(decision)
    if forecast is None:
        return fields
    rows = [forecast.row(index) for index in range(len(forecast))]
    second_hop = {name: rows[decision.index][name] for name in _SECOND_HOP if name in rows[decision.index]}
    columns = (*_PLACEMENT, *second_hop, "latency_s", "cost_usd", *(f"{part}_s" for part in forecast.parts))
    short = [[_short(row[name]) for name in columns] for row in rows]
    return fields | second_hop | {"forecast": {"columns": columns, "parts": tuple(forecast.parts), "rows": short}}


def _short(value: float | str) -> float | str:
    return float(f"{value:.4g}") if isinstance(value, float) else value
