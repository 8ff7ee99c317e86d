"""Errors, regrets and their intervals. numpy only; no bed, no midcut processes.

What is measured at one point of link and clock belongs together: intervals come from drawing whole points again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midcut.simulation.truth_table import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.types import Floats

PARTS = ("edge_s", "link_s", "cloud_s")
DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and where it lies with 95 % by the bootstrap; both bounds are the estimate with one point."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """One pick against the best of what was measured.

    Attributes:
        hit: it is the best one.
        regret: how much longer it took, relative to the best: 0.02 is 2 %; or, of a weighted objective, how much
            higher that was, where 1 is the span of the measured cuts.
    """

    hit: bool
    regret: float


def percentage_error(predicted: float, measured: float) -> float:
    """|predicted - measured| / measured; 0.05 is 5 %."""
    return abs(predicted - measured) / measured


def spread(values: Sequence[float]) -> float:
    """Inter-quartile range over the median: how much one and the same thing varies."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)


def repeat_error(values: Sequence[float]) -> float:
    """Median of |one - median of the others| / median of the others: what no predictor gets below, one by one.

    0 where there are fewer than two.
    """
    if len(values) < 2:
        return 0.0
    others = [float(np.median([*values[:at], *values[at + 1 :]])) for at in range(len(values))]
    return float(np.median([percentage_error(one, other) for one, other in zip(values, others, strict=True)]))


def latency_choice(latency_s: Mapping[int, float], pick: int) -> Choice:
    """A pick where only latency counts.

    Args:
        latency_s: measured, by cut; the pick is among them.
    """
    best = min(latency_s, key=lambda cut: (latency_s[cut], cut))
    return Choice(pick == best, latency_s[pick] / latency_s[best] - 1.0)


def weighted_choice(latency_s: Mapping[int, float], cost_usd: Mapping[int, float], w: float, pick: int) -> Choice:
    """A pick by J = (1 - w) latency + w cost, both min-max scaled over the measured cuts, as `midcut simulate` has it.

    Args:
        latency_s, cost_usd: measured, by the same cuts; the pick is among them.
    """
    cuts = sorted(latency_s)
    latency, cost = (scaled(np.array([of[cut] for cut in cuts])) for of in (latency_s, cost_usd))
    objective = (1.0 - w) * latency + w * cost
    at = cuts.index(pick)
    return Choice(at == int(objective.argmin()), float(objective[at] - objective.min()))


def bootstrap(
    groups: Sequence[Sequence[float]], statistic: Callable[[Floats], float], seed: int = 0, draws: int = DRAWS
) -> Interval:
    """A statistic over all values, and its interval when whole groups are drawn again with replacement.

    Args:
        groups: values by point, at least one value in all.
        statistic: of an array of values.
    """
    kept = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    value = statistic(np.concatenate(kept))
    generator = np.random.default_rng(seed)
    drawn = [
        statistic(np.concatenate([kept[index] for index in generator.integers(0, len(kept), len(kept))]))
        for _ in range(draws)
    ]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, (tail, 100 - tail))
    return Interval(float(value), float(low), float(high))


def median(values: Floats) -> float:
    return float(np.median(values))


def p95(values: Floats) -> float:
    return float(np.percentile(values, 95))


def mean(values: Floats) -> float:
    return float(np.mean(values))


def part_errors(
    predicted: Sequence[Mapping[str, float]], measured: Sequence[Mapping[str, float]]
) -> dict[str, tuple[float, float, float]]:
    """Which part of the latency is off.

    Args:
        predicted, measured: `edge_s`, `link_s`, `cloud_s` and `latency_s` of the same requests or cuts.

    Returns:
        part -> median of predicted - measured over the measured latency, median of its size, share of the sum of
        all parts' sizes. `other` is what the latency has beside the parts, of which nothing is predicted.
    """
    off = {name: np.array([p[name] - m[name] for p, m in zip(predicted, measured, strict=True)]) for name in PARTS}
    off["other"] = np.array([sum(m[name] for name in PARTS) - m["latency_s"] for m in measured])
    latency = np.array([m["latency_s"] for m in measured])
    total = sum(float(np.abs(values).sum()) for values in off.values())
    return {
        name.removesuffix("_s"): (
            float(np.median(values / latency)),
            float(np.median(np.abs(values) / latency)),
            float(np.abs(values).sum()) / total if total else 0.0,
        )
        for name, values in off.items()
    }


def spread_out(items: Sequence[int], count: int) -> list[int]:
    """`count` of the items in their order, both ends among them, as evenly as positions allow."""
    if len(items) <= count:
        return list(items)
    positions = np.linspace(0, len(items) - 1, max(count, 2)).round().astype(int)
    return [items[position] for position in dict.fromkeys(positions.tolist())]
