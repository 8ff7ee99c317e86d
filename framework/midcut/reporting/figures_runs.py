"""A plan's forecast, and a stream over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from midcut.reporting.style import BLACK, CYAN, RED, YELLOW, dollars, legend_above, panels, seconds
from midcut.reporting.style import BLUE as EDGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.reporting.load import Plan, Stream
    from midcut.types import Floats

_PARTS = {"edge_s": ("edge", EDGE), "link_s": ("link", YELLOW), "cloud_s": ("cloud", CYAN)}


def forecast_figure(plan: Plan) -> Figure:
    """Latency of every placement in its parts, and its cost; the pick is shaded."""
    coded = len({row.codec for row in plan.rows}) > 1
    figure, (latency, cost) = panels(2, 1, 5.0 if coded else 4.6, sharex=True, height_ratios=(1.6, 1))
    time, money = seconds(row.latency_s for row in plan.rows), dollars(row.cost_usd for row in plan.rows)
    at = np.arange(len(plan.rows))
    base = np.zeros(len(plan.rows))
    for name, (text, paint) in _PARTS.items():
        height = np.array([getattr(row, name) for row in plan.rows]) * time.factor
        latency.bar(at, height, bottom=base, color=paint, label=text)
        base += height
    cost.bar(at, [row.cost_usd * money.factor for row in plan.rows], color="#777777")
    picked = next(
        (place for place, row in enumerate(plan.rows) if (row.cut, row.codec) == (plan.cut, plan.codec)), None
    )
    for axes in (latency, cost):
        axes.grid(visible=False, axis="x")
        if picked is not None:
            axes.axvspan(picked - 0.5, picked + 0.5, color=RED, alpha=0.22, zorder=0, linewidth=0)
    latency.bar([], [], color=RED, alpha=0.3, label="picked")
    names = [f"{row.cut} {row.codec}" if coded else str(row.cut) for row in plan.rows]
    every = max(1, len(names) // 24)
    cost.set_xticks(at[::every], names[::every], rotation=90 if coded else 0)
    cost.set(xlabel="cut [nodes at the edge]" + (" and codec" if coded else ""))
    cost.set_ylabel(f"cost\n[{money.name} per inference]")
    latency.set(ylabel=f"predicted latency\n[{time.name}]")
    latency.margins(x=0.01)
    legend_above(figure, latency)
    return figure


def stream_figure(stream: Stream) -> Figure:
    """Telemetry, cut, latency and cost, one below the other."""
    records = stream.records
    figure, (seen, ping, cut, latency, cost) = panels(5, 1, 9.0, sharex=True, height_ratios=(0.8, 0.6, 0.7, 1.1, 1))
    time_s = _column(records, "at_s")
    time_s -= time_s[0]
    observed = [record["decision"]["observation"] for record in records]
    _telemetry(seen, ping, time_s, observed)
    cut.step(time_s, _column(records, "cut"), where="post", color=BLACK)
    cut.set_ylabel("cut in use")
    cut.yaxis.set_major_locator(MaxNLocator(integer=True))
    cut.margins(y=0.15)
    told = [record["predicted"] or {} for record in records]
    time, money = seconds(_column(records, "latency_s")), dollars(_column(records, "cost_usd"))
    layers = [_column(records, part) * time.factor for part in _PARTS]
    latency.stackplot(time_s, np.nan_to_num(layers), colors=[paint for _, paint in _PARTS.values()], alpha=0.75,
                      labels=[text for text, _ in _PARTS.values()])  # fmt: skip
    latency.plot(time_s, _column(told, "latency_s") * time.factor, ".", color=RED, label="predicted")
    latency.set(ylabel=f"latency\n[{time.name}]", ylim=(0, None))
    cost.plot(time_s, _column(records, "cost_usd") * money.factor, color="#555555", label="measured")
    cost.plot(time_s, _column(told, "cost_usd") * money.factor, ".", color=RED)
    cost.set(ylabel=f"cost\n[{money.name} per inference]", xlabel="time [s]", ylim=(0, None))
    cost.margins(x=0.01)
    legend_above(figure, latency, cost, columns=5)
    return figure


def _telemetry(seen: Axes, ping: Axes, time_s: Floats, observed: list[Mapping[str, Any]]) -> None:
    seen.plot(time_s, _column(observed, "bandwidth_kbps") / 1e3, color=YELLOW)
    seen.set_ylabel("bandwidth\n[Mbit/s]", color="#8a7d1d")
    seen.set_yscale("log")
    seen.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    seen.yaxis.set_major_formatter("{x:g}")
    seen.yaxis.set_minor_locator(NullLocator())
    clock = seen.twinx()
    clock.plot(time_s, _column(observed, "clock_mhz") / 1e3, color="#2b93ad", linestyle="--")
    clock.set_ylabel("clock\n[GHz]", color="#2b93ad")
    clock.set_ylim(0.0, None)
    clock.grid(visible=False)
    clock.spines["right"].set_visible(True)
    ping.plot(time_s, _column(observed, "ping_ms"), color="#aa3377")
    ping.set(ylabel="ping\n[ms]", ylim=(0, None))


def _column(records: Iterable[Mapping[str, Any]], name: str) -> Floats:
    """One field of all records; what is missing becomes a gap."""
    values = (record.get(name) for record in records)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
