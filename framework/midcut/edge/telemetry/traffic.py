"""Whether exchanges with the cloud are under way, so that what measures the link can keep out of their way."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAUSES: Final = 5


class Traffic:
    """Counts exchanges. Safe from any thread."""

    def __init__(self) -> None:
        self._under_way = 0
        self._closed = False
        self._ended_s: float | None = None
        self._pauses_s: deque[float] = deque(maxlen=_PAUSES)
        self._changed = threading.Condition()

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """One exchange is under way meanwhile."""
        with self._changed:
            if not self._under_way and self._ended_s is not None:
                self._pauses_s.append(time.monotonic() - self._ended_s)
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                if not self._under_way:
                    self._ended_s = time.monotonic()
                    self._changed.notify_all()

    def pause_s(self) -> float | None:
        """How long none is under way between two, as the median of late, or by now if that is more; None before any."""
        with self._changed:
            if self._ended_s is None:
                return None
            now_s = 0.0 if self._under_way else time.monotonic() - self._ended_s
            return max(statistics.median(self._pauses_s), now_s) if self._pauses_s else now_s

    def calm(self, timeout_s: float) -> bool:
        """Wait until none is under way; False where the time is up first. After `close`, at once."""
        until_s = time.monotonic() + timeout_s
        with self._changed:
            while self._under_way and not self._closed:
                left_s = until_s - time.monotonic()
                if left_s <= 0.0:
                    return False
                self._changed.wait(left_s)
            return True

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
