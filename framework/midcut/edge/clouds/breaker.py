"""A circuit breaker: a cloud that fails is left alone for a while, then one request finds out whether it is back."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


# A try that fails slowly (a time-out) is repeated more seldom: at most a fifth of the time is lost to tries.
_REST_PER_TRY: Final = 4.0
# A cloud may ask to be left alone, but not for good.
_MOST_TOLD_S: Final = 60.0


class BreakerState(Enum):
    """Closed: all requests go through. Open: none does. Half-open: one at a time does."""

    closed = "closed"
    half_open = "half_open"
    open = "open"


class Breaker:
    """Keeps a dead cloud from costing every request a time-out. Used on the event loop only.

    It opens after some failures in a row, or after one that took longer than it would stay open: lost time is what
    it is there to save.

    Args:
        failures: how many in a row.
        retry_after_s: how long it stays open, or four times as long as the failed try took where that is more;
            0 never opens it.
    """

    def __init__(self, failures: int, retry_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._retry_after_s = retry_after_s
        self._clock = clock
        self._state = BreakerState.closed
        self._in_a_row = 0
        self._until_s = 0.0
        self._reason = ""
        self._trying = False

    @property
    def state(self) -> BreakerState:
        return self._state

    @property
    def reason(self) -> str:
        """The last failure, `""` while there is none."""
        return self._reason

    @property
    def wait_s(self) -> float:
        """How long it is still to stay open."""
        return max(self._until_s - self._clock(), 0.0)

    def why_not(self) -> str:
        """Why no request may go now, `""` where one may."""
        if self._state is BreakerState.open:
            return f"the cloud failed, next try in {self.wait_s:.2f} s: {self._reason}"
        if self._state is BreakerState.half_open and self._trying:
            return f"the cloud failed, one request is trying it again: {self._reason}"
        return ""

    def trying(self) -> None:
        """A request goes to the cloud."""
        self._trying = True

    def abandoned(self) -> None:
        """It was cancelled before there was an outcome."""
        self._trying = False

    def succeeded(self) -> bool:
        """It was answered. True where that ends a series of failures."""
        ended = self._in_a_row > 0
        self._state, self._in_a_row, self._reason, self._trying = BreakerState.closed, 0, "", False
        return ended

    def failed(self, reason: str, took_s: float = 0.0, told_s: float | None = None) -> bool:
        """It was not answered. True where that begins a series of failures.

        Args:
            reason: one line.
            took_s: how long the try took.
            told_s: how long the cloud asked to be left alone (Retry-After); opens it at once.
        """
        self._in_a_row += 1
        self._reason, self._trying = reason, False
        rest_s = max(self._retry_after_s, _REST_PER_TRY * took_s) if told_s is None else min(told_s, _MOST_TOLD_S)
        lasting = self._in_a_row >= self._failures or took_s > self._retry_after_s or told_s is not None
        if self._retry_after_s > 0.0 and (lasting or self._state is not BreakerState.closed):
            self._state = BreakerState.open
            self._until_s = self._clock() + rest_s
        return self._in_a_row == 1

    def half_open(self) -> None:
        """The time is over: let one request through."""
        if self._state is BreakerState.open:
            self._state, self._trying = BreakerState.half_open, False
