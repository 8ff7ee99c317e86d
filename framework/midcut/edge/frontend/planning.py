"""The routes that show and change what planning goes by: planner, weight, pinned cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from midcut.edge.steering import PlanningChange
from midcut.errors import MalformedError
from midcut.serving import json_response, read_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from midcut.edge.steering import Steering

PLANNING_PATH: Final = "/v1/planning"
_MOST_BYTES: Final = 8192


def add_planning_routes(
    app: web.Application, steering: Steering, body_timeout_s: float, changed: Callable[[], None] | None
) -> None:
    """Add `GET` and `PUT /v1/planning`. If access tokens are configured, `PUT` needs the administrator's token.

    Args:
        changed: called after a request has changed the planning.
    """

    async def show(_: web.Request) -> web.Response:
        return json_response(msgspec.json.encode(steering.state()))

    async def change(request: web.Request) -> web.Response:
        body = await read_body(request, _MOST_BYTES, body_timeout_s)
        try:
            wanted = msgspec.json.decode(body, type=PlanningChange)
        except msgspec.DecodeError as error:
            raise MalformedError(f"{PLANNING_PATH} takes JSON with planner, w, settings or pinned: {error}") from None
        await steering.change(wanted)
        if changed is not None:
            changed()
        return await show(request)

    app.router.add_get(PLANNING_PATH, show)
    app.router.add_put(PLANNING_PATH, change)
