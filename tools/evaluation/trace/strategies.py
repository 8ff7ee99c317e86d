"""A trace run's order of measurements, and its comparison of strategies. No bed, no midcut processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.types import Floats

DYNAMIC, EDGE, CLOUD, STATIC, ORACLE = "dynamic", "edge only", "cloud only", "static best", "oracle"


class Turns:
    """Which cut is measured next within a step: each once, the quick ones first, then that with the least time spent.

    Args:
        cuts: to take turns.
        longest_s: a cut that is expected to take longer is not measured.
    """

    def __init__(self, cuts: Sequence[int], longest_s: float) -> None:
        self._spent_s = dict.fromkeys(cuts, 0.0)
        self._longest_s = longest_s

    def next(self, expected_s: Mapping[int, float], left_s: float) -> int | None:
        """The cut to measure now; None where there is no time for any.

        Args:
            expected_s: latency by cut; a cut that is not in it is not measured.
            left_s: rest of the step: a measurement that would not end in it is not begun.
        """
        limit_s = min(self._longest_s, left_s)
        return min(
            (cut for cut in self._spent_s if expected_s.get(cut, np.inf) <= limit_s),
            key=lambda cut: (self._spent_s[cut] > 0.0, self._spent_s[cut] + expected_s[cut], cut),
            default=None,
        )

    def add(self, cut: int, seconds: float) -> None:
        """Note a measurement."""
        self._spent_s[cut] += seconds


@dataclass
class Step:
    """The measurements of one step, in which link and clock do not change.

    Attributes:
        dynamic: cut, latency and cost of each request without a given cut.
        forced: cut -> latency and cost of each request at it.
        forecast: cut -> predicted latency and cost: used where the cut took too long to be measured.
    """

    dynamic: list[tuple[int, float, float]] = field(default_factory=list)
    forced: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    forecast: dict[int, tuple[float, float]] = field(default_factory=dict)

    def mean(self, cut: int) -> Floats:
        """Mean latency and cost of a cut; predicted where it was not measured, NaN where not even that is known."""
        measured = self.forced.get(cut)
        return np.mean(measured, axis=0) if measured else np.array(self.forecast.get(cut, (np.nan, np.nan)))

    def mean_of_half(self, cut: int, parity: int) -> Floats:
        """The same over every other measurement; over all where there are fewer than two."""
        measured = self.forced.get(cut, ())
        return np.mean(measured[parity::2], axis=0) if len(measured) > 1 else self.mean(cut)


@dataclass(frozen=True)
class Comparison:
    """A whole run: mean latency and cost of each strategy at each step, shape (steps,).

    Attributes:
        latency_s, cost_usd: strategy -> values: dynamic, edge only, cloud only, static best, oracle.
        objective: strategy -> (1 - w) latency + w cost, each relative to its mean over all steps and cuts.
        static_cut: the best cut if a single one is used throughout.
        best_cuts: the best cut of each step.
        predicted_share: strategy -> share of the steps at which its figures are predicted.
        thin_share: share of the steps at which the oracle picks a cut that was measured less than twice: there it is
            judged by the measurement it picked by, or by a forecast.
        hits: share of dynamic requests at their step's best cut.
    """

    latency_s: dict[str, Floats]
    cost_usd: dict[str, Floats]
    objective: dict[str, Floats]
    static_cut: int
    best_cuts: list[int]
    predicted_share: dict[str, float]
    thin_share: float
    hits: float


def compare_strategies(steps: Sequence[Step], cuts: Sequence[int], w: float) -> Comparison:
    """Compare the dynamic requests with fixed cuts at the same steps.

    The oracle picks by one half of a step's measurements and is judged by the other, and the other way round:
    picking and judging by the same few would make it look faster than any cut is.

    Args:
        steps: with dynamic requests in each.
        cuts: candidates, ascending: the first is cloud only, the last edge only.
        w: weight of the cost.
    """
    table = np.array([[step.mean(cut) for cut in cuts] for step in steps])  # (steps, cuts, 2)
    weights = np.array([1.0 - w, w]) / np.nanmean(table, axis=(0, 1))
    static = int(np.argmin(np.nanmean(table @ weights, axis=0)))
    oracles = [_oracle(step, cuts, weights) for step in steps]
    best_cuts = [cut for cut, _, _ in oracles]
    values = {
        DYNAMIC: np.array([np.mean([request[1:] for request in step.dynamic], axis=0) for step in steps]),
        EDGE: table[:, -1],
        CLOUD: table[:, 0],
        STATIC: table[:, static],
        ORACLE: np.array([value for _, value, _ in oracles]),
    }
    fixed = {EDGE: cuts[-1], CLOUD: cuts[0], STATIC: cuts[static]}
    hits = [request[0] == cut for step, cut in zip(steps, best_cuts, strict=True) for request in step.dynamic]
    return Comparison(
        latency_s={name: pairs[:, 0] for name, pairs in values.items()},
        cost_usd={name: pairs[:, 1] for name, pairs in values.items()},
        objective={name: pairs @ weights for name, pairs in values.items()},
        static_cut=cuts[static],
        best_cuts=best_cuts,
        predicted_share={
            name: float(np.mean([not step.forced.get(cut) for step in steps])) for name, cut in fixed.items()
        },
        thin_share=float(np.mean([fewest < 2 for _, _, fewest in oracles])),
        hits=float(np.mean(hits)),
    )


def _oracle(step: Step, cuts: Sequence[int], weights: Floats) -> tuple[int, Floats, int]:
    """The oracle's picks in a step.

    Returns:
        the best cut by all measurements; latency and cost of the picks by one half, measured by the other half; and
        how many measurements the less measured of these two picks has.
    """

    def best(values: Callable[[int], Floats]) -> int:
        return min(cuts, key=lambda cut: (np.nan_to_num(float(values(cut) @ weights), nan=np.inf), cut))

    picks = [best(partial(step.mean_of_half, parity=parity)) for parity in (0, 1)]
    judged = [step.mean_of_half(pick, 1 - parity) for parity, pick in enumerate(picks)]
    fewest = min(len(step.forced.get(pick, ())) for pick in picks)
    return best(step.mean), np.mean(judged, axis=0), fewest
