"""Estimates how long a request would wait where others are under way, from how fast those before were answered."""

from __future__ import annotations

import statistics
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_RECENT: Final = 9


class WaitEstimate:
    """Little's law: the wait is the number of requests under way over the rate at which they are answered.

    The medians of the last answers count, so that one slow answer refuses nobody. More requests than were under way at
    a time are assumed to run beside one another, until it is seen that they do not.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._busy_since_at_s = 0.0
        self._intervals_s: deque[float] = deque(maxlen=_RECENT)
        self._counts: deque[int] = deque(maxlen=_RECENT)

    def started(self, count: int) -> None:
        """Record a request that begins while `count` others are under way."""
        if count == 0:
            self._busy_since_at_s = self._clock()

    def finished(self, count: int) -> None:
        """Record an answer, of `count` requests that were under way, itself included."""
        now = self._clock()
        self._intervals_s.append(now - self._busy_since_at_s)
        self._counts.append(count)
        self._busy_since_at_s = now

    def seconds(self, count: int) -> float:
        """Seconds that a request waits where `count` others are under way; 0 where nothing was measured yet."""
        if not self._intervals_s:
            return 0.0
        return min(count, statistics.median(self._counts)) * statistics.median(self._intervals_s)
