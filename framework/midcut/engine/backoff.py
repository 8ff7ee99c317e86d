"""After a failure, leave the cloud alone for a while; then let one request find out whether it is back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


# A try that fails slowly (a time-out) is repeated more seldom: at most a fifth of the time is lost to tries.
_REST_PER_TRY: Final = 4.0


class Backoff:
    """Keeps a dead cloud from costing every request a time-out. Used on the event loop only.

    Args:
        retry_after_s: how long after a failure nothing is sent, or four times as long as the failed
            try took where that is more; 0 tries every time.
    """

    def __init__(self, retry_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry_after_s = retry_after_s
        self._clock = clock
        self._until_s = 0.0
        self._reason = ""
        self._trying = False

    def why_not(self) -> str:
        """Why the cloud is not to be asked now, `""` where it is."""
        if not self._reason or not self._retry_after_s > 0.0:
            return ""
        wait_s = self._until_s - self._clock()
        if wait_s > 0.0:
            return f"the cloud failed, next try in {wait_s:.2f} s: {self._reason}"
        if self._trying:
            return f"the cloud failed, one request is trying it again: {self._reason}"
        return ""

    def trying(self) -> None:
        """A request goes to the cloud."""
        self._trying = bool(self._reason)

    def succeeded(self) -> bool:
        """It was answered. True where that ends a failure."""
        ended, self._reason, self._trying = bool(self._reason), "", False
        return ended

    def failed(self, reason: str, took_s: float) -> bool:
        """It was not, and that took so long. True where that begins a failure."""
        began, self._reason, self._trying = not self._reason, reason, False
        self._until_s = self._clock() + max(self._retry_after_s, _REST_PER_TRY * took_s)
        return began

    def abandoned(self) -> None:
        """It was cancelled before there was an outcome."""
        self._trying = False
