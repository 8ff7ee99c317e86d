"""Which of a simulation's series a figure or a table is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut.reporting.texts import label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midcut.results.simulation import Series, Simulation

REFERENCES = ("latency_optimal", "cost_optimal")
FIXED = ("edge_only", "cloud_only", "static_best", "oracle")


def middle(simulation: Simulation) -> float | None:
    """The weight that tables and per-sample figures are shown at: the one nearest to 0.5."""
    return min(simulation.weights, key=lambda w: (abs(w - 0.5), w), default=None)


def at_weight(simulation: Simulation, w: float | None, dwell: int = 0) -> list[Series]:
    """Every strategy once: at the weight where it follows one. References, then planners, then the fixed ones."""
    found: dict[str, Series] = {}
    for one in simulation.series:
        if one.dwell == dwell and (one.strategy in REFERENCES or one.w is None or one.w == w):
            found.setdefault(one.strategy, one)
    return sorted(found.values(), key=_order)


def planners(simulation: Simulation) -> list[str]:
    """Names of the planners, in the order of the file."""
    return list(dict.fromkeys(one.strategy for one in simulation.series if one.planner))


def compared(series: Iterable[Series]) -> dict[str, Series]:
    """What per-sample figures show: the two references and the planners; equal sequences of picks under one name."""
    names: dict[tuple[tuple[int, ...], tuple[str, ...]], list[Series]] = {}
    for one in series:
        if one.picks and (one.planner or one.strategy in REFERENCES):
            names.setdefault((one.picks, one.codecs), []).append(one)
    return {" = ".join(label(one.strategy) for one in group): group[0] for group in names.values()}


def _order(series: Series) -> tuple[int, int]:
    if series.strategy in REFERENCES:
        return 0, REFERENCES.index(series.strategy)
    if series.planner:
        return 1, 0
    return 2, FIXED.index(series.strategy) if series.strategy in FIXED else len(FIXED)
