"""Admission control: limits how many inferences an edge runs at once."""

from __future__ import annotations

from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Final

from midcut.errors import BusyError
from midcut.serving import UPLOADS_PER_PLACE, InFlightCounter
from midcut.serving.wait_estimate import WaitEstimate

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEVER_REFUSED: Final = 2


class AdmissionLimit:
    """Bounds the memory of unanswered requests, over all routes together. Used on one event loop.

    Args:
        places: how many inferences may run at once.
        queue_s: the longest expected wait for those under way; with fewer than two, none is refused.

    Attributes:
        intake: wraps the routes' handlers; raises BusyError before a body is read.
    """

    def __init__(self, places: int, queue_s: float) -> None:
        self.intake = InFlightCounter(self._check_intake)
        self._places, self._queue_s = places, queue_s
        self._estimate = WaitEstimate()
        self._under_way = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Occupy a place for an inference whose body has been read.

        Raises:
            BusyError: all places are occupied.
        """
        self._check()
        self._estimate.started(self._under_way)
        self._under_way += 1
        try:
            yield
        finally:
            self._estimate.finished(self._under_way)
            self._under_way -= 1

    def _check_intake(self, inside: int) -> None:
        self._check()
        if inside >= self._places * UPLOADS_PER_PLACE:
            raise BusyError(f"this edge is busy: {inside} requests are being read or answered")

    def _check(self) -> None:
        if self._under_way >= self._places:
            raise BusyError(f"this edge is busy: {self._under_way} requests are under way (input.max_requests)")
        wait_s = self._estimate.seconds(self._under_way)
        if self._under_way >= _NEVER_REFUSED and wait_s > self._queue_s:
            raise BusyError(
                f"this edge is busy: {self._under_way} requests under way take about {wait_s:.2g} s (input.queue_s)",
                max(1, ceil(wait_s - self._queue_s)),
            )
