"""Dwell: holds a placement for some planning steps, so that a planner does not oscillate between near equals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from midcut.types import Ints


class DwellAge:
    """For how many planning steps the placement in use has been so.

    Args:
        ticks: a switch is allowed once it has been in use for at least this many steps; 0 and 1 allow every switch.
    """

    def __init__(self, ticks: int) -> None:
        self._ticks = ticks
        self._steps = 0

    @property
    def text(self) -> str:
        """As a decision quotes it."""
        return f"step {self._steps} of {self._ticks}"

    @property
    def holds(self) -> bool:
        """Whether a switch has to wait."""
        return self._steps <= self._ticks

    def step(self, *, periodic: bool = True) -> None:
        """Count a planning step, if it was due and not asked for by an event."""
        self._steps += periodic

    def restart(self) -> None:
        """Another placement is in use from this step on."""
        self._steps = 1

    def release(self) -> None:
        """Let the next switch take effect at once."""
        self._steps = self._ticks + 1


class Dwell:
    """Applies dwell to one sequence of picks, or to several in parallel, which may come chunk by chunk.

    Each step depends on the one before it, so this is a loop: some 10 us a step for one sequence or a hundred.

    Args:
        ticks: a switch is allowed once the current pick has been in use for at least this many steps; 0 and 1
            allow every switch.
    """

    def __init__(self, ticks: int) -> None:
        self.ticks = ticks
        self._current: Ints | None = None
        self._age: Ints = np.zeros(0, dtype=np.intp)

    def apply(self, picks: Ints) -> Ints:
        """Continue the sequence with the next steps.

        Args:
            picks: what the planner picks at every step, shape (..., T) in order of time.

        Returns:
            what is in use at every step, in the same shape.
        """
        in_use = np.array(np.moveaxis(picks, -1, 0))
        for step, wanted in enumerate(in_use):
            if self._current is None:
                self._current, self._age = wanted.copy(), np.zeros(wanted.shape, dtype=np.intp)
            switch = (wanted != self._current) & (self._age >= self.ticks)
            self._current = np.where(switch, wanted, self._current)
            self._age = np.where(switch, 1, self._age + 1)
            in_use[step] = self._current
        return np.moveaxis(in_use, 0, -1)
