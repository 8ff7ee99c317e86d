"""Settings of the planners. Light: no numpy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Semantics(Enum):
    """How the weight sets the sizes of Algorithm 1's two windows."""

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
        semantics: `ratio` grows the two windows in the ratio of the weights; `offset` lets one start larger.
        prefilter: `pareto` removes dominated placements before ranking, so that the pick does not depend on how
            many of them there are.
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
        max_first, max_second: the limit of `aim.first` or `aim.second`, whichever objectives those are.
        strict: if no placement is within the limit, raise an error (the edge then falls back) instead of picking
            the nearest one and reporting that the limit is not met.
    """

    max_latency_s: float | None = None
    max_cost_usd: float | None = None
    max_first: float | None = None
    max_second: float | None = None
    strict: bool = False


@dataclass
class ThroughputConfig:
    """The fastest placement that keeps up with a rate of requests; without one, the shortest period (DADS).

    Choose `objective=period` with it: else the ping counts as part of the period.

    Attributes:
        rate_hz: requests a second; at the edge, that of a streamed folder unless given.
    """

    rate_hz: float | None = "${oc.select:input.rate_hz,null}"  # type: ignore[assignment]


@dataclass
class LinUcbConfig:
    """Learns the delay of link and cloud from the requests themselves (Zhang et al. 2021, Autodidactic Neurosurgeon).

    Attributes:
        alpha: size of the bonus for what is not yet known, seconds.
        beta: ridge regularisation.
        discount: by which all that was learnt is multiplied at each answer; 1 never forgets.
        anchor: how certain of its last mean a feature stays that no request shows any more.
        importance: share of the bonus that is left out.
        horizon: number of requests that `forced` expects.
        forced: send at least every ceil(horizon^(1/4))-th request.
        budget: share of the seconds that may be spent on trying cuts that are believed to be slower; 0 tries none.
            Published are a budget of 0 and an alpha of 0.02.
        optimism: size of the bonus for which of them is tried, as a share of the best cut's seconds.
        patience: number of requests whose earnings pay for what is tried, where less has been earned.
    """

    alpha: float = 0.0
    beta: float = 0.01
    discount: float = 0.95
    anchor: float = 0.03
    importance: float = 0.0
    horizon: int = 500
    forced: bool = False
    budget: float = 0.015
    optimism: float = 0.12
    patience: int = 50


@dataclass
class KneeConfig:
    """The Pareto-optimal placement farthest below the line from the fastest to the cheapest one. It has no settings."""
