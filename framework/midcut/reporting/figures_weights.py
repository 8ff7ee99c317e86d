"""What the weight does: latency and cost over w as in the paper's Figure 7, and the way from fast to cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.reporting.selection import FIXED, REFERENCES, at_weight, middle, planners
from midcut.reporting.style import (
    DASHES,
    PALETTE,
    SIZES,
    colour,
    dollars,
    legend_above,
    marker,
    panels,
    plain_ticks,
    seconds,
)
from midcut.reporting.texts import label
from midcut.reporting.verdicts import over_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.reporting.curves import Curve
    from midcut.results.simulation import Series, Simulation

FAR = 8.0
"""Ratio of the largest to the smallest mean from which an axis is logarithmic."""


def draw_weights(simulation: Simulation) -> Figure:
    """Mean latency and mean cost of every planner over w."""
    figure, (latency, cost) = panels(1, 2, 3.5)
    time, money = _units(simulation)
    for name, curve, look in _curves(simulation):
        x = [one.w or 0.0 for one in curve]
        latency.plot(x, [one.latency_s * time.factor for one in curve], label=name, **look)
        cost.plot(x, [one.cost_usd * money.factor for one in curve], **look)
    for name, one, look in _unweighted(simulation):
        latency.axhline(one.latency_s * time.factor, label=f"{name} (follows no weight)", **look)
        cost.axhline(one.cost_usd * money.factor, **look)
    latency.set(ylabel=f"mean latency [{time.name}]")
    cost.set(ylabel=f"mean cost [{money.name} per inference]")
    for axes in (latency, cost):
        axes.set(xlabel="weight w [1]   (0: fast, 1: cheap)", xlim=(-0.02, 1.02), ylim=(0, None))
    legend_above(figure, latency)
    return figure


def draw_tradeoff(simulation: Simulation) -> Figure:
    """Mean cost against mean latency: every planner's way over w, and where the fixed strategies stand."""
    figure, (plane, regret) = panels(1, 2, 3.9)
    time, money = _units(simulation)
    for name, curve, look in _curves(simulation):
        x, y = _points(curve, time.factor), [one.cost_usd * money.factor for one in curve]
        plane.plot(x, y, label=name, marker=marker(curve[0].strategy, planners(simulation)), **(look | {"alpha": 0.85}))
        known = [(one.w or 0.0, one.objective_regret) for one in curve if one.objective_regret is not None]
        regret.plot([w for w, _ in known], [value * 100 for _, value in known], label=name, **look)
    for one in at_weight(simulation, middle(simulation)):
        if one.strategy in (*REFERENCES, *FIXED):
            _stand(plane, one, time.factor, money.factor)
    for name, one, look in _unweighted(simulation):
        plane.plot(
            one.latency_s * time.factor, one.cost_usd * money.factor, linestyle="", label=name,
            marker=marker(one.strategy, planners(simulation)), color=look["color"], markersize=7,
        )  # fmt: skip
    plane.set(xlabel=f"mean latency [{time.name}]", ylabel=f"mean cost [{money.name} per inference]")
    plane.set_title("The way from fast to cheap")
    regret.set(
        xlabel="weight w [1]", ylabel="mean regret to the oracle\n[% of the objective's range]", xlim=(-0.02, 1.02)
    )
    regret.set_title("What the picks lose")
    regret.set_ylim(bottom=min(0.0, regret.get_ylim()[0]))
    _stretch(plane)
    legend_above(figure, plane, columns=5)
    return figure


def _stretch(plane: Axes) -> None:
    """Start both axes at 0, or make one logarithmic where a far point would squeeze the others together."""
    for name, axis in (("x", plane.xaxis), ("y", plane.yaxis)):
        values = np.concatenate([line.get_data(orig=False)[name == "y"] for line in plane.get_lines()])
        if values.min() > 0.0 and values.max() / values.min() > FAR:
            plane.set(**{f"{name}scale": "log"})
            plain_ticks(axis)
        elif name == "y":
            plane.set_ylim(bottom=0.0)


def _stand(plane: Axes, one: Series, latency: float, cost: float) -> None:
    shape = marker(one.strategy)
    plane.plot(
        one.latency_s * latency, one.cost_usd * cost, linestyle="", marker=shape, color=colour(one.strategy),
        markersize=SIZES.get(shape, 8.0), markeredgecolor="white", label=label(one.strategy), zorder=3,
    )  # fmt: skip


def _curves(simulation: Simulation) -> list[tuple[str, list[Series], dict[str, Any]]]:
    """Every planner that was asked at several weights; where curves coincide, all can be seen."""
    names = planners(simulation)
    curves = [(name, over_weights(simulation, name)) for name in names]
    drawn = [(name, curve) for name, curve in curves if len(curve) > 1]
    return [
        (
            label(name),
            curve,
            {
                "color": colour(name, names),
                "linestyle": DASHES[place % len(DASHES)],
                "linewidth": max(1.3, 2.8 - 0.5 * place),
                "markersize": 3.5,
            },
        )
        for place, (name, curve) in enumerate(drawn)
    ]


def _unweighted(simulation: Simulation) -> list[tuple[str, Series, dict[str, Any]]]:
    """Planners that follow no weight."""
    names = planners(simulation)
    found = {one.strategy: one for one in simulation.series if one.planner and one.w is None and not one.dwell}
    return [
        (label(name), one, {"color": colour(name, names), "linestyle": ":", "linewidth": 1.6})
        for name, one in found.items()
    ]


def _points(curve: list[Series], factor: float) -> list[float]:
    return [one.latency_s * factor for one in curve]


def _units(simulation: Simulation) -> tuple[Any, Any]:
    curves = [one for one in simulation.series if one.planner]
    return seconds(one.latency_s for one in curves), dollars(one.cost_usd for one in curves)


def draw_curves(knob: str, lines: Sequence[Curve]) -> Figure:
    """A sweep's latency and cost over the knob that was swept."""
    figure, (latency, cost) = panels(1, 2, 3.3 + 0.17 * (len(lines) // 2))
    time = seconds(point[1] for line in lines for point in line.points)
    money = dollars(point[2] for line in lines for point in line.points)
    strategies = [line.strategy for line in lines]
    own = all(strategies) and len(set(strategies)) == len(lines)
    for place, line in enumerate(lines):
        x = [point[0] for point in line.points]
        look: dict[str, Any] = {
            "color": colour(line.strategy, strategies) if own else PALETTE[place % len(PALETTE)],
            "linestyle": DASHES[(place if own else place // len(PALETTE)) % len(DASHES)],
            "marker": "." if len(x) <= 40 else "",
        }
        latency.plot(x, [point[1] * time.factor for point in line.points], label=line.name or None, **look)
        cost.plot(x, [point[2] * money.factor for point in line.points], **look)
    latency.set(xlabel=knob, ylabel=f"latency [{time.name}]", ylim=(0, None))
    cost.set(xlabel=knob, ylabel=f"cost [{money.name} per inference]", ylim=(0, None))
    legend_above(figure, latency, columns=2 if max(len(line.name) for line in lines) > 28 else 3)
    return figure
