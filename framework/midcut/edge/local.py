"""How long the edge takes to finish an inference by itself: when to stop waiting for the cloud."""

from __future__ import annotations

from typing import Final

# Slower than ever seen, by the clock, by other requests: what is late is lost, what is early costs little.
_MARGIN: Final = 1.25
_MARGIN_S: Final = 0.002
_FORGET: Final = 0.9


class TailTimes:
    """Learns from every tail that ran here. Used on the event loop only."""

    def __init__(self) -> None:
        self._known: dict[int, float] = {}

    def took(self, cut: int, seconds: float) -> None:
        """A tail from this cut was done that long after it was asked for; cut 0 is the whole model.

        The slowest counts, and fades.
        """
        faded_s = _FORGET * self._known.get(cut, 0.0) + (1.0 - _FORGET) * seconds
        self._known[cut] = max(seconds, faded_s)

    def seconds(self, cut: int) -> float:
        """How much time to leave for the tail from a cut: by the nearest known one that is as long or longer."""
        before = [known for known in self._known if known <= cut]
        return self._known[max(before)] * _MARGIN + _MARGIN_S if before else 0.0
