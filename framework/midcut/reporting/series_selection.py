"""Selects the series of a simulation that a figure or a table shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut.reporting.formatting import strategy_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midcut.results.simulation import Series, Simulation

REFERENCES = ("latency_optimal", "cost_optimal")
FIXED = ("edge_only", "cloud_only", "static_best", "oracle")


def middle_weight(simulation: Simulation) -> float | None:
    """The weight nearest to 0.5, at which tables and per-sample figures are shown; None without weights."""
    return nearest_to_middle(simulation.weights)


def nearest_to_middle(weights: Iterable[float]) -> float | None:
    """The weight nearest to 0.5, the smaller one of two; None without weights."""
    return min(weights, key=lambda w: (abs(w - 0.5), w), default=None)


def series_at_weight(simulation: Simulation, w: float | None, dwell: int = 0) -> list[Series]:
    """Each strategy's series at a weight: references first, then planners, then fixed strategies.

    Strategies that follow no weight, and the references, are among them.
    """
    series: dict[str, Series] = {}
    for each in simulation.series:
        if each.dwell == dwell and (each.strategy in REFERENCES or each.w is None or each.w == w):
            series.setdefault(each.strategy, each)
    return sorted(series.values(), key=_sort_key)


def series_over_weights(simulation: Simulation, strategy: str, dwell: int = 0) -> list[Series]:
    """A strategy's series at all its weights, in order of the weight."""
    weighted = [
        series
        for series in simulation.series
        if series.strategy == strategy and series.dwell == dwell and series.w is not None
    ]
    return sorted(weighted, key=lambda series: series.w or 0.0)


def planner_names(simulation: Simulation) -> list[str]:
    """Names of the planners, in the order in which the simulation file lists them."""
    return list(dict.fromkeys(series.strategy for series in simulation.series if series.planner))


def distinct_series(series: Iterable[Series]) -> dict[str, Series]:
    """Series to draw in figures per sample, by label; strategies with equal picks in every sample share one."""
    groups: dict[tuple[tuple[int | str, ...], ...], list[Series]] = {}
    for each in series:
        if each.picks and (each.planner or each.strategy in REFERENCES):
            groups.setdefault((each.picks, each.codecs, each.second_picks, each.second_codecs), []).append(each)
    return {" = ".join(strategy_label(each.strategy) for each in group): group[0] for group in groups.values()}


def _sort_key(series: Series) -> tuple[int, int]:
    if series.strategy in REFERENCES:
        return 0, REFERENCES.index(series.strategy)
    if series.planner:
        return 1, 0
    return 2, FIXED.index(series.strategy) if series.strategy in FIXED else len(FIXED)
