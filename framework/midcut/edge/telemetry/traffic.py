"""The exchanges with the cloud under way, so that sources that measure the link can wait for a pause."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from midcut.types import RunningExchange

if TYPE_CHECKING:
    from collections.abc import Iterator

# Number of past pauses whose median is the usual pause.
_PAUSES: Final = 5


class Traffic:
    """Holds the exchanges under way, and measures the pauses between them. Safe from any thread."""

    def __init__(self) -> None:
        self._under_way: list[RunningExchange] = []
        self._closed = False
        self._ended_at_s: float | None = None
        self._pauses_s: deque[float] = deque(maxlen=_PAUSES)
        self._changed = threading.Condition()

    @contextmanager
    def exchanging(self, sent_bytes: int = 0) -> Iterator[None]:
        """Count one exchange, which sends at most so many bytes, as under way while the context is open."""
        exchange = RunningExchange(time.monotonic(), sent_bytes)
        with self._changed:
            if not self._under_way and self._ended_at_s is not None:
                self._pauses_s.append(time.monotonic() - self._ended_at_s)
            self._under_way.append(exchange)
        try:
            yield
        finally:
            with self._changed:
                self._under_way.remove(exchange)
                if not self._under_way:
                    self._ended_at_s = time.monotonic()
                    self._changed.notify_all()

    def running(self) -> list[RunningExchange]:
        """The exchanges under way."""
        with self._changed:
            return list(self._under_way)

    def pause_s(self) -> float | None:
        """The median of the last pauses between exchanges, or the present pause if longer; None before any exchange."""
        with self._changed:
            if self._ended_at_s is None:
                return None
            now_s = 0.0 if self._under_way else time.monotonic() - self._ended_at_s
            return max(statistics.median(self._pauses_s), now_s) if self._pauses_s else now_s

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until no exchange is under way; False on timeout. Returns at once after `close`."""
        deadline_at_s = time.monotonic() + timeout_s
        with self._changed:
            while self._under_way and not self._closed:
                left_s = deadline_at_s - time.monotonic()
                if left_s <= 0.0:
                    return False
                self._changed.wait(left_s)
            return True

    def close(self) -> None:
        """Wake all waiting threads; from now on nobody waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
