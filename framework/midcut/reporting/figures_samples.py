"""Latency, cost and cut of every strategy on every sample, as in the paper's Figures 5 and 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from midcut.reporting.series_selection import distinct_series, middle_weight, series_at_weight
from midcut.reporting.style import (
    DARK_CYAN,
    MAX_MARKED,
    YELLOW,
    Unit,
    add_clock_axis,
    cost_unit,
    from_zero,
    latency_unit,
    legend_above,
    new_figure,
    strategy_colour,
    strategy_dash,
    strategy_marker,
    whole_ticks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.results.simulation import Series, Simulation
    from midcut.types import Floats

MAX_BARS = 30
"""Samples up to which each has bars of its own; of more, the distribution is drawn."""
_FIELDS = {
    "clock_mhz": ("clock [MHz]", 1.0),
    "bandwidth_kbps": ("bandwidth [Mbit/s]", 1e-3),
    "ping_ms": ("ping [ms]", 1.0),
}


@dataclass(frozen=True)
class _StrategyCurve:
    """One strategy, in the figure's units.

    Attributes:
        label: text of the curve in the legend.
        picks: the picked cut of each sample, or the number of the picked placement.
        time_s: when each request arrived, where every strategy has times of its own; else empty.
        style: arguments of matplotlib's `plot`.
    """

    label: str
    latency: Floats
    cost: Floats
    picks: tuple[int, ...]
    style: dict[str, Any]
    marker: str
    time_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class _SampleFigure:
    """The content of one figure.

    Attributes:
        placements: names of the placements that picks are numbers of; empty where picks are cuts, without codecs and
            second cuts.
    """

    simulation: Simulation
    curves: tuple[_StrategyCurve, ...]
    latency: Unit
    cost: Unit
    placements: tuple[str, ...]

    @property
    def pick_axis(self) -> str:
        if any(series.second_picks for series in self.simulation.series):
            return "cuts of both hops"
        return "cut and codec" if self.placements else "cut"

    def pick_label(self, pick: int) -> str:
        return self.placements[pick] if self.placements else str(pick)

    def side_by_side(self) -> Iterator[tuple[float, _StrategyCurve]]:
        """Every strategy with the offset at which its bars stand beside those of the others."""
        for number, curve in enumerate(self.curves):
            yield (number - (len(self.curves) - 1) / 2) * self.bar_width, curve

    @property
    def bar_width(self) -> float:
        return 0.8 / len(self.curves)


def draw_samples(simulation: Simulation) -> tuple[Figure, str] | None:
    """Draw latency, cost and cut per sample at the middle weight.

    Returns:
        the figure and its caption; None where the file has no picks of single samples.
    """
    w = middle_weight(simulation)
    series = distinct_series(series_at_weight(simulation, w))
    if not series:
        return None
    content = _sample_figure(simulation, series)
    at = "" if w is None else f" at w = {w:g}"
    swept = swept_field(simulation)
    if simulation.time_s:
        return _draw_lines(content, np.array(simulation.time_s), "time [s]"), f"Over the recorded trace{at}."
    if swept:
        name, factor = _FIELDS[swept]
        x = np.array(getattr(simulation, swept)) * factor
        return _draw_lines(content, x, name), f"Over the {name.partition(' ')[0]}{at}; all else is constant."
    if simulation.samples <= MAX_BARS:
        return _draw_bars(content), f"All {simulation.samples} samples of the chosen seed{at}."
    return _draw_distributions(content), (
        f"Distribution over the {simulation.samples:,} samples of the chosen seed{at}: "
        f"share of samples at or below a latency or a cost, and share of samples per {content.pick_axis}."
    )


def swept_field(simulation: Simulation) -> str | None:
    """The one telemetry field that rises (or falls) from sample to sample while the others are constant."""
    columns = {name: np.array(getattr(simulation, name)) for name in _FIELDS}
    varying = [name for name, values in columns.items() if len(values) > 2 and np.ptp(values) > 0.0]
    if len(varying) != 1:
        return None
    change = np.diff(columns[varying[0]])
    return varying[0] if bool((change > 0.0).all() or (change < 0.0).all()) else None


def _sample_figure(simulation: Simulation, by_label: dict[str, Series]) -> _SampleFigure:
    latency = latency_unit(value for series in by_label.values() for value in series.sample_latency_s)
    cost = cost_unit(value for series in by_label.values() for value in series.sample_cost_usd)
    strategies = [series.strategy for series in by_label.values()]
    named = any(series.codecs or series.second_picks for series in by_label.values())
    placed = {label: _placements_of(series) for label, series in by_label.items()} if named else {}
    every = sorted({placement for each in placed.values() for placement in each})
    index_of = {placement: index for index, placement in enumerate(every)}
    curves = [
        _StrategyCurve(
            label,
            np.array(series.sample_latency_s) * latency.factor,
            np.array(series.sample_cost_usd) * cost.factor,
            tuple(index_of[placement] for placement in placed[label]) if named else series.picks,
            {
                "color": strategy_colour(series.strategy, strategies),
                "linestyle": strategy_dash(series.strategy, strategies),
                "linewidth": 2.4 - 0.3 * min(number, 5),
            },
            strategy_marker(series.strategy, strategies),
            () if series.over_trace is None else series.over_trace.time_s,
        )
        for number, (label, series) in enumerate(by_label.items())
    ]
    names = tuple(_placement_name(placement) for placement in index_of)
    return _SampleFigure(simulation, tuple(curves), latency, cost, names)


def _placements_of(series: Series) -> list[tuple[int | str, ...]]:
    """Cut, codec, second cut and second codec of every pick, as far as the file has them."""
    columns = (series.picks, series.codecs, series.second_picks, series.second_codecs)
    return list(zip(*(column for column in columns if column), strict=True))


def _placement_name(placement: tuple[int | str, ...]) -> str:
    """E.g. `3`, `3 zstd`, `3, 9` or `3 zstd, 9 raw`."""
    text = "".join(f" {part}" if isinstance(part, str) else f", {part}" for part in placement)
    return text.removeprefix(", ")


def _draw_lines(content: _SampleFigure, x: Floats, name: str) -> Figure:
    timed = bool(content.simulation.time_s)
    heights = (0.75, 1, 1, 1) if timed else (1, 1, 1)
    figure, axes = new_figure(len(heights), 1, 8.0 if timed else 6.2, sharex=True, height_ratios=heights)
    if timed:
        _draw_observations(axes[0], content.simulation, x)
    latency_axes, cost_axes, cut_axes = axes[-3:]
    steps = {"drawstyle": "steps-post"} if timed else {}
    for curve in content.curves:
        style = curve.style | steps | ({"marker": curve.marker} if len(x) <= MAX_MARKED else {})
        at = np.array(curve.time_s) if curve.time_s else x
        latency_axes.plot(at, curve.latency, label=curve.label, **style)
        cost_axes.plot(at, curve.cost, **style)
        cut_axes.plot(at, curve.picks, **style)
    _name_axes(content, latency_axes, cost_axes, cut_axes)
    cut_axes.set_xlabel(name)
    cut_axes.margins(x=0.02)
    legend_above(figure, latency_axes)
    return figure


def _draw_bars(content: _SampleFigure) -> Figure:
    figure, (telemetry_axes, latency_axes, cost_axes, cut_axes) = new_figure(
        4, 1, 8.2, sharex=True, height_ratios=(0.75, 1, 1, 1)
    )
    count = content.simulation.samples
    x = np.arange(1.0, count + 1.0)
    _draw_observations(telemetry_axes, content.simulation, x)
    for offset, curve in content.side_by_side():
        latency_axes.bar(x + offset, curve.latency, content.bar_width, color=curve.style["color"], label=curve.label)
        cost_axes.bar(x + offset, curve.cost, content.bar_width, color=curve.style["color"])
        cut_axes.plot(x + offset, curve.picks, linestyle="", marker=curve.marker, color=curve.style["color"])
    _name_axes(content, latency_axes, cost_axes, cut_axes)
    cut_axes.set(xlabel="sample", xlim=(0.3, count + 0.7), xticks=x if count <= 24 else x[::2])
    for axes in (telemetry_axes, latency_axes, cost_axes, cut_axes):
        axes.grid(visible=False, axis="x")
    legend_above(figure, latency_axes)
    return figure


def _draw_distributions(content: _SampleFigure) -> Figure:
    figure, (latency_axes, cost_axes, cut_axes) = new_figure(1, 3, 3.4)
    cuts = sorted({pick for curve in content.curves for pick in curve.picks})
    at = np.arange(len(cuts), dtype=np.float64)
    for offset, curve in content.side_by_side():
        latency_axes.ecdf(curve.latency, label=curve.label, **curve.style)
        cost_axes.ecdf(curve.cost, **curve.style)
        share = [100.0 * curve.picks.count(pick) / len(curve.picks) for pick in cuts]
        cut_axes.bar(at + offset, share, content.bar_width, color=curve.style["color"])
    latency_axes.set(xlabel=f"latency [{content.latency.name}]", ylabel="share of samples [%]")
    latency_axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    cost_axes.set(xlabel=f"cost [{content.cost.name} per inference]")
    cost_axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    every = max(1, len(cuts) // 12)
    cut_axes.set(xlabel=content.pick_axis, ylabel="share of samples [%]")
    cut_axes.set_xticks(
        at[::every], [content.pick_label(pick) for pick in cuts[::every]], rotation=90 if content.placements else 0
    )
    cut_axes.grid(visible=False, axis="x")
    legend_above(figure, latency_axes)
    return figure


def _draw_observations(axes: Axes, simulation: Simulation, x: Floats) -> None:
    """Draw what was observed: bandwidth on the left axis, clock on the right one; a trace may lack either."""
    step: dict[str, Any] = {"drawstyle": "steps-post"} if simulation.time_s else {"marker": "o", "markersize": 3}
    clock_axes = add_clock_axis(axes)
    if simulation.bandwidth_kbps:
        mbps = np.array(simulation.bandwidth_kbps) / 1e3
        axes.plot(x, mbps, color=YELLOW, linewidth=1.2, **step)
        axes.set_ylim(0.0, max(float(mbps.max()) * 1.15, 1e-3))
    if simulation.clock_mhz:
        ghz = np.array(simulation.clock_mhz) / 1e3
        clock_axes.plot(x, ghz, color=DARK_CYAN, linestyle="--", linewidth=1.2, **step)
        clock_axes.set_ylim(0.0, float(ghz.max()) * 1.15)
    ping = set(simulation.ping_ms)
    axes.set_title("Observations" + (f" (ping {ping.pop():g} ms)" if len(ping) == 1 else ""))


def _name_axes(content: _SampleFigure, latency_axes: Axes, cost_axes: Axes, cut_axes: Axes) -> None:
    latency_axes.set_ylabel(f"latency\n[{content.latency.name}]")
    cost_axes.set_ylabel(f"cost\n[{content.cost.name} per inference]")
    for axes in (latency_axes, cost_axes):
        from_zero(axes)
    if content.placements:
        cut_axes.set_ylabel(content.pick_axis)
        cut_axes.set_yticks(range(len(content.placements)), content.placements)
        cut_axes.margins(y=0.12)
    else:
        cut_axes.set_ylabel("cut\n[nodes at the edge]")
        whole_ticks(cut_axes, (pick for curve in content.curves for pick in curve.picks))
