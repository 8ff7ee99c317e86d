"""What a server has taken in and not answered yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from midcut.serving.error_responses import Handler

# Bodies being uploaded for every inference that may wait or be under way: who is slow to send keeps nobody out.
UPLOADS_PER_PLACE: Final = 8


class InFlightCounter:
    """Counts inferences from their head to their answer, over all routes together. Used on one event loop.

    Args:
        check: is told how many are count before a body is read; raises where one more is too many.

    Attributes:
        count: inferences taken in and not answered yet.
    """

    def __init__(self, check: Callable[[int], None]) -> None:
        self.count = 0
        self._check = check

    def wrap(self, handler: Handler) -> Handler:
        """Wrap a route's handler. The one returned raises what `check` does."""

        async def admit(request: web.Request) -> web.StreamResponse:
            self._check(self.count)
            self.count += 1
            try:
                return await handler(request)
            finally:
                self.count -= 1

        return admit
