"""Errors, regrets and their intervals. No bed, no midcut processes.

Measurements at one point of link and clock depend on one another: intervals come from resampling whole points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from common.figures import quartiles

from midcut.simulation.truth_table import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from midcut.types import Floats

PARTS = ("edge_s", "link_s", "cloud_s")
COLUMNS = (*PARTS, "latency_s", "cost_usd")
DRAWS = 2000
LEVEL = 0.95
IN_A_ROW = 3


class Interval(NamedTuple):
    """An estimate and its 95 % bootstrap interval; with a single point both bounds are the estimate."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """One pick against the best of the measured cuts.

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
    """Inter-quartile range over the median."""
    low, median, high = quartiles(values)
    return (high - low) / median


def repeat_error(values: Sequence[float]) -> float:
    """Median error of each value against the median of the others: no predictor of single requests can be better.

    0 where there are fewer than two values.
    """
    if len(values) < 2:
        return 0.0
    others = [float(np.median([*values[:at], *values[at + 1 :]])) for at in range(len(values))]
    return float(np.median([percentage_error(value, other) for value, other in zip(values, others, strict=True)]))


def latency_choice(latency_s: Mapping[int, float], pick: int) -> Choice:
    """A pick where only latency counts.

    Args:
        latency_s: measured, by cut; the pick is among them.
    """
    best = min(latency_s, key=lambda cut: (latency_s[cut], cut))
    return Choice(pick == best, latency_s[pick] / latency_s[best] - 1.0)


def weighted_choice(latency_s: Mapping[int, float], cost_usd: Mapping[int, float], w: float, pick: int) -> Choice:
    """A pick by J = (1 - w) latency + w cost, both min-max scaled over the measured cuts, as in `midcut simulate`.

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
    """A statistic over all values, and its interval when whole groups are resampled with replacement.

    Args:
        groups: values by point, at least one value in all.
        statistic: of an array of values.
    """
    arrays = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    value = statistic(np.concatenate(arrays))
    generator = np.random.default_rng(seed)
    drawn = [
        statistic(np.concatenate([arrays[index] for index in generator.integers(0, len(arrays), len(arrays))]))
        for _ in range(draws)
    ]
    return Interval(float(value), *_bounds(drawn))


def median(values: Floats) -> float:
    return float(np.median(values))


def p95(values: Floats) -> float:
    return float(np.percentile(values, 95))


def mean(values: Floats) -> float:
    return float(np.mean(values))


def part_errors(
    predicted: Sequence[Mapping[str, float]], measured: Sequence[Mapping[str, float]]
) -> dict[str, tuple[float, float, float]]:
    """Prediction error of each part of the latency.

    Args:
        predicted, measured: `edge_s`, `link_s`, `cloud_s` and `latency_s` of the same requests or cuts.

    Returns:
        part -> median of (predicted - measured) / measured latency, median of its absolute value, share of the sum
        of all parts' absolute errors. `other` is what the latency has beside the parts: none of it is predicted.
    """
    errors = {name: np.array([p[name] - m[name] for p, m in zip(predicted, measured, strict=True)]) for name in PARTS}
    errors["other"] = np.array([sum(m[name] for name in PARTS) - m["latency_s"] for m in measured])
    latency = np.array([m["latency_s"] for m in measured])
    total = sum(float(np.abs(values).sum()) for values in errors.values())
    return {
        name.removesuffix("_s"): (
            float(np.median(values / latency)),
            float(np.median(np.abs(values) / latency)),
            float(np.abs(values).sum()) / total if total else 0.0,
        )
        for name, values in errors.items()
    }


def spread_out(items: Sequence[int], count: int) -> list[int]:
    """`count` of the items in their order, both ends among them, as evenly as positions allow."""
    if len(items) <= count:
        return list(items)
    positions = np.linspace(0, len(items) - 1, max(count, 2)).round().astype(int)
    return [items[position] for position in dict.fromkeys(positions.tolist())]


def streak_start(values: Sequence[Any], holds: Callable[[Sequence[Any]], bool], length: int = IN_A_ROW) -> int | None:
    """Where the first `length` values in a row begin for which `holds` is true; None without such a streak."""
    return next((at for at in range(len(values) - length + 1) if holds(values[at : at + length])), None)


def is_within(values: Sequence[float], limit: float) -> bool:
    """Whether the first value and the median are at most the limit."""
    return values[0] <= limit and float(np.median(values)) <= limit


def relative_difference(values: Floats, others: Floats, seed: int = 0) -> Interval:
    """Mean of the values over the mean of the others, less 1; pairs are resampled, those with a NaN left out."""
    known = np.isfinite(values) & np.isfinite(others)
    values, others = values[known], others[known]
    if not len(values):
        return Interval(np.nan, np.nan, np.nan)
    rows = np.random.default_rng(seed).integers(0, len(values), (DRAWS, len(values)))
    drawn = values[rows].mean(axis=1) / others[rows].mean(axis=1) - 1.0
    return Interval(float(values.mean() / others.mean() - 1.0), *_bounds(drawn))


def _bounds(drawn: Sequence[float] | Floats) -> tuple[float, float]:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, (tail, 100 - tail))
    return float(low), float(high)
