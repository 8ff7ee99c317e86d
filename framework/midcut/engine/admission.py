"""How many inferences an edge takes in at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from midcut.errors import BusyError
from midcut.serving import UPLOADS_PER_PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from midcut.serving.refusals import Handler


class Admission:
    """Bounds what requests hold until they are answered, over all routes together. Used on one event loop.

    Args:
        places: inferences under way at once.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken_in = 0
        self._under_way = 0

    def admitted(self, handler: Handler) -> Handler:
        """Wrap a route's handler: while all places are taken it refuses before the body is read.

        Raises:
            BusyError: from the handler returned.
        """

        async def admit(request: web.Request) -> web.StreamResponse:
            self._check()
            if self._taken_in >= self._places * UPLOADS_PER_PLACE:
                raise BusyError(f"this edge is busy: {self._taken_in} requests are being read or answered")
            self._taken_in += 1
            try:
                return await handler(request)
            finally:
                self._taken_in -= 1

        return admit

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for an inference whose body is there.

        Raises:
            BusyError: all are taken.
        """
        self._check()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def _check(self) -> None:
        if self._under_way >= self._places:
            raise BusyError(f"this edge is busy: {self._under_way} requests are under way (input.max_requests)")
