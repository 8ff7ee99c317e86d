"""What a server has taken in and not answered yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from midcut.serving.refusals import Handler

# Bodies being uploaded for every inference that may wait or be under way: who is slow to send keeps nobody out.
UPLOADS_PER_PLACE: Final = 8


class InFlightCounter:
    """Counts inferences from their head to their answer, over all routes together. Used on one event loop.

    Args:
        check: is told how many are inside before a body is read; raises where one more is too many.

    Attributes:
        inside: inferences taken in and not answered yet.
    """

    def __init__(self, check: Callable[[int], None]) -> None:
        self.inside = 0
        self._check = check

    def admitted(self, handler: Handler) -> Handler:
        """Wrap a route's handler. The one returned raises what `check` does."""

        async def admit(request: web.Request) -> web.StreamResponse:
            self._check(self.inside)
            self.inside += 1
            try:
                return await handler(request)
            finally:
                self.inside -= 1

        return admit
