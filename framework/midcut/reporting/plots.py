"""Figures the verbs draw. matplotlib's object interface: no global state, no window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from midcut.types import Floats, Forecast, Placements

PARTS = {"edge_s": ("edge", "#4477aa"), "link_s": ("link", "#ccbb44"), "cloud_s": ("cloud", "#66ccee")}


def draw_forecast(path: Path, model: str, forecast: Forecast, chosen: int) -> None:
    """Stacked latency and the cost of every placement, the pick marked.

    Args:
        path: a PNG or SVG file to write.
        model: for the title.
        forecast: of one observation.
        chosen: row of the pick.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    latency = figure.subplots()
    positions = np.arange(len(forecast))
    base = np.zeros(len(forecast))
    for name, (label, colour) in PARTS.items():
        height = getattr(forecast, name) * 1e3
        latency.bar(positions, height, bottom=base, color=colour, label=label)
        base += height
    latency.axvline(chosen, color="#ee6677", linestyle="--", label="chosen")
    latency.set(xlabel="cut", ylabel="predicted latency [ms]", title=f"{model}: every cut")
    every = max(1, len(forecast) // 24)
    labels = _labels(forecast.placements)
    latency.set_xticks(positions[::every], labels[::every], rotation=0 if max(map(len, labels)) < 4 else 90)
    cost = latency.twinx()
    cost.plot(positions, forecast.cost_usd * 1e6, color="#222222", marker=".", label="cost")
    cost.set(ylabel="predicted cost [µ$ per inference]", ylim=(0, None))
    _legend(latency, cost)
    latency.margins(y=0.2)
    figure.savefig(path, dpi=150)


def draw_streams(path: Path, streams: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """What happened over time: a column per stream, with telemetry, cut, latency and cost below one another.

    Args:
        path: a PNG or SVG file to write.
        streams: name -> records as in `results.jsonl`.
    """
    figure = Figure(figsize=(1 + 5.5 * len(streams), 9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(4, len(streams), sharex="col", squeeze=False)
    for column, (name, records) in enumerate(streams.items()):
        _draw_stream(list(grid[:, column]), name, records)
    figure.savefig(path, dpi=130)


def _labels(placements: Placements) -> list[str]:
    """The cut; with the codec where there are several."""
    cuts = [str(cut) for cut in placements.cut]
    if len({*placements.codec} - {"raw"}) == 0:
        return cuts
    return [
        cut if on_edge else f"{cut} {codec}"
        for cut, codec, on_edge in zip(cuts, placements.codec, placements.on_edge, strict=True)
    ]


def _draw_stream(rows: Sequence[Axes], name: str, records: Sequence[Mapping[str, Any]]) -> None:
    telemetry, cut, latency, cost = rows
    time_s = _column(records, "at_s")
    time_s -= time_s[0] if len(time_s) else 0.0
    seen = [record["decision"]["observation"] for record in records]
    telemetry.plot(time_s, _column(seen, "clock_mhz") / 1000, color=PARTS["edge_s"][1], label="clock [GHz]")
    telemetry.plot(time_s, _column(seen, "ping_ms") / 100, color="#aa3377", label="ping [100 ms]")
    telemetry.set(title=name, ylabel="clock [GHz], ping [100 ms]")
    band = telemetry.twinx()
    band.plot(time_s, _column(seen, "bandwidth_kbps") / 1000, color=PARTS["link_s"][1], label="bandwidth")
    band.set(ylabel="bandwidth [Mbit/s]", yscale="log")
    band.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    band.yaxis.set_major_formatter("{x:g}")
    band.yaxis.set_minor_locator(NullLocator())
    for axes in (telemetry, band):
        axes.margins(y=0.35)
    _legend(telemetry, band)
    cut.step(time_s, _column(records, "cut"), where="post", color="#222222")
    cut.set(ylabel="cut in use")
    cut.yaxis.set_major_locator(MaxNLocator(integer=True))
    bars = np.zeros(len(records))
    for part, (label, colour) in PARTS.items():
        top = bars + _column(records, part) * 1e3
        latency.fill_between(time_s, bars, top, color=colour, alpha=0.6, label=label, linewidth=0)
        bars = top
    predicted = _column([record["predicted"] for record in records], "latency_s") * 1e3
    latency.plot(time_s, predicted, color="#ee6677", marker=".", linestyle="", label="predicted")
    latency.set(ylabel="latency [ms]", ylim=(0, None))
    _legend(latency)
    cost.plot(time_s, _column(records, "cost_usd") * 1e6, color="#222222", label="measured")
    told = _column([record["predicted"] for record in records], "cost_usd") * 1e6
    cost.plot(time_s, told, color="#ee6677", marker=".", linestyle="", label="predicted")
    cost.set(ylabel="cost [µ$ per inference]", xlabel="time [s]", ylim=(0, None))
    _legend(cost)


def _column(records: Sequence[Mapping[str, Any]], name: str) -> Floats:
    """One field of all records; what is missing becomes a gap."""
    values = (record.get(name) for record in records)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _legend(*axes: Axes) -> None:
    handles = [handle for one in axes for handle in one.get_legend_handles_labels()[0]]
    axes[-1].legend(handles=handles, loc="best", fontsize=7, ncols=2)
