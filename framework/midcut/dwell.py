"""Staying at a cut for a while: what keeps a planner from going back and forth between near equals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from midcut.types import Ints


def with_dwell(picks: Ints, ticks: int) -> Ints:
    """Hold every pick for a number of planning steps.

    Args:
        picks: what a planner wants at every step, shape (..., T) in order of time.
        ticks: a switch is allowed once the current pick has been in use for at least that many steps; 0 and 1
            change nothing.

    Returns:
        what is in use at every step, in the same shape.
    """
    held = np.array(picks)
    age = np.ones(held.shape[:-1], dtype=np.intp)
    for step in range(1, held.shape[-1]):
        before = held[..., step - 1]
        switch = (picks[..., step] != before) & (age >= ticks)
        held[..., step] = np.where(switch, picks[..., step], before)
        age = np.where(switch, 1, age + 1)
    return held
