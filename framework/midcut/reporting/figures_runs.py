"""A plan's forecast, and streams over time: `plan.png` and `stream.png`, and the same figures in a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.reporting.formatting import objective_title
from midcut.reporting.style import (
    BLACK,
    BLUE,
    CYAN,
    GREY,
    PURPLE,
    RED,
    WIDTH,
    YELLOW,
    cost_unit,
    from_zero,
    latency_unit,
    legend_above,
    log_ticks,
    new_figure,
    whole_ticks,
)
from midcut.results.units import shown_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.results.plan import Plan
    from midcut.results.stream import Record, Telemetry
    from midcut.types import Floats

_PARTS = {"edge_s": ("edge", BLUE), "link_s": ("link", YELLOW), "cloud_s": ("cloud", CYAN)}
_MAX_MARKED = 40
"""Requests up to which each is marked on a curve."""


def draw_plan(plan: Plan) -> Figure:
    """Latency of every placement in its parts, and its cost; the pick is shaded."""
    coded = any(row.codec != "raw" for row in plan.rows)
    names = tuple(plan.objectives)
    inches = (5.0 if coded else 4.6) + 1.3 * len(names)
    panels = new_figure(2 + len(names), 1, inches, sharex=True, height_ratios=(1.6, *(1.0 for _ in ("cost", *names))))
    figure, (latency, cost, *others) = panels
    time, money = latency_unit(_column_values(plan.rows, "latency_s")), cost_unit(_column_values(plan.rows, "cost_usd"))
    places = np.arange(len(plan.rows))
    base = np.zeros(len(plan.rows))
    for name, (label, colour) in _PARTS.items():
        height = _column_values(plan.rows, name) * time.factor
        latency.bar(places, height, bottom=base, color=colour, label=label)
        base += height
    cost.bar(places, _column_values(plan.rows, "cost_usd") * money.factor, color="#777777")
    for axes, name in zip(others, names, strict=True):
        values = np.array([np.nan if (value := row.objectives.get(name)) is None else value for row in plan.rows])
        axes.bar(places, values * shown_column(name).factor, color="#777777")
        axes.set_ylabel(f"predicted\n{objective_title(name)}")
    pick = [(row.cut, row.codec) for row in plan.rows].index((plan.cut, plan.codec))
    for axes in (latency, cost, *others):
        axes.grid(visible=False, axis="x")
        axes.axvspan(pick - 0.5, pick + 0.5, color=RED, alpha=0.22, zorder=0, linewidth=0, label="picked")
        from_zero(axes)
    labels = [f"{row.cut} {row.codec}" if coded and row.request_bytes else str(row.cut) for row in plan.rows]
    every = max(1, len(labels) // 24)
    lowest = others[-1] if others else cost
    lowest.set_xticks(places[::every], labels[::every], rotation=90 if coded else 0)
    lowest.set(xlabel="cut [nodes at the edge]" + (" and codec" if coded else ""), xlim=(-0.7, len(labels) - 0.3))
    cost.set_ylabel(f"predicted cost\n[{money.name} per inference]")
    latency.set(ylabel=f"predicted latency\n[{time.name}]", title=plan.model)
    legend_above(figure, latency)
    return figure


def draw_streams(streams: Mapping[str, Sequence[Record]]) -> Figure:
    """Telemetry, cut, latency and cost over time, one below the other; a column per stream.

    Args:
        streams: title -> requests, at least one in each.
    """
    count = len(streams)
    width = WIDTH if count == 1 else 6.5 * count
    heights = (0.8, 0.6, 0.7, 1.1, 1)
    figure, axes = new_figure(5, count, 9.0, width=width, sharex="col", height_ratios=heights)
    for place, (title, records) in enumerate(streams.items()):
        _draw_stream(axes[place::count], title, records)
    legend_above(figure, *axes[-2 * count :], columns=5)
    return figure


def _draw_stream(column: Sequence[Axes], title: str, records: Sequence[Record]) -> None:
    bandwidth, ping, cut, latency, cost = column
    time_s = _column_values(records, "at_s")
    time_s -= time_s[0]
    marks: dict[str, Any] = {"marker": "."} if len(records) <= _MAX_MARKED else {}
    bandwidth.set_title(title)
    _draw_telemetry(bandwidth, ping, time_s, [record.decision.observation for record in records], marks)
    cuts = _column_values(records, "cut")
    cut.step(time_s, cuts, where="post", color=BLACK, **marks)
    cut.set_ylabel("cut in use\n[nodes at the edge]")
    whole_ticks(cut, cuts)
    time, money = latency_unit(_column_values(records, "latency_s")), cost_unit(_column_values(records, "cost_usd"))
    layers = [_column_values(records, part) * time.factor for part in _PARTS]
    latency.stackplot(time_s, layers, colors=[colour for _, colour in _PARTS.values()], alpha=0.75,
                      labels=[label for label, _ in _PARTS.values()])  # fmt: skip
    for axes, name, unit in ((latency, "latency_s", time), (cost, "cost_usd", money)):
        axes.plot(
            time_s,
            _column_values(records, name) * unit.factor,
            color="#555555",
            linewidth=1.0,
            label="measured",
            **marks,
        )
        predicted = np.array([record.predicted.get(name) for record in records], dtype=np.float64)
        axes.plot(time_s, predicted * unit.factor, ".", color=RED, label="predicted")
        from_zero(axes)
    latency.set_ylabel(f"latency\n[{time.name}]")
    end_s = time_s[-1] or 1.0
    cost.set(ylabel=f"cost\n[{money.name} per inference]", xlabel="time [s]", xlim=(-0.01 * end_s, 1.01 * end_s))


def _draw_telemetry(
    bandwidth: Axes, ping: Axes, time_s: Floats, observed: Sequence[Telemetry], marks: Mapping[str, Any]
) -> None:
    clock = bandwidth.twinx()
    for axes, name, factor, label, colour, label_colour in (
        (bandwidth, "bandwidth_kbps", 1e-3, "bandwidth\n[Mbit/s]", YELLOW, "#8a7d1d"),
        (clock, "clock_mhz", 1e-3, "clock\n[GHz]", "#2b93ad", "#2b93ad"),
        (ping, "ping_ms", 1.0, "ping\n[ms]", PURPLE, BLACK),
    ):
        values = _column_values(observed, name) * factor
        axes.plot(time_s, values, color=colour, linestyle="--" if axes is clock else "-", **marks)
        axes.set_ylabel(label, color=label_colour)
        if np.isnan(values).all():
            axes.set(yticks=[])
            axes.set_ylabel(f"{label}\nunknown", color=GREY)
        elif axes is bandwidth:
            axes.set(yscale="log", ylim=(np.nanmin(values) / 1.5, np.nanmax(values) * 1.5))
            log_ticks(axes.yaxis, values)
        else:
            from_zero(axes)
    clock.grid(visible=False)
    clock.spines["right"].set_visible(True)


def _column_values(rows: Iterable[Any], name: str) -> Floats:
    """One field of all rows; missing values become NaN, which is drawn as a gap."""
    return np.array([getattr(row, name) for row in rows], dtype=np.float64)
