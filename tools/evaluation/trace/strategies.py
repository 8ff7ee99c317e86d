"""What a trace run is made of and what comes out of it. numpy only: no bed, no process."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.types import Floats

_LEVEL = 95.0
_DRAWS = 2000


class Turns:
    """Which cut is measured next within a step: each once, the quick ones first, then whoever had the least time.

    Args:
        cuts: to take turns.
        longest_s: a cut that is expected to take longer is not measured.
    """

    def __init__(self, cuts: Sequence[int], longest_s: float) -> None:
        self._spent_s = dict.fromkeys(cuts, 0.0)
        self._longest_s = longest_s

    def next(self, expected_s: Mapping[int, float], left_s: float) -> int | None:
        """The cut to measure now.

        Args:
            expected_s: latency by cut; a cut that is not in it is not measured.
            left_s: of the step; what would not end in it is not begun.
        """
        most_s = min(self._longest_s, left_s)
        fitting = [cut for cut in self._spent_s if expected_s.get(cut, np.inf) <= most_s]
        return min(
            fitting,
            key=lambda cut: (self._spent_s[cut] > 0.0, self._spent_s[cut] + expected_s[cut], cut),
            default=None,
        )

    def took(self, cut: int, seconds: float) -> None:
        """Note a measurement."""
        self._spent_s[cut] = self._spent_s.get(cut, 0.0) + seconds


@dataclass
class Step:
    """What was measured while link and clock stood still.

    Attributes:
        dynamic: cut, latency and cost of each request without a given cut.
        forced: cut -> latency and cost of each request at it.
        forecast: cut -> latency and cost as predicted: what stands in for a cut that took too long to be measured.
    """

    dynamic: list[tuple[int, float, float]] = field(default_factory=list)
    forced: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    forecast: dict[int, tuple[float, float]] = field(default_factory=dict)

    def at(self, cut: int) -> tuple[float, float]:
        """Mean latency and cost of a cut; as predicted where it was not measured, NaN where not even that is known."""
        taken = self.forced.get(cut)
        if taken:
            latency_s, cost_usd = np.mean(taken, axis=0)
            return float(latency_s), float(cost_usd)
        return self.forecast.get(cut, (np.nan, np.nan))


@dataclass(frozen=True)
class Walked:
    """A whole run: mean latency and cost of each strategy at each step, shape (steps,).

    Attributes:
        latency_s, cost_usd: strategy -> values: dynamic, edge only, cloud only, static best, oracle.
        static: the cut that is best if one must do.
        best: the best cut of each step.
        objective: strategy -> (1 - w) latency + w cost, each relative to its mean over all steps and cuts.
        imputed: share of steps at which a strategy's figures are predicted ones.
        thin: share of steps at which the oracle picks a cut that was measured less than twice: it is judged there
            by what it picked by, or by a forecast.
        hits: share of dynamic requests at their step's best cut.
    """

    latency_s: dict[str, Floats]
    cost_usd: dict[str, Floats]
    objective: dict[str, Floats]
    static: int
    best: list[int]
    imputed: dict[str, float]
    thin: float
    hits: float


DYNAMIC, EDGE, CLOUD, STATIC, ORACLE = "dynamic", "edge only", "cloud only", "static best", "oracle"


def walked(steps: Sequence[Step], cuts: Sequence[int], w: float) -> Walked:
    """Compare the dynamic requests with what the cuts took at the same steps.

    The oracle picks by one half of a step's measurements and is judged by the other, and the other way round:
    picking and judging by the same few would make it look faster than any cut is.

    Args:
        steps: with dynamic requests in each.
        cuts: candidates, ascending: the first is cloud only, the last edge only.
        w: weight of the cost.
    """
    table = np.array([[step.at(cut) for cut in cuts] for step in steps])  # (steps, cuts, 2)
    scale = np.nanmean(table, axis=(0, 1))
    weights = np.array([1.0 - w, w]) / scale
    objective = table @ weights
    static = int(np.argmin(np.nanmean(objective, axis=0)))
    choices = [_oracle(step, cuts, weights) for step in steps]
    values = {
        DYNAMIC: np.array([np.mean([row[1:] for row in step.dynamic], axis=0) for step in steps]),
        EDGE: table[:, -1],
        CLOUD: table[:, 0],
        STATIC: table[:, static],
        ORACLE: np.array([value for _, value, _ in choices]),
    }
    best = [cut for cut, _, _ in choices]
    at = {EDGE: cuts[-1], CLOUD: cuts[0], STATIC: cuts[static]}
    return Walked(
        latency_s={name: pair[:, 0] for name, pair in values.items()},
        cost_usd={name: pair[:, 1] for name, pair in values.items()},
        objective={name: pair @ weights for name, pair in values.items()},
        static=cuts[static],
        best=best,
        imputed={name: float(np.mean([not step.forced.get(cut) for step in steps])) for name, cut in at.items()},
        thin=float(np.mean([fewest < 2 for _, _, fewest in choices])),
        hits=float(np.mean([row[0] == cut for step, cut in zip(steps, best, strict=True) for row in step.dynamic])),
    )


def _oracle(step: Step, cuts: Sequence[int], weights: Floats) -> tuple[int, Floats, int]:
    """What a step's oracle takes.

    Returns:
        the best cut by all measurements, what a pick by one half is worth in the other, and how many measurements the
        less measured of these two picks has.
    """

    def best(of: Callable[[int], Floats]) -> int:
        return min(cuts, key=lambda cut: (np.nan_to_num(float(of(cut) @ weights), nan=np.inf), cut))

    def half(cut: int, parity: int) -> Floats:
        taken = step.forced.get(cut, [])
        return np.mean(taken[parity::2], axis=0) if len(taken) > 1 else np.array(step.at(cut))

    picks = [best(partial(half, parity=parity)) for parity in (0, 1)]
    crossed = [half(pick, 1 - parity) for parity, pick in enumerate(picks)]
    fewest = min(len(step.forced.get(pick, ())) for pick in picks)
    return best(lambda cut: np.array(step.at(cut))), np.mean(crossed, axis=0), fewest


def relative(one: Floats, other: Floats, seed: int = 0) -> tuple[float, float, float]:
    """Mean of one over mean of the other, less 1, and its 95 % interval when steps are drawn again."""
    known = np.isfinite(one) & np.isfinite(other)
    one, other = one[known], other[known]
    if not len(one):
        return (np.nan, np.nan, np.nan)
    rows = np.random.default_rng(seed).integers(0, len(one), (_DRAWS, len(one)))
    drawn = one[rows].mean(axis=1) / other[rows].mean(axis=1) - 1.0
    low, high = np.percentile(drawn, (50 - _LEVEL / 2, 50 + _LEVEL / 2))
    return float(one.mean() / other.mean() - 1.0), float(low), float(high)
