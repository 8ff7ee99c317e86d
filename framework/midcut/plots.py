"""Figures the verbs draw. matplotlib's object interface: no global state, no window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from midcut.types import Forecast

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
    latency.set_xticks(positions[::every], [str(cut) for cut in forecast.placements.cut[::every]])
    cost = latency.twinx()
    cost.plot(positions, forecast.cost_usd * 1e6, color="#222222", marker=".", label="cost")
    cost.set(ylabel="predicted cost [µ$ per inference]", ylim=(0, None))
    handles = [axes.get_legend_handles_labels() for axes in (latency, cost)]
    latency.legend(
        handles[0][0] + handles[1][0], handles[0][1] + handles[1][1], loc="upper center", ncols=5, fontsize=8
    )
    latency.margins(y=0.2)
    figure.savefig(path, dpi=150)
