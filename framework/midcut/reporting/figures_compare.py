"""Figures that compare by dots and intervals: strategies, claims, planners, policies, predictors, dwell."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import MaxNLocator

from midcut.reporting.formatting import strategy_label
from midcut.reporting.style import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    PALETTE,
    RED,
    SIZES,
    YELLOW,
    legend_above,
    new_figure,
    plain_ticks,
    strategy_colour,
    strategy_marker,
)
from midcut.reporting.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.reporting.verdicts import ReproductionRow

ROW_HEIGHT = 0.26
"""Height of a row of dots, inches."""
VERDICT_COLOURS = {
    Verdict.reproduced: GREEN,
    Verdict.one_seed: YELLOW,
    Verdict.other_seed: BLUE,
    Verdict.shape: GREY,
    Verdict.missed: RED,
}
_GROUP_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")


@dataclass(frozen=True)
class Dot:
    """A value, and the interval it lies in where one is known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        dots: group -> a dot, or None, for each row of the figure.
        reference: the value that means "no difference", drawn as a line.
        log: whether the axis is logarithmic.
    """

    title: str
    unit: str
    dots: Mapping[str, Sequence[Dot | None]]
    reference: float | None = None
    log: bool = False


def draw_dots(rows: Sequence[str], panels: Sequence[Panel], strategies: Sequence[str] = ()) -> Figure:
    """Panels side by side with the same rows.

    Args:
        rows: names of the rows, from top to bottom.
        panels: the panels, from left to right.
        strategies: of the rows, for their colours; empty where colours tell the groups apart.
    """
    groups = list(dict.fromkeys(name for panel in panels for name in panel.dots))
    height = (
        1.15
        + (ROW_HEIGHT + 0.12 * any(len(row) > 30 for row in rows)) * len(rows) * max(1.0, 0.62 * len(groups))
        + (0.25 if len(groups) > 1 else 0.0)
    )
    figure, all_axes = new_figure(1, len(panels), height, sharey=True)
    for panel, axes in zip(panels, all_axes, strict=True):
        for place, group in enumerate(groups):
            offset = (place - (len(groups) - 1) / 2) * min(0.3, 0.7 / len(groups))
            for row, dot in enumerate(panel.dots.get(group, ())):
                if dot is not None:
                    colour = strategy_colour(strategies[row], strategies) if strategies else PALETTE[place % 8]
                    marker = strategy_marker(strategies[row], strategies) if strategies else _GROUP_MARKERS[place % 8]
                    if panel.reference is None:
                        axes.plot([0.0, dot.value], [row + offset] * 2, color=colour, linewidth=1.2, alpha=0.6)
                    _draw_dot(axes, row + offset, dot, colour, marker)
                    if panel.reference is None and len(groups) == 1:
                        axes.annotate(
                            f"{dot.value:.3g}", (dot.value, row), (7, 0), textcoords="offset points", va="center"
                        )
            if len(groups) > 1:
                axes.plot([], [], linestyle="", marker=_GROUP_MARKERS[place % 8], color=PALETTE[place % 8], label=group)
        _draw_frame(axes, panel)
    all_axes[0].set_yticks(range(len(rows)), [fill(row, 30) for row in rows])
    all_axes[0].set_ylim(len(rows) - 0.4, -0.6)
    if len(groups) > 1:
        legend_above(figure, all_axes[0], columns=2 if max(map(len, groups)) > 34 else 3)
    return figure


def _draw_dot(axes: Axes, y: float, dot: Dot, colour: str, marker: str) -> None:
    if dot.low is not None and dot.high is not None:
        axes.plot([dot.low, dot.high], [y, y], color=colour, linewidth=3.2, alpha=0.35, solid_capstyle="butt")
    size = SIZES.get(marker, 6.0)
    axes.plot(
        dot.value, y, linestyle="", marker=marker, color=colour, markersize=size, markeredgecolor="white",
        markeredgewidth=0.6,
        clip_on=False,
    )  # fmt: skip


def _draw_frame(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title)
    axes.set_xlabel(panel.unit)
    if panel.reference is not None:
        axes.axvline(panel.reference, color="#555555", linewidth=0.9, linestyle="--", zorder=0)
    if panel.log:
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        if panel.reference is None:
            top = max((dot.value for row in panel.dots.values() for dot in row if dot), default=0.0) or 1.0
            axes.set_xlim(0.0, top * (1.3 if len(panel.dots) == 1 else 1.08))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def ratio_panel(title: str, unit: str, dots: Mapping[str, Sequence[Dot | None]]) -> Panel:
    """A panel of ratios, with a line at 1; its axis is logarithmic where they span more than a factor of four."""
    ends = [(dot.value, dot.low, dot.high) for row in dots.values() for dot in row if dot]
    values = [value for dot in ends for value in dot if value is not None]
    wide = bool(values) and min(values) > 0.0 and max(values) / min(values) > 4.0
    return Panel(title, unit, dots, reference=1.0, log=wide)


def draw_claims(rows: Sequence[ReproductionRow]) -> Figure:
    """Published numbers (diamonds) beside the simulated ones (dots), with the interval of other seeds."""
    figure, (axes,) = new_figure(1, 1, 1.2 + 0.36 * len(rows))
    low, high = _claims_range(rows)
    for y, row in enumerate(rows):
        _point_outside(axes, y, row, low, high)
        colour = VERDICT_COLOURS[row.verdict]
        if row.population is not None:
            axes.plot([row.population.p5, row.population.p95], [y, y], color=colour, linewidth=6, alpha=0.35,
                      solid_capstyle="butt")  # fmt: skip
            axes.plot(row.population.mean, y, "|", color=colour, markersize=11, markeredgewidth=1.8)
        if row.simulated is not None:
            axes.plot(row.simulated, y, "o", color=colour, markersize=6.5, markeredgecolor="white")
        if row.published is not None:
            axes.plot(row.published, y, "D", color="black", markerfacecolor="none", markersize=8, markeredgewidth=1.2)
    axes.plot([], [], "D", color="black", markerfacecolor="none", markersize=8, label="published")
    axes.plot([], [], "o", color="#555555", markersize=6.5, label="chosen seed")
    axes.plot([], [], color="#555555", linewidth=6, alpha=0.35, label="other seeds, 5–95 %")
    axes.plot([], [], "|", color="#555555", markersize=11, markeredgewidth=1.8, label="their mean")
    for verdict in dict.fromkeys(row.verdict for row in rows):
        axes.plot([], [], "s", color=VERDICT_COLOURS[verdict], markersize=8, label=verdict.value)
    axes.axvline(0.0, color="#555555", linewidth=0.9)
    axes.set_yticks(range(len(rows)), [f"{row.where}: {row.what}" for row in rows])
    axes.set(xlabel="difference between means [%]", ylim=(len(rows) - 0.4, -0.6), xlim=(low, high))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    legend_above(figure, axes, columns=4)
    return figure


_USUAL_SHARE: Final = 0.85
_ROOM: Final = 1.5


def _claims_range(rows: Sequence[ReproductionRow]) -> tuple[float, float]:
    """The range of the axis: that of most numbers, so that a few far ones do not squeeze them together."""
    values = sorted(value for row in rows for value in _claim_values(row))
    if not values:
        return -1.0, 1.0
    sizes = sorted(map(abs, values))
    usual = _ROOM * sizes[int(_USUAL_SHARE * (len(sizes) - 1))]
    low = max(values[0], -usual) if usual else values[0]
    high = min(values[-1], usual) if usual else values[-1]
    room = 0.06 * max(high - low, 1.0)
    return min(low, 0.0) - room, max(high, 0.0) + room


def _claim_values(row: ReproductionRow) -> list[float]:
    population = () if row.population is None else (row.population.p5, row.population.p95)
    return [value for value in (row.published, row.simulated, *population) if value is not None]


def _point_outside(axes: Axes, y: int, row: ReproductionRow, low: float, high: float) -> None:
    """Write the numbers that are outside the axis at its end, with an arrow towards them."""
    named = (("published", row.published), ("chosen seed", row.simulated))
    for right in (False, True):
        far = [(name, value) for name, value in named if value is not None and (value > high if right else value < low)]
        if far:
            text = ", ".join(f"{name} {value:+,.0f} %" for name, value in far)
            axes.annotate(
                f"{text} →" if right else f"← {text}", (high if right else low, y), fontsize=8,
                ha="right" if right else "left", va="center",
            )  # fmt: skip


def draw_dwell(curves: Mapping[str, Sequence[tuple[int, float, float, float]]]) -> Figure:
    """Switches per 100 samples, and the change of mean latency and cost in percent, over the dwell.

    Args:
        curves: planner -> (dwell, switches, latency change, cost change), dwell ascending.
    """
    figure, axes = new_figure(1, 3, 3.2)
    names = ("switches per 100 samples", "mean latency [change in %]", "mean cost [change in %]")
    for place, (strategy, rows) in enumerate(curves.items()):
        table = np.array(rows)
        for column, panel in enumerate(axes, start=1):
            panel.plot(
                table[:, 0], table[:, column], marker=strategy_marker(strategy, list(curves)),
                color=strategy_colour(strategy, list(curves)), label=strategy_label(strategy),
                linestyle=DASHES[place % len(DASHES)], linewidth=max(1.3, 2.8 - 0.5 * place), clip_on=False,
            )  # fmt: skip
    for name, panel in zip(names, axes, strict=True):
        panel.set(xlabel="dwell [planning steps]", ylabel=name)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylim(0, None)
    legend_above(figure, axes[0])
    return figure
