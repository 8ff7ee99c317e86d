"""A circuit breaker: no requests go to a failing cloud for a while, then one request tests whether it is back."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


# After a slow failure (a time-out) the breaker stays open as long as the failed try took, then twice and four times as
# long: most outages of a link are over after the first rest, and tries of a cloud that hangs take a fifth of the time.
_REST_PER_TRY: Final = (1.0, 2.0, 4.0)
# The longest Retry-After that is respected, so that a cloud cannot keep the breaker open for ever.
_LONGEST_REQUESTED_S: Final = 60.0


class BreakerState(Enum):
    """Closed: all requests go through. Open: none does. Half-open: one at a time does."""

    closed = "closed"
    half_open = "half_open"
    open = "open"


class Breaker:
    """Keeps a dead cloud from costing every request a time-out. Used on the event loop only.

    It opens after `failures` failures in a row, or after one failure that took longer than `retry_after_s`, because
    every further failure would lose as much time.

    Args:
        failures: number of failures in a row after which it opens.
        retry_after_s: how long it stays open, or as long as the failed try took where that is more, twice as long when
            the next try fails too, then four times; with 0 it opens only for as long as a cloud asks for.
    """

    def __init__(self, failures: int, retry_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._retry_after_s = retry_after_s
        self._clock = clock
        self._state = BreakerState.closed
        self._in_a_row = self._failed_tries = 0
        self._retry_at_s = 0.0
        self._reason = ""
        self._trying = self._is_requested = False

    @property
    def state(self) -> BreakerState:
        return self._state

    @property
    def reason(self) -> str:
        """The last failure, `""` while there is none."""
        return self._reason

    @property
    def wait_s(self) -> float:
        """The time until an open breaker may become half-open."""
        return max(self._retry_at_s - self._clock(), 0.0)

    def blocked_reason(self) -> str:
        """Why no request may be sent now; `""` if one may."""
        if self._state is BreakerState.open:
            return f"the cloud failed, next try in {self.wait_s:.2f} s: {self._reason}"
        if self._state is BreakerState.half_open and self._trying:
            return f"the cloud failed, one request is trying it again: {self._reason}"
        return ""

    def begin_try(self) -> None:
        """Record that a request is being sent to the cloud."""
        self._trying = True

    def abandon_try(self) -> None:
        """Record that the request was cancelled before its outcome was known."""
        self._trying = False

    def record_success(self) -> bool:
        """Record that the request was answered. Returns whether that ends a series of failures.

        A request that was under way when the cloud asked for a wait does not end that wait.
        """
        if self._state is BreakerState.open and self._is_requested:
            return False
        ended = self._in_a_row > 0
        self._state, self._reason, self._trying = BreakerState.closed, "", False
        self._in_a_row = self._failed_tries = 0
        self._retry_at_s = 0.0
        return ended

    def record_failure(self, reason: str, took_s: float = 0.0, requested_s: float | None = None) -> bool:
        """Record that the request failed. Returns whether that begins a series of failures.

        Args:
            reason: one line that says why.
            took_s: how long the try took.
            requested_s: the wait that the cloud asked for (Retry-After); opens the breaker at once.
        """
        self._in_a_row += 1
        self._failed_tries += self._state is BreakerState.half_open
        self._reason, self._trying = reason, False
        rest_s = (
            max(self._retry_after_s, _REST_PER_TRY[min(self._failed_tries, len(_REST_PER_TRY) - 1)] * took_s)
            if requested_s is None
            else min(requested_s, _LONGEST_REQUESTED_S)
        )
        lasting = self._in_a_row >= self._failures or took_s > self._retry_after_s
        opens = self._retry_after_s > 0.0 and (lasting or self._state is not BreakerState.closed)
        if opens or requested_s is not None:
            self._state = BreakerState.open
            self._is_requested = self._is_requested or requested_s is not None
            # Another request that was under way must not shorten the wait.
            self._retry_at_s = max(self._retry_at_s, self._clock() + rest_s)
        elif not self.wait_s:
            self._state, self._is_requested = BreakerState.closed, False
        return self._in_a_row == 1

    def half_open(self) -> None:
        """Let one request through, because the time open is over."""
        if self._state is BreakerState.open:
            self._state, self._trying, self._is_requested = BreakerState.half_open, False, False
