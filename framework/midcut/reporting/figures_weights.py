"""Latency and cost over the weight w, as in the paper's Figure 7, against one another, and over a swept setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.reporting.formatting import strategy_label
from midcut.reporting.series_selection import (
    FIXED,
    REFERENCES,
    middle_weight,
    planner_names,
    series_at_weight,
    series_over_weights,
)
from midcut.reporting.style import (
    DASHES,
    MAX_MARKED,
    PALETTE,
    SIZES,
    cost_unit,
    from_zero,
    latency_unit,
    legend_above,
    new_figure,
    plain_ticks,
    strategy_colour,
    strategy_marker,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.reporting.style import Unit
    from midcut.reporting.sweep_curves import Curve
    from midcut.results.simulation import Series, Simulation

LOG_RATIO = 8.0
"""Ratio of the largest to the smallest mean from which an axis is logarithmic."""


def draw_weights(simulation: Simulation) -> Figure:
    """Mean latency and mean cost of every planner over w."""
    figure, (latency, cost) = new_figure(1, 2, 3.5)
    time, money = _units(simulation)
    for label, curve, style in _weighted_curves(simulation):
        w = [series.w or 0.0 for series in curve]
        latency.plot(w, [series.latency_s * time.factor for series in curve], label=label, **style)
        cost.plot(w, [series.cost_usd * money.factor for series in curve], **style)
    for label, series, style in _weightless_planners(simulation):
        latency.axhline(series.latency_s * time.factor, label=f"{label} (follows no weight)", **style)
        cost.axhline(series.cost_usd * money.factor, **style)
    latency.set_ylabel(f"mean latency [{time.name}]")
    cost.set_ylabel(f"mean cost [{money.name} per inference]")
    for axes in (latency, cost):
        axes.set(xlabel="weight w [1]   (0: fast, 1: cheap)", xlim=(-0.02, 1.02))
        from_zero(axes)
    legend_above(figure, latency)
    return figure


def draw_tradeoff(simulation: Simulation) -> Figure:
    """Mean cost against mean latency of planners, over w, and of the fixed strategies; and the planners' regret."""
    figure, (plane, regret) = new_figure(1, 2, 3.9)
    time, money = _units(simulation)
    names = planner_names(simulation)
    for label, curve, style in _weighted_curves(simulation):
        latency, cost = ([getattr(each, name) for each in curve] for name in ("latency_s", "cost_usd"))
        plane.plot(
            np.array(latency) * time.factor, np.array(cost) * money.factor, label=label,
            marker=strategy_marker(curve[0].strategy, names), **(style | {"alpha": 0.85}),
        )  # fmt: skip
        known = [(each.w or 0.0, each.objective_regret) for each in curve if each.objective_regret is not None]
        regret.plot([w for w, _ in known], [value * 100 for _, value in known], label=label, **style)
    for series in series_at_weight(simulation, middle_weight(simulation)):
        if series.strategy in (*REFERENCES, *FIXED):
            marker = strategy_marker(series.strategy)
            plane.plot(
                series.latency_s * time.factor, series.cost_usd * money.factor, linestyle="", marker=marker,
                color=strategy_colour(series.strategy), markersize=SIZES.get(marker, 8.0), markeredgecolor="white",
                label=strategy_label(series.strategy), zorder=3,
            )  # fmt: skip
    for label, series, style in _weightless_planners(simulation):
        plane.plot(
            series.latency_s * time.factor, series.cost_usd * money.factor, linestyle="", label=label,
            marker=strategy_marker(series.strategy, names), color=style["color"], markersize=7,
        )  # fmt: skip
    plane.set(xlabel=f"mean latency [{time.name}]", ylabel=f"mean cost [{money.name} per inference]")
    plane.set_title("From fast to cheap")
    regret.set(
        xlabel="weight w [1]", ylabel="mean regret to the oracle\n[% of the objective's range]", xlim=(-0.02, 1.02)
    )
    regret.set_title("What the picks lose")
    regret.set_ylim(bottom=min(0.0, regret.get_ylim()[0]))
    _scale_plane(plane)
    legend_above(figure, plane, columns=5)
    return figure


def _scale_plane(plane: Axes) -> None:
    """Make an axis logarithmic where a far point would squeeze the others together, else begin cost at 0."""
    for name, axis in (("x", plane.xaxis), ("y", plane.yaxis)):
        values = np.concatenate([line.get_data(orig=False)[name == "y"] for line in plane.get_lines()])
        if values.min() > 0.0 and values.max() / values.min() > LOG_RATIO:
            plane.set(**{f"{name}scale": "log"})
            plain_ticks(axis)
        elif name == "y":
            from_zero(plane)


def _weighted_curves(simulation: Simulation) -> list[tuple[str, list[Series], dict[str, Any]]]:
    """Label, series and style of every planner with several weights; curves that coincide can all be seen."""
    names = planner_names(simulation)
    curves = [(name, series_over_weights(simulation, name)) for name in names]
    return [
        (
            strategy_label(name),
            curve,
            {
                "color": strategy_colour(name, names),
                "linestyle": DASHES[place % len(DASHES)],
                "linewidth": max(1.3, 2.8 - 0.5 * place),
                "markersize": 3.5,
            },
        )
        for place, (name, curve) in enumerate((name, curve) for name, curve in curves if len(curve) > 1)
    ]


def _weightless_planners(simulation: Simulation) -> list[tuple[str, Series, dict[str, Any]]]:
    """Label, series and style of every planner that follows no weight."""
    names = planner_names(simulation)
    planners = {each.strategy: each for each in simulation.series if each.planner and each.w is None and not each.dwell}
    return [
        (strategy_label(name), series, {"color": strategy_colour(name, names), "linestyle": ":", "linewidth": 1.6})
        for name, series in planners.items()
    ]


def _units(simulation: Simulation) -> tuple[Unit, Unit]:
    planners = [series for series in simulation.series if series.planner]
    return latency_unit(series.latency_s for series in planners), cost_unit(series.cost_usd for series in planners)


def draw_sweep(setting: str, curves: Sequence[Curve]) -> Figure:
    """Latency and cost of a sweep over the setting that was swept."""
    figure, (latency, cost) = new_figure(1, 2, 3.3 + 0.17 * (len(curves) // 2))
    time = latency_unit(point[1] for curve in curves for point in curve.points)
    money = cost_unit(point[2] for curve in curves for point in curve.points)
    strategies = [curve.strategy for curve in curves]
    by_strategy = all(strategies) and len(set(strategies)) == len(curves)
    for place, curve in enumerate(curves):
        x = [point[0] for point in curve.points]
        style: dict[str, Any] = {
            "color": strategy_colour(curve.strategy, strategies) if by_strategy else PALETTE[place % len(PALETTE)],
            "linestyle": DASHES[(place if by_strategy else place // len(PALETTE)) % len(DASHES)],
            "marker": "." if len(x) <= MAX_MARKED else "",
        }
        latency.plot(x, [point[1] * time.factor for point in curve.points], label=curve.name or None, **style)
        cost.plot(x, [point[2] * money.factor for point in curve.points], **style)
    latency.set(xlabel=setting, ylabel=f"latency [{time.name}]")
    cost.set(xlabel=setting, ylabel=f"cost [{money.name} per inference]")
    for axes in (latency, cost):
        from_zero(axes)
    legend_above(figure, latency, columns=2 if max(len(curve.name) for curve in curves) > 28 else 3)
    return figure
