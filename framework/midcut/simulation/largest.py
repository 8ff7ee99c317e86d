"""A high percentile of more numbers than one wants to keep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from midcut.types import Floats


class Largest:
    """Keeps what the percentile needs: the largest of the numbers in every row.

    Args:
        total: how many numbers each row will have had in the end.
        share: the percentile, 0 to 1.
    """

    def __init__(self, total: int, share: float) -> None:
        position = share * (total - 1)
        self._below, self._part = math.floor(position), position - math.floor(position)
        self._needed = total - self._below
        self._pieces: list[Floats] = []
        self._held = 0

    def add(self, values: Floats) -> None:
        """Take more numbers, shape (rows, n)."""
        self._pieces.append(values)
        self._held += values.shape[-1]
        # Thinned out at twice what is needed, so that each number is looked at a few times at most.
        if len(self._pieces) > 1 and self._held > 2 * self._needed + values.shape[-1]:
            self._thin()

    def percentile(self) -> Floats:
        """As `numpy.percentile` interpolates it, shape (rows,)."""
        self._thin()
        top = np.sort(self._pieces[0], axis=-1)
        low, high = top[:, 0], top[:, min(1, top.shape[-1] - 1)]
        between: Floats = low + (high - low) * self._part
        return between

    def _thin(self) -> None:
        values = np.concatenate(self._pieces, axis=-1)
        drop = values.shape[-1] - self._needed
        if drop > 0:
            values = np.partition(values, drop, axis=-1)[:, drop:]
        self._pieces = [values]
        self._held = values.shape[-1]
