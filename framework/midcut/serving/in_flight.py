"""Counts the inferences that a server has accepted and not answered yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from midcut.errors import BusyError
from midcut.serving.body_budget import BODIES
from midcut.serving.returning import ReturningClients

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from midcut.serving.error_responses import Handler

# Uploads that are accepted for each inference that may wait or run, so that slow uploads do not block others.
UPLOADS_PER_PLACE: Final = 8


class InFlightCounter:
    """Counts inferences from their HTTP header to their answer, over all routes. Used on one event loop.

    Args:
        check: called with the count before the body of one more is read; raises BusyError where that is one too many.
            The slowest upload then makes room, where there is one.

    Attributes:
        count: inferences accepted and not answered yet.
    """

    def __init__(self, check: Callable[[int], None]) -> None:
        self.count = 0
        self._check = check
        self._returning = ReturningClients()

    def wrap(self, handler: Handler) -> Handler:
        """Wrap a route's handler so that its requests are counted. The wrapped handler raises what `check` raises."""

        async def counted(request: web.Request) -> web.StreamResponse:
            try:
                try:
                    self._check(self.count)
                except BusyError as error:
                    await self._wait_for_room(request, error)
                self.count += 1
                try:
                    return await handler(request)
                finally:
                    self.count -= 1
                    self._returning.wake()
            except BusyError as error:
                self._returning.refused(request, error)
                raise

        return counted

    async def _wait_for_room(self, request: web.Request, error: BusyError) -> None:
        """Wait where the request may; raises the error where it may not."""
        again = False
        while not request.app[BODIES].make_room():
            if not await self._returning.wait(request, again=again):
                raise error
            again = True
            try:
                self._check(self.count)
            except BusyError as newer:
                error = newer
            else:
                return
