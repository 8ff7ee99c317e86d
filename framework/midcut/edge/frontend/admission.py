"""Admission control: limits how many inferences an edge runs at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from midcut.errors import BusyError
from midcut.serving import UPLOADS_PER_PLACE, InFlightCounter

if TYPE_CHECKING:
    from collections.abc import Iterator


class AdmissionLimit:
    """Bounds the memory of unanswered requests, over all routes together. Used on one event loop.

    Args:
        places: the most inferences at once.

    Attributes:
        intake: wraps the routes' handlers; raises BusyError before a body is read.
    """

    def __init__(self, places: int) -> None:
        self.intake = InFlightCounter(self._check_intake)
        self._places = places
        self._under_way = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Occupy a place for an inference whose body has been read.

        Raises:
            BusyError: all places are occupied.
        """
        self._check()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def _check_intake(self, inside: int) -> None:
        self._check()
        if inside >= self._places * UPLOADS_PER_PLACE:
            raise BusyError(f"this edge is busy: {inside} requests are being read or answered")

    def _check(self) -> None:
        if self._under_way >= self._places:
            raise BusyError(f"this edge is busy: {self._under_way} requests are under way (input.max_requests)")
