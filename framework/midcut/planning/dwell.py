"""Staying at a cut for a while: what keeps a planner from going back and forth between near equals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from midcut.types import Ints


class Dwell:
    """Holds every pick for a number of planning steps, piece by piece of one sequence.

    A step depends on the one before it, so this is a loop: some 10 us a step for one sequence or a hundred at once.

    Args:
        ticks: a switch is allowed once the current pick has been in use for at least that many steps; 0 and 1
            change nothing.
    """

    def __init__(self, ticks: int) -> None:
        self._ticks = ticks
        self._current: Ints | None = None
        self._age: Ints = np.zeros(0, dtype=np.intp)

    def held(self, picks: Ints) -> Ints:
        """Go on with the next steps.

        Args:
            picks: what a planner wants at every step, shape (..., T) in order of time.

        Returns:
            what is in use at every step, in the same shape.
        """
        held = np.array(np.moveaxis(picks, -1, 0))
        for step, wanted in enumerate(held):
            if self._current is None:
                self._current, self._age = wanted.copy(), np.zeros(wanted.shape, dtype=np.intp)
            switch = (wanted != self._current) & (self._age >= self._ticks)
            self._current = np.where(switch, wanted, self._current)
            self._age = np.where(switch, 1, self._age + 1)
            held[step] = self._current
        return np.moveaxis(held, 0, -1)
