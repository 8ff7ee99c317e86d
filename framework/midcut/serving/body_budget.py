"""One budget of bytes for all request bodies of a server, and a least rate at which they must arrive.

Bounds on single bodies and on their number do not bound memory, and a count of uploads is filled by clients that send
nothing. When the budget or the places are used up, the slowest upload ends, so that slow clients never keep others out.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

from aiohttp import web

from midcut.errors import BusyError
from midcut.serving.error_responses import RefusedError
from midcut.types import BodyArrival

if TYPE_CHECKING:
    from collections.abc import Iterator

# After a grace, a body must arrive at this rate on average (Kestrel's default).
LEAST_BYTES_PER_S: Final = 240.0
GRACE_S: Final = 5.0
# An upload is not ended in favour of others before it had this long to show its rate.
_YOUNG_S: Final = 1.0
# The arrival of a body is timed from this piece on, and needs so many.
_BEGIN_PIECE: Final = 2
_LEAST_PIECES: Final = 4


class Upload:
    """The body of one request, from its first byte until the request is answered.

    Attributes:
        received: bytes so far.
    """

    received = 0
    _pieces = 0
    _begin = _before = _last = (0, 0.0)  # bytes so far, and when
    _timer: asyncio.Timeout | None = None
    _evicted = False

    def __init__(self, budget: BodyBudget, timeout_s: float) -> None:
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._until = self._began + timeout_s

    @property
    def age_s(self) -> float:
        return self._loop.time() - self._began

    @property
    def arriving(self) -> bool:
        """Whether the body is not complete yet."""
        return self._timer is not None

    @property
    def bytes_per_s(self) -> float:
        return self.received / max(self.age_s, 1e-9)

    @property
    def arrival(self) -> BodyArrival | None:
        """How the body arrived; None where it came in less than four pieces.

        A piece is all that has come until it is read, also where that is late; not so the last one, after which nothing
        comes. The first one may have waited before the request was taken up.
        """
        if self._pieces < _LEAST_PIECES:
            return None
        return BodyArrival(self._before[0] - self._begin[0], self._before[1] - self._begin[1])

    @contextmanager
    def reading(self) -> Iterator[asyncio.Timeout]:
        """The time-out to read the body under; its deadline moves with what arrives."""
        self._timer = asyncio.timeout(None)
        self._alarm = self._loop.call_at(self._deadline(), self._look)
        try:
            yield self._timer
        finally:
            self._timer = None
            self._alarm.cancel()

    def _look(self) -> None:
        """End a body that is late; else look again when it would be, so that what arrives moves no timer."""
        now = self._loop.time()
        if now < self._deadline():
            self._alarm = self._loop.call_at(self._deadline(), self._look)
        elif self._timer is not None:
            self._timer.reschedule(now)

    def add(self, count: int) -> None:
        """Count bytes that arrived.

        Raises:
            BusyError: the budget is used up, and no other upload is slower.
        """
        if self._evicted:
            raise self.refusal()
        self.received += count
        self._pieces += 1
        self._before, self._last = self._last, (self.received, perf_counter())
        if self._pieces == _BEGIN_PIECE:
            self._begin = self._last
        self._budget.take(self, count)

    def hold(self, count: int) -> None:
        """Count a body that has arrived as a whole. Raises like `add`."""
        self.received = count
        self._budget.take(self, count)

    def release(self) -> None:
        """The request is answered: its body is no longer held."""
        self._budget.release(self)

    def evict(self) -> None:
        """End this upload in favour of others; its reader gets the TimeoutError of `reading`."""
        self._evicted = True
        if self._timer is not None:
            self._timer.reschedule(self._loop.time())

    def refusal(self) -> Exception:
        """Why the time-out of `reading` ended it."""
        if self._evicted:
            return BusyError("this server has no room for an upload as slow as this one")
        if self._loop.time() >= self._until:
            return RefusedError(408, f"the body was not complete after {self._until - self._began:g} s")
        return RefusedError(408, f"the body arrived at less than {LEAST_BYTES_PER_S:g} bytes/s")

    def _deadline(self) -> float:
        return min(self._until, self._began + GRACE_S + self.received / LEAST_BYTES_PER_S)


class BodyBudget:
    """All bodies that a server holds. Used on one event loop.

    Args:
        limit_bytes: the most bytes of all bodies together.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._uploads: set[Upload] = set()

    def begin(self, timeout_s: float) -> Upload:
        """Begin to read a body, which must be complete after `timeout_s`."""
        upload = Upload(self, timeout_s)
        self._uploads.add(upload)
        return upload

    def release(self, upload: Upload) -> None:
        """Hold the body of an upload no longer."""
        if upload in self._uploads:
            self._uploads.remove(upload)
            self.held_bytes -= upload.received

    def take(self, upload: Upload, count: int) -> None:
        """Hold some bytes more of an upload.

        Raises:
            BusyError: there is no room, and no other upload is slower.
        """
        self.held_bytes += count
        if self.held_bytes > self.limit_bytes and not self.make_room(upload):
            raise BusyError(f"this server is busy: it holds {self.held_bytes / 1e6:.0f} MB of requests")

    def make_room(self, favoured: Upload | None = None) -> bool:
        """End the slowest of the other uploads that had time to show their rate; whether there was one."""
        slow = [
            upload
            for upload in self._uploads
            if upload is not favoured and upload.arriving and upload.age_s >= _YOUNG_S
        ]
        if favoured is not None and favoured.age_s >= _YOUNG_S:
            slow = [upload for upload in slow if upload.bytes_per_s < favoured.bytes_per_s]
        if not slow:
            return False
        slowest = min(slow, key=lambda upload: upload.bytes_per_s)
        self.release(slowest)
        slowest.evict()
        return True


BODIES: Final = web.AppKey("bodies", BodyBudget)
UPLOAD: Final = web.RequestKey("upload", Upload)
