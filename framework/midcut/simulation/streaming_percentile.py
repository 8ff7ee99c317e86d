"""The exact high percentile of a stream of numbers, without keeping all of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from midcut.types import Floats


class StreamingPercentile:
    """Collects rows of numbers and keeps of each row only its largest ones, which determine the percentile.

    Args:
        total: how many numbers each row will have received in the end.
        share: the percentile, 0 to 1.
    """

    def __init__(self, total: int, share: float) -> None:
        position = share * (total - 1)
        below = math.floor(position)
        self._fraction = position - below
        self._needed = total - below
        self._arrays: list[Floats] = []
        self._count = 0

    def add(self, values: Floats) -> None:
        """Add numbers, shape (rows, n)."""
        self._arrays.append(values)
        self._count += values.shape[-1]
        # Dropping numbers only at twice the needed count makes each number be looked at a few times at most.
        if len(self._arrays) > 1 and self._count > 2 * self._needed + values.shape[-1]:
            self._drop_unneeded()

    def percentile(self) -> Floats:
        """The percentile of every row, interpolated as `numpy.percentile` does, shape (rows,)."""
        self._drop_unneeded()
        largest = np.sort(self._arrays[0], axis=-1)
        low, high = largest[:, 0], largest[:, min(1, largest.shape[-1] - 1)]
        interpolated: Floats = low + (high - low) * self._fraction
        return interpolated

    def _drop_unneeded(self) -> None:
        values = np.concatenate(self._arrays, axis=-1)
        surplus = values.shape[-1] - self._needed
        if surplus > 0:
            values = np.partition(values, surplus, axis=-1)[:, surplus:]
        self._arrays = [values]
        self._count = values.shape[-1]
