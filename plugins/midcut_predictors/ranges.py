"""The range of clocks for which a prediction is valid."""

from __future__ import annotations

import logging
import math
from typing import Any

logger = logging.getLogger(__name__)
TOLERANCE = 0.05


class ClockRange:
    """The range of the measured clocks; the first clock outside it is logged as a warning.

    Args:
        low_mhz, high_mhz: the lowest and the highest clock measured; 5 % beyond either is accepted.
        what: completes "... is outside the range, X to Y MHz, of", and says what to do.
    """

    def __init__(self, low_mhz: float, high_mhz: float, what: str) -> None:
        self._low, self._high = low_mhz * (1.0 - TOLERANCE), high_mhz * (1.0 + TOLERANCE)
        self._text = f"{low_mhz:g} to {high_mhz:g} MHz, of {what}"

    def check(self, clock_mhz: Any) -> None:
        """Check one clock, or a non-empty array of them."""
        if isinstance(clock_mhz, float):
            if self._low <= clock_mhz <= self._high:
                return
            lowest = highest = clock_mhz
        else:
            lowest, highest = clock_mhz.min(), clock_mhz.max()
            if self._low <= lowest and highest <= self._high:
                return
        outside = lowest if lowest < self._low else highest
        logger.warning("clock %g MHz is outside the range, %s", outside, self._text)
        self._low, self._high = 0.0, math.inf


def clocks_text(low_mhz: float, high_mhz: float) -> str:
    """A range of clocks as text; a single clock where both ends are the same."""
    return f"{low_mhz:g} MHz" if low_mhz == high_mhz else f"{low_mhz:g} to {high_mhz:g} MHz"
