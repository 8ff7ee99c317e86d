"""Figures as an evaluation describes them: points, lines, steps and bars; the same name looks the same in all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgba

from midcut.reporting.formatting import as_number
from midcut.reporting.series_style import split_name
from midcut.reporting.series_values import bar_distance, finite_values, to_floats, x_axis
from midcut.reporting.style import MAX_MARKED, legend_above, log_ticks, new_figure, no_fractional_ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.reporting.series_style import SeriesStyle, SeriesStyles
    from midcut.reporting.series_values import XAxis
    from midcut.results import evaluation
    from midcut.results.evaluation import Series
    from midcut.types import Floats

MAX_IN_PANEL = 6
"""Series up to which one panel can be read; more are spread over panels where their names allow."""
MAX_PANELS = 3
MAX_LARGE_DOTS = 40
"""Points of a series up to which its dots are large."""
MAX_WRITTEN = 18
"""Bars up to which their values stand above them."""


@dataclass(frozen=True)
class _Panel:
    """One pair of axes: its heading, and its series with the name and style each has there."""

    title: str
    series: Sequence[tuple[str, Series, SeriesStyle]]


def has_values(figure: evaluation.Figure) -> bool:
    """Whether a figure has anything to draw."""
    return any(y is not None and math.isfinite(y) for series in figure.series for y in series.y)


def draw_evaluation_figure(figure: evaluation.Figure, styles: SeriesStyles) -> Figure:
    """Draw a figure; many series named `this, that` are spread over panels.

    Args:
        figure: a figure for which `has_values` is true.
        styles: gives the style of each series; made from all figures of the evaluation.
    """
    shared_x = x_axis(figure.series)
    panels = _split_into_panels(figure, styles)
    over_time = any(series.kind in {"line", "step"} for series in figure.series)
    stacked = over_time and not figure.diagonal
    rows, columns = (len(panels), 1) if stacked else (1, len(panels))
    height = 1.1 + 2.5 * rows if stacked and rows > 1 else 4.6 if figure.diagonal else 3.7
    drawn, all_axes = new_figure(rows, columns, height, sharex=True, sharey=not stacked)
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw_panel(axes, panel, shared_x)
        axes.set_title(panel.title)
        if axes is all_axes[0] or stacked:
            axes.set_ylabel(figure.y.label)
        if axes is all_axes[-1] or not stacked:
            axes.set_xlabel(figure.x.label)
        _scale_axes(axes, figure, shared_x)
    if figure.diagonal:
        _draw_diagonal(all_axes, figure)
    names = {name for panel in panels for name, _, _ in panel.series}
    if len(names) > 1:
        legend_above(drawn, *all_axes, columns=_legend_columns(names))
    return drawn


def _legend_columns(names: set[str]) -> int:
    """How many columns a legend has: equally long ones where possible."""
    longest = max(map(len, names))
    most = 5 if longest < 16 else 4 if longest < 24 else 3 if longest < 34 else 2
    return math.ceil(len(names) / math.ceil(len(names) / most))


def _split_into_panels(figure: evaluation.Figure, styles: SeriesStyles) -> list[_Panel]:
    """One panel for all series; where they are many, one for each value of the part of their names that has fewer."""
    pairs = [split_name(series.name) for series in figure.series]
    # A first part that all names share is left out, because it distinguishes nothing.
    shared = len({pair[0] for pair in pairs}) == 1 and all(pair[1] for pair in pairs)
    names = [pair[1] if shared else series.name for pair, series in zip(pairs, figure.series, strict=True)]
    whole_styles = [styles.of_series(series.name, figure) for series in figure.series]
    whole = _Panel("", list(zip(names, figure.series, whole_styles, strict=True)))
    firsts, seconds = (list(dict.fromkeys(pair[part] for pair in pairs if pair[1])) for part in (0, 1))
    few = len(figure.series) <= MAX_IN_PANEL or bool(x_axis(figure.series).categories)
    if few or not 1 < min(len(firsts), len(seconds)) <= MAX_PANELS:
        return [whole]
    by = 1 if len(seconds) <= len(firsts) else 0
    rest = [pair[1 - by] if pair[1] else pair[0] for pair in pairs]
    return [
        _Panel(
            value,
            [
                (name, series, styles.of_part(name))
                for pair, name, series in zip(pairs, rest, figure.series, strict=True)
                if not pair[1] or pair[by] == value
            ],
        )
        for value in (seconds if by else firsts)
    ]


def _draw_panel(axes: Axes, panel: _Panel, shared_x: XAxis) -> None:
    bars = [series for _, series, _ in panel.series if series.kind == "bars"]
    points = max((len(series.x) for _, series, _ in panel.series if series.kind == "points"), default=0)
    lines, placed = 0, 0
    for name, series, style in panel.series:
        x, y = shared_x.positions(series), to_floats(series.y)
        bounds = None if series.low is None or series.high is None else (series.low, series.high)
        interval = None if bounds is None else (to_floats(bounds[0]), to_floats(bounds[1]))
        if series.kind == "bars":
            width = 0.8 / len(bars) * (1.0 if shared_x.categories else bar_distance(x))
            offset = (placed - (len(bars) - 1) / 2) * width
            placed += 1
            written = sum(len(bar.x) for bar in bars) <= MAX_WRITTEN
            _draw_bars(axes, name, (x + offset, y, interval), style, width, written=written)
        elif series.kind == "points":
            _draw_points(axes, name, (x, y, interval), style, many=points > MAX_LARGE_DOTS)
        else:
            _draw_line(axes, name, (x, y, interval), style, lines, stepped=series.kind == "step")
            lines += 1


_Data = tuple["Floats", "Floats", "tuple[Floats, Floats] | None"]


def _draw_bars(axes: Axes, name: str, data: _Data, style: SeriesStyle, width: float, *, written: bool) -> None:
    x, y, interval = data
    axes.bar(x, y, width * 0.94, color=style.colour, hatch=style.hatch, edgecolor="white", linewidth=0, label=name)
    top = y
    if interval is not None:
        axes.vlines(x, *interval, color="#333333", linewidth=1.1)
        top = np.where(y < 0.0, interval[0], interval[1])
        top = np.where(np.isfinite(top), top, y)
    for place, value, end in zip(x, y, top, strict=True):
        if written and math.isfinite(value):
            axes.annotate(
                as_number(value, 3).replace("-", "−"), (place, end), (0, -2.5 if value < 0.0 else 2.5),
                textcoords="offset points", ha="center", va="top" if value < 0.0 else "bottom", fontsize=7.5,
            )  # fmt: skip


def _draw_points(axes: Axes, name: str, data: _Data, style: SeriesStyle, *, many: bool) -> None:
    x, y, interval = data
    if interval is not None:
        axes.vlines(x, *interval, color=style.colour, linewidth=1.0, alpha=0.35 if many else 0.6)
    face = to_rgba(style.colour, 0.45 if many else 0.9)
    axes.plot(
        x, y, linestyle="", marker=style.marker, label=name, markersize=style.size * (0.75 if many else 1.1),
        color=style.colour, markerfacecolor="none" if style.hollow else face,
        markeredgecolor=style.colour if style.hollow or many else "white", markeredgewidth=0.9 if style.hollow else 0.5,
    )  # fmt: skip


def _draw_line(axes: Axes, name: str, data: _Data, style: SeriesStyle, place: int, *, stepped: bool) -> None:
    x, y, interval = data
    drawstyle: dict[str, Any] = {"drawstyle": "steps-post"} if stepped else {}
    if interval is not None:
        area: dict[str, Any] = {"step": "post"} if stepped else {}
        axes.fill_between(x, *interval, color=style.colour, alpha=0.16, linewidth=0, **area)
    axes.plot(
        x, y, label=name, color=style.colour, linestyle=style.dash, linewidth=max(1.3, 2.1 - 0.16 * place),
        marker=style.marker if len(x) <= MAX_MARKED else "", markersize=style.size * 0.8,
        **drawstyle,
    )  # fmt: skip


def _scale_axes(axes: Axes, figure: evaluation.Figure, shared_x: XAxis) -> None:
    """Make an axis logarithmic where asked, name its categories, and begin it at 0 where that hides no detail."""
    values = finite_values(figure.series, "y", "low", "high")
    if figure.y.log and (values > 0.0).any():
        axes.set_yscale("log")
        log_ticks(axes.yaxis, values)
    else:
        if any(series.kind == "bars" for series in figure.series):
            axes.axhline(0.0, color="#555555", linewidth=0.9)
            axes.margins(y=0.1)
        no_fractional_ticks(axes.yaxis, values)
        if values.size and values.min() >= 0.0 and (values.min() < 0.5 * values.max() or axes.patches):
            axes.set_ylim(bottom=0.0)
    if shared_x.categories:
        room = max(8, 84 // len(shared_x.categories))
        turned = len(shared_x.categories) > 12
        labels = [name if turned else fill(name, room) for name in shared_x.categories]
        axes.set_xticks(range(len(shared_x.categories)), labels, rotation=90 if turned else 0)
        axes.set_xlim(-0.6, len(shared_x.categories) - 0.4)
        axes.grid(visible=False, axis="x")
        return
    x = to_floats(x for series in figure.series for x in series.x)
    if figure.x.log and (x > 0.0).any():
        axes.set_xscale("log")
        log_ticks(axes.xaxis, x)
    else:
        no_fractional_ticks(axes.xaxis, x)
        axes.margins(x=0.02)


def _draw_diagonal(axes: Sequence[Axes], figure: evaluation.Figure) -> None:
    """Draw the line y = x, and give both axes the same range."""
    values = np.concatenate(
        [to_floats(x for series in figure.series for x in series.x), finite_values(figure.series, "y")]
    )
    values = values[np.isfinite(values)]
    logarithmic = figure.x.log or figure.y.log
    if logarithmic:
        values = values[values > 0.0]
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    ends = (low / 1.25, high * 1.25) if logarithmic else (min(0.0, low * 1.05), high * 1.05 or 1.0)
    line = np.geomspace(*ends, 100) if logarithmic else np.array(ends)
    for panel in axes:
        panel.plot(line, line, color="#555555", linewidth=0.9, linestyle="--", zorder=1)
        panel.set(xlim=ends, ylim=ends)
        if figure.x.log == figure.y.log:
            panel.set_aspect("equal", adjustable="box")
