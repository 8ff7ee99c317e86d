"""Which two columns of a forecast planners weigh."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class AimSettings:
    """The two columns of a forecast that the planner weighs.

    Attributes:
        first: the one that counts alone where w = 0: latency_s, cost_usd, or a column of a chosen objective.
        second: the one that counts alone where w = 1; null is the column of the first chosen objective, and cost_usd
            where none is chosen.
    """

    first: str = "latency_s"
    second: str | None = None
