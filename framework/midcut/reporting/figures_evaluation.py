"""Figures as an evaluation describes them: points, lines, steps and bars, the same name always looking the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.ticker import MaxNLocator

from midcut.reporting.looks import split
from midcut.reporting.placing import floats, numbers, places_of, step
from midcut.reporting.style import legend_above, log_ticks, panels
from midcut.reporting.texts import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from midcut.reporting.looks import Look, Looks
    from midcut.reporting.placing import Places
    from midcut.results import evaluation
    from midcut.results.evaluation import Series
    from midcut.types import Floats

MANY = 6
"""Series up to which one panel can be read; beyond, they are spread over panels where their names allow."""
SPREAD = 3
"""Panels at most."""
MARKED = 40
"""Points up to which every one of a line is marked, and dots are large."""
WRITTEN = 18
"""Bars up to which their values stand above them."""


@dataclass(frozen=True)
class _Panel:
    """One pair of axes: its heading, and its series with the name and look each has there."""

    title: str
    series: Sequence[tuple[str, Series, Look]]


def draws(figure: evaluation.Figure) -> bool:
    """Whether it has anything to draw."""
    return any(y is not None and math.isfinite(y) for series in figure.series for y in series.y)


def draw_evaluation(figure: evaluation.Figure, looks: Looks) -> Figure:
    """Draw a figure; series named `this, that` are spread over panels where there are many.

    Args:
        figure: one that `draws`.
        looks: of all names in the evaluation.
    """
    places = places_of(figure.series)
    shown = _spread(figure, looks)
    over_time = any(series.kind in {"line", "step"} for series in figure.series)
    stacked = over_time and not figure.diagonal
    rows, columns = (len(shown), 1) if stacked else (1, len(shown))
    height = 1.1 + 2.5 * rows if stacked and rows > 1 else 4.6 if figure.diagonal else 3.7
    drawn, axes = panels(rows, columns, height, sharex=True, sharey=not stacked)
    for one, panel in zip(axes, shown, strict=True):
        _panel(one, panel, places)
        one.set_title(panel.title)
        if one is axes[0] or stacked:
            one.set_ylabel(figure.y.label)
        if one is axes[-1] or not stacked:
            one.set_xlabel(figure.x.label)
        _scale(one, figure, places)
    if figure.diagonal:
        _diagonal(axes, figure)
    names = [name for panel in shown for name, _, _ in panel.series]
    if len(set(names)) > 1:
        legend_above(drawn, *axes, columns=_columns(list(set(names))))
    return drawn


def _columns(names: Sequence[str]) -> int:
    """Columns of a legend, all equally long if they can be."""
    longest = max(map(len, names))
    most = 5 if longest < 16 else 4 if longest < 24 else 3 if longest < 34 else 2
    return math.ceil(len(names) / math.ceil(len(names) / most))


def _spread(figure: evaluation.Figure, looks: Looks) -> list[_Panel]:
    """One panel, or one per kind: along whichever half of the names has fewer kinds."""
    halves = [split(series.name) for series in figure.series]
    shared = len({half[0] for half in halves}) == 1 and all(half[1] for half in halves)  # what all say tells nothing
    names = [half[1] if shared else one.name for half, one in zip(halves, figure.series, strict=True)]
    looked = [looks.of(one.name, figure) for one in figure.series]
    whole = _Panel("", list(zip(names, figure.series, looked, strict=True)))
    heads, tails = (list(dict.fromkeys(half[part] for half in halves if half[1])) for part in (0, 1))
    if len(figure.series) <= MANY or not 1 < min(len(heads), len(tails)) <= SPREAD or places_of(figure.series).names:
        return [whole]
    by = 1 if len(tails) <= len(heads) else 0
    return [
        _Panel(
            kind,
            [
                (half[1 - by] if half[1] else half[0], one, looks.one(half[1 - by] if half[1] else half[0]))
                for half, one in zip(halves, figure.series, strict=True)
                if not half[1] or half[by] == kind
            ],
        )
        for kind in (tails if by else heads)
    ]


def _panel(axes: Axes, panel: _Panel, places: Places) -> None:
    bars = [series for _, series, _ in panel.series if series.kind == "bars"]
    points = max((len(series.x) for _, series, _ in panel.series if series.kind == "points"), default=0)
    lines, placed = 0, 0
    for name, series, look in panel.series:
        x, y = places.of(series), floats(series.y)
        interval = None if series.low is None or series.high is None else (floats(series.low), floats(series.high))
        if series.kind == "bars":
            width = 0.8 / len(bars) * (1.0 if places.names else step(x))
            offset = (placed - (len(bars) - 1) / 2) * width
            placed += 1
            written = sum(len(one.x) for one in bars) <= WRITTEN
            _bars(axes, name, (x + offset, y, interval), look, width, written=written)
        elif series.kind == "points":
            _points(axes, name, (x, y, interval), look, many=points > MARKED)
        else:
            _line(axes, name, (x, y, interval), look, lines, stepped=series.kind == "step")
            lines += 1


_Data = tuple["Floats", "Floats", "tuple[Floats, Floats] | None"]


def _bars(axes: Axes, name: str, data: _Data, look: Look, width: float, *, written: bool) -> None:
    x, y, interval = data
    axes.bar(x, y, width * 0.94, color=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0, label=name)
    top = y
    if interval is not None:
        axes.vlines(x, *interval, color="#333333", linewidth=1.1)
        top = np.where(y < 0.0, interval[0], interval[1])
        top = np.where(np.isfinite(top), top, y)
    for place, value, end in zip(x, y, top, strict=True):
        if written and math.isfinite(value):
            axes.annotate(
                number(value, 3).replace("-", "−"), (place, end), (0, -2.5 if value < 0.0 else 2.5),
                textcoords="offset points", ha="center", va="top" if value < 0.0 else "bottom", fontsize=7.5,
            )  # fmt: skip


def _points(axes: Axes, name: str, data: _Data, look: Look, *, many: bool) -> None:
    x, y, interval = data
    if interval is not None:
        axes.vlines(x, *interval, color=look.colour, linewidth=1.0, alpha=0.35 if many else 0.6)
    face = to_rgba(look.colour, 0.45 if many else 0.9)
    axes.plot(
        x, y, linestyle="", marker=look.marker, label=name, markersize=look.size * (0.75 if many else 1.1),
        color=look.colour, markerfacecolor="none" if look.hollow else face,
        markeredgecolor=look.colour if look.hollow or many else "white", markeredgewidth=0.9 if look.hollow else 0.5,
    )  # fmt: skip


def _line(axes: Axes, name: str, data: _Data, look: Look, place: int, *, stepped: bool) -> None:
    x, y, interval = data
    drawstyle: dict[str, Any] = {"drawstyle": "steps-post"} if stepped else {}
    if interval is not None:
        area: dict[str, Any] = {"step": "post"} if stepped else {}
        axes.fill_between(x, *interval, color=look.colour, alpha=0.16, linewidth=0, **area)
    axes.plot(
        x, y, label=name, color=look.colour, linestyle=look.dash, linewidth=max(1.3, 2.1 - 0.16 * place),
        marker=look.marker if len(x) <= MARKED else "", markersize=look.size * 0.8,
        **drawstyle,
    )  # fmt: skip


def _scale(axes: Axes, figure: evaluation.Figure, places: Places) -> None:
    """Logarithmic where asked; names at their places; from 0 where that costs no detail."""
    values = numbers(figure.series, "y", "low", "high")
    if figure.y.log and (values > 0.0).any():
        axes.set_yscale("log")
        log_ticks(axes.yaxis, values)
    else:
        if any(series.kind == "bars" for series in figure.series):
            axes.axhline(0.0, color="#555555", linewidth=0.9)
            axes.margins(y=0.1)
        _whole(axes.yaxis, values)
        if values.size and values.min() >= 0.0 and (values.min() < 0.5 * values.max() or axes.patches):
            axes.set_ylim(bottom=0.0)
    if places.names:
        room = max(8, 84 // len(places.names))
        turned = len(places.names) > 12
        written = [name if turned else fill(name, room) for name in places.names]
        axes.set_xticks(range(len(places.names)), written, rotation=90 if turned else 0)
        axes.set_xlim(-0.6, len(places.names) - 0.4)
        axes.grid(visible=False, axis="x")
        return
    x = floats(x for series in figure.series for x in series.x)
    if figure.x.log and (x > 0.0).any():
        axes.set_xscale("log")
        log_ticks(axes.xaxis, x)
    else:
        _whole(axes.xaxis, x)
        axes.margins(x=0.02)


def _whole(axis: Axis, values: Floats) -> None:
    """No ticks between whole numbers where there is nothing else."""
    if (np.isnan(values) | (values == np.round(values))).all():
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def _diagonal(axes: Sequence[Axes], figure: evaluation.Figure) -> None:
    """Where both are the same; both axes over the same range."""
    values = np.concatenate([floats(x for series in figure.series for x in series.x), numbers(figure.series, "y")])
    values = values[np.isfinite(values)]
    logarithmic = figure.x.log or figure.y.log
    if logarithmic:
        values = values[values > 0.0]
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    ends = (low / 1.25, high * 1.25) if logarithmic else (min(0.0, low * 1.05), high * 1.05 or 1.0)
    line = np.geomspace(*ends, 100) if logarithmic else np.array(ends)
    for one in axes:
        one.plot(line, line, color="#555555", linewidth=0.9, linestyle="--", zorder=1)
        one.set(xlim=ends, ylim=ends)
        if figure.x.log == figure.y.log:
            one.set_aspect("equal", adjustable="box")
