"""What every strategy did on every sample, as the paper's Figures 5 and 6 show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.reporting.selection import at_weight, compared, middle
from midcut.reporting.style import YELLOW, Unit, colour, dollars, legend_above, marker, panels, seconds, whole_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.results.simulation import Series, Simulation
    from midcut.types import Floats

BARS = 30
"""Samples up to which they stand side by side; beyond that their distribution is drawn."""
MARKED = 40
"""Samples up to which every one is marked on a line."""
_FIELDS = {
    "clock_mhz": ("clock [MHz]", 1.0),
    "bandwidth_kbps": ("bandwidth [Mbit/s]", 1e-3),
    "ping_ms": ("ping [ms]", 1.0),
}


@dataclass(frozen=True)
class _Line:
    """One strategy, in the figure's units."""

    text: str
    latency: Floats
    cost: Floats
    picks: tuple[int, ...]
    look: dict[str, Any]
    marker: str


@dataclass(frozen=True)
class _Shown:
    """What one figure shows.

    Attributes:
        placements: with several codecs, what the lines' picks stand for; else empty, and picks are cuts.
    """

    simulation: Simulation
    lines: tuple[_Line, ...]
    latency: Unit
    cost: Unit
    placements: tuple[str, ...]

    @property
    def axis(self) -> str:
        return "cut and codec" if self.placements else "cut"

    def named(self, pick: int) -> str:
        return self.placements[pick] if self.placements else str(pick)

    def spread(self) -> Iterator[tuple[float, _Line]]:
        """Every strategy with its place beside the others, so that bars stand side by side."""
        for place, line in enumerate(self.lines):
            yield (place - (len(self.lines) - 1) / 2) * self.bar, line

    @property
    def bar(self) -> float:
        return 0.8 / len(self.lines)


def draw_samples(simulation: Simulation) -> tuple[Figure, str] | None:
    """Latency, cost and cut per sample at the middle weight, and what the figure is called.

    Returns:
        the figure and its caption; None where the samples were not kept.
    """
    w = middle(simulation)
    found = compared(at_weight(simulation, w))
    if not found:
        return None
    shown = _shown(simulation, found)
    at = "" if w is None else f" at w = {w:g}"
    swept = swept_field(simulation)
    if simulation.time_s:
        return _lines(shown, np.array(simulation.time_s), "time [s]"), f"Over the recorded trace{at}."
    if swept:
        name, factor = _FIELDS[swept]
        x = np.array(getattr(simulation, swept)) * factor
        return _lines(shown, x, name), f"Over the {name.partition(' ')[0]}{at}; all else is constant."
    if simulation.samples <= BARS:
        return _bars(shown), f"All {simulation.samples} samples of the chosen seed{at}."
    return _distributions(shown), (
        f"Distribution over the {simulation.samples:,} samples of the chosen seed{at}: "
        f"share of samples at or below a latency or a cost, and share of samples per {shown.axis}."
    )


def swept_field(simulation: Simulation) -> str | None:
    """The one telemetry field that rises (or falls) from sample to sample while the others stand still."""
    columns = {name: np.array(getattr(simulation, name)) for name in _FIELDS}
    moving = [name for name, values in columns.items() if len(values) > 2 and np.ptp(values) > 0.0]
    if len(moving) != 1:
        return None
    change = np.diff(columns[moving[0]])
    return moving[0] if bool((change > 0.0).all() or (change < 0.0).all()) else None


def _shown(simulation: Simulation, found: dict[str, Series]) -> _Shown:
    latency = seconds(value for one in found.values() for value in one.sample_latency_s)
    cost = dollars(value for one in found.values() for value in one.sample_cost_usd)
    known = [one.strategy for one in found.values()]
    coded = sorted({pick for one in found.values() for pick in zip(one.picks, one.codecs, strict=False)})
    lines = [
        _Line(
            text,
            np.array(one.sample_latency_s) * latency.factor,
            np.array(one.sample_cost_usd) * cost.factor,
            tuple(map(coded.index, zip(one.picks, one.codecs, strict=True))) if coded else one.picks,
            {"color": colour(one.strategy, known), "linewidth": 2.4 - 0.3 * min(row, 5)},
            marker(one.strategy, known),
        )
        for row, (text, one) in enumerate(found.items())
    ]
    return _Shown(simulation, tuple(lines), latency, cost, tuple(f"{cut} {codec}" for cut, codec in coded))


def _lines(shown: _Shown, x: Floats, name: str) -> Figure:
    timed = bool(shown.simulation.time_s)
    heights = (0.75, 1, 1, 1) if timed else (1, 1, 1)
    figure, axes = panels(len(heights), 1, 8.0 if timed else 6.2, sharex=True, height_ratios=heights)
    if timed:
        _telemetry(axes[0], shown.simulation, x)
    latency, cost, cut = axes[-3:]
    drawn = {"drawstyle": "steps-post"} if timed else {}
    for line in shown.lines:
        look = line.look | drawn | ({"marker": line.marker} if len(x) <= MARKED else {})
        latency.plot(x, line.latency, label=line.text, **look)
        cost.plot(x, line.cost, **look)
        cut.plot(x, line.picks, **look)
    _name_axes(shown, latency, cost, cut)
    cut.set_xlabel(name)
    cut.margins(x=0.02)
    legend_above(figure, latency)
    return figure


def _bars(shown: _Shown) -> Figure:
    figure, (telemetry, latency, cost, cut) = panels(4, 1, 8.2, sharex=True, height_ratios=(0.75, 1, 1, 1))
    count = shown.simulation.samples
    x = np.arange(1.0, count + 1.0)
    _telemetry(telemetry, shown.simulation, x)
    for offset, line in shown.spread():
        latency.bar(x + offset, line.latency, shown.bar, color=line.look["color"], label=line.text)
        cost.bar(x + offset, line.cost, shown.bar, color=line.look["color"])
        cut.plot(x + offset, line.picks, linestyle="", marker=line.marker, color=line.look["color"])
    _name_axes(shown, latency, cost, cut)
    cut.set(xlabel="sample", xlim=(0.3, count + 0.7), xticks=x if count <= 24 else x[::2])
    for axes in (telemetry, latency, cost, cut):
        axes.grid(visible=False, axis="x")
    legend_above(figure, latency)
    return figure


def _distributions(shown: _Shown) -> Figure:
    figure, (latency, cost, cut) = panels(1, 3, 3.4)
    cuts = sorted({pick for line in shown.lines for pick in line.picks})
    at = np.arange(len(cuts), dtype=np.float64)
    for offset, line in shown.spread():
        latency.ecdf(line.latency, label=line.text, **line.look)
        cost.ecdf(line.cost, **line.look)
        share = [100.0 * line.picks.count(pick) / len(line.picks) for pick in cuts]
        cut.bar(at + offset, share, shown.bar, color=line.look["color"])
    latency.set(xlabel=f"latency [{shown.latency.name}]", ylabel="share of samples [1]")
    cost.set(xlabel=f"cost [{shown.cost.name} per inference]")
    every = max(1, len(cuts) // 12)
    cut.set(xlabel=shown.axis, ylabel="share of samples [%]")
    cut.set_xticks(at[::every], [shown.named(one) for one in cuts[::every]], rotation=90 if shown.placements else 0)
    cut.grid(visible=False, axis="x")
    legend_above(figure, latency)
    return figure


def _telemetry(axes: Axes, simulation: Simulation, x: Floats) -> None:
    """The samples themselves: bandwidth on the left, clock on the right; a trace may lack one."""
    step: dict[str, Any] = {"drawstyle": "steps-post"} if simulation.time_s else {"marker": "o", "markersize": 3}
    axes.set_ylabel("bandwidth\n[Mbit/s]", color="#8a7d1d")
    if simulation.bandwidth_kbps:
        band = np.array(simulation.bandwidth_kbps) / 1e3
        axes.plot(x, band, color=YELLOW, linewidth=1.2, **step)
        axes.set_ylim(0.0, max(float(band.max()) * 1.15, 1e-3))
    clock = axes.twinx()
    clock.set_ylabel("clock\n[GHz]", color="#2b93ad")
    if simulation.clock_mhz:
        ghz = np.array(simulation.clock_mhz) / 1e3
        clock.plot(x, ghz, color="#2b93ad", linestyle="--", linewidth=1.2, **step)
        clock.set_ylim(0.0, float(ghz.max()) * 1.15)
    clock.grid(visible=False)
    clock.spines["right"].set_visible(True)
    ping = set(simulation.ping_ms)
    axes.set_title("What was sampled" + (f" (ping {ping.pop():g} ms)" if len(ping) == 1 else ""))


def _name_axes(shown: _Shown, latency: Axes, cost: Axes, cut: Axes) -> None:
    latency.set(ylabel=f"latency\n[{shown.latency.name}]", ylim=(0, None))
    cost.set(ylabel=f"cost\n[{shown.cost.name} per inference]", ylim=(0, None))
    if shown.placements:
        cut.set_ylabel(shown.axis)
        cut.set_yticks(range(len(shown.placements)), shown.placements)
        cut.margins(y=0.12)
    else:
        cut.set_ylabel("cut\n[nodes at the edge]")
        whole_ticks(cut, (pick for line in shown.lines for pick in line.picks))
