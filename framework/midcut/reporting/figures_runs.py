"""A plan's forecast, and streams over time: `plan.png` and `stream.png`, and the same figures in a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.reporting.style import (
    BLACK,
    BLUE,
    CYAN,
    GREY,
    PURPLE,
    RED,
    WIDTH,
    YELLOW,
    dollars,
    from_zero,
    legend_above,
    log_ticks,
    panels,
    seconds,
    whole_ticks,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.results.plan import Plan
    from midcut.results.stream import Record, Telemetry
    from midcut.types import Floats

_PARTS = {"edge_s": ("edge", BLUE), "link_s": ("link", YELLOW), "cloud_s": ("cloud", CYAN)}
_MARKED = 40
"""Requests up to which every one is marked on a line."""


def draw_plan(plan: Plan) -> Figure:
    """Latency of every placement in its parts, and its cost; the pick is shaded."""
    coded = any(row.codec != "raw" for row in plan.rows)
    figure, (latency, cost) = panels(2, 1, 5.0 if coded else 4.6, sharex=True, height_ratios=(1.6, 1))
    time, money = seconds(_column(plan.rows, "latency_s")), dollars(_column(plan.rows, "cost_usd"))
    places = np.arange(len(plan.rows))
    base = np.zeros(len(plan.rows))
    for name, (text, paint) in _PARTS.items():
        height = _column(plan.rows, name) * time.factor
        latency.bar(places, height, bottom=base, color=paint, label=text)
        base += height
    cost.bar(places, _column(plan.rows, "cost_usd") * money.factor, color="#777777")
    pick = [(row.cut, row.codec) for row in plan.rows].index((plan.cut, plan.codec))
    for axes in (latency, cost):
        axes.grid(visible=False, axis="x")
        axes.axvspan(pick - 0.5, pick + 0.5, color=RED, alpha=0.22, zorder=0, linewidth=0, label="picked")
        from_zero(axes)
    names = [f"{row.cut} {row.codec}" if coded and row.request_bytes else str(row.cut) for row in plan.rows]
    every = max(1, len(names) // 24)
    cost.set_xticks(places[::every], names[::every], rotation=90 if coded else 0)
    cost.set(xlabel="cut [nodes at the edge]" + (" and codec" if coded else ""), xlim=(-0.7, len(names) - 0.3))
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
    figure, axes = panels(5, count, 9.0, width=width, sharex="col", height_ratios=heights)
    for place, (title, records) in enumerate(streams.items()):
        _draw_stream(axes[place::count], title, records)
    legend_above(figure, *axes[-2 * count :], columns=5)
    return figure


def _draw_stream(column: Sequence[Axes], title: str, records: Sequence[Record]) -> None:
    bandwidth, ping, cut, latency, cost = column
    time_s = _column(records, "at_s")
    time_s -= time_s[0]
    look: dict[str, Any] = {"marker": "."} if len(records) <= _MARKED else {}
    bandwidth.set_title(title)
    _draw_telemetry(bandwidth, ping, time_s, [record.decision.observation for record in records], look)
    cuts = _column(records, "cut")
    cut.step(time_s, cuts, where="post", color=BLACK, **look)
    cut.set_ylabel("cut in use\n[nodes at the edge]")
    whole_ticks(cut, cuts)
    time, money = seconds(_column(records, "latency_s")), dollars(_column(records, "cost_usd"))
    layers = [_column(records, part) * time.factor for part in _PARTS]
    latency.stackplot(time_s, layers, colors=[paint for _, paint in _PARTS.values()], alpha=0.75,
                      labels=[text for text, _ in _PARTS.values()])  # fmt: skip
    for axes, name, unit in ((latency, "latency_s", time), (cost, "cost_usd", money)):
        axes.plot(
            time_s, _column(records, name) * unit.factor, color="#555555", linewidth=1.0, label="measured", **look
        )
        predicted = np.array([record.predicted.get(name) for record in records], dtype=np.float64)
        axes.plot(time_s, predicted * unit.factor, ".", color=RED, label="predicted")
        from_zero(axes)
    latency.set_ylabel(f"latency\n[{time.name}]")
    end_s = time_s[-1] or 1.0
    cost.set(ylabel=f"cost\n[{money.name} per inference]", xlabel="time [s]", xlim=(-0.01 * end_s, 1.01 * end_s))


def _draw_telemetry(
    bandwidth: Axes, ping: Axes, time_s: Floats, observed: Sequence[Telemetry], look: Mapping[str, Any]
) -> None:
    clock = bandwidth.twinx()
    for axes, name, factor, label, paint, text in (
        (bandwidth, "bandwidth_kbps", 1e-3, "bandwidth\n[Mbit/s]", YELLOW, "#8a7d1d"),
        (clock, "clock_mhz", 1e-3, "clock\n[GHz]", "#2b93ad", "#2b93ad"),
        (ping, "ping_ms", 1.0, "ping\n[ms]", PURPLE, BLACK),
    ):
        values = _column(observed, name) * factor
        axes.plot(time_s, values, color=paint, linestyle="--" if axes is clock else "-", **look)
        axes.set_ylabel(label, color=text)
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


def _column(rows: Iterable[Any], name: str) -> Floats:
    """One field of all rows; what is missing becomes a gap."""
    return np.array([getattr(row, name) for row in rows], dtype=np.float64)
