"""Clients that come back before the time that a refusal asked for, and would take the server from everybody by that."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aiohttp import web

    from midcut.errors import BusyError

# A request that waits is not read, but up to 128 kB of it arrive: so many bound the memory. Further ones are refused.
_MOST_WAITING: Final = 256
# How many may follow each request that is answered, so that more run at once again after a jam.
_FOLLOW: Final = 2


class ReturningClients:
    """Lets requests wait that come back too early on a connection that was refused. Used on one event loop.

    A refusal costs a server a good part of an answer. A hundred clients that ask again at once make a server refuse
    most of the time; those that wait for their turn cost nothing.
    """

    def __init__(self) -> None:
        self._retry_at_s: OrderedDict[Any, float] = OrderedDict()
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def refused(self, request: web.Request, error: BusyError) -> None:
        """Remember until when this request's connection was asked not to come back."""
        if "Retry-After" not in error.headers:
            return
        now = asyncio.get_running_loop().time()
        while self._retry_at_s and next(iter(self._retry_at_s.values())) <= now:
            self._retry_at_s.popitem(last=False)
        self._retry_at_s.pop(request.protocol, None)
        self._retry_at_s[request.protocol] = now + float(error.headers["Retry-After"])

    async def wait(self, request: web.Request, *, again: bool) -> bool:
        """Wait until there may be room, or the time is over that the connection was asked to wait for.

        Args:
            again: it has waited already, and there was no room.

        Returns:
            whether it waited; False for connections that came when they should.
        """
        left_s = self._retry_at_s.get(request.protocol, 0.0) - asyncio.get_running_loop().time()
        if left_s <= 0.0 or len(self._waiting) >= _MOST_WAITING:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if again else self._waiting.append)(turn)
        try:
            async with asyncio.timeout(left_s):
                await turn
        except TimeoutError:
            pass
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
        return True

    def wake(self) -> None:
        """A request was answered: those that have waited longest may look whether there is room."""
        for _ in range(min(_FOLLOW, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
