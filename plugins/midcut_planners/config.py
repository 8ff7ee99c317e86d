"""Knobs of the planners. Light: no numpy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Semantics(Enum):
    """How Algorithm 1's windows grow with the weight."""

    ratio = "ratio"
    offset = "offset"


class Prefilter(Enum):
    """Which placements Algorithm 1 ranks."""

    none = "none"
    pareto = "pareto"


@dataclass
class Algorithm1Config:
    """The paper's Algorithm 1.

    Attributes:
        w: weight, 0 (fast) to 1 (cheap).
        semantics: `ratio` grows the two windows in the ratio of the weights; `offset` starts one ahead.
        prefilter: `pareto` leaves dominated placements out before ranking, so that how modules are
            counted does not move the pick.
    """

    w: float = 0.5
    semantics: Semantics = Semantics.ratio
    prefilter: Prefilter = Prefilter.none


@dataclass
class WeightedSumConfig:
    """Smallest weighted sum of latency and cost, each scaled to [0, 1] over the forecast.

    Attributes:
        w: weight, 0 (fast) to 1 (cheap).
    """

    w: float = 0.5


@dataclass
class EpsilonConstraintConfig:
    """One objective under a limit on the other one; give exactly one limit.

    Attributes:
        max_latency_s: cheapest placement of at most this latency, seconds.
        max_cost_usd: fastest placement of at most this cost for one inference, US dollars.
        strict: nothing within the limit is an error (the edge then falls back); else the nearest is picked, and
            said to be no more than that.
    """

    max_latency_s: float | None = None
    max_cost_usd: float | None = None
    strict: bool = False


@dataclass
class KneeConfig:
    """The Pareto-optimal placement farthest below the line between the fastest and the cheapest one; no knobs."""
