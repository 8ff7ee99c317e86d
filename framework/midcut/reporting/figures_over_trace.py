"""Requests over a recorded link, strategies side by side: what the link carried, what was seen of it, what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from midcut.reporting.formatting import strategy_label
from midcut.reporting.series_selection import middle_weight, series_at_weight
from midcut.reporting.style import (
    BLACK,
    BLUE,
    CYAN,
    GREEN,
    GREY,
    PURPLE,
    RED,
    YELLOW,
    legend_above,
    log_ticks,
    new_figure,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.results.simulation import Series, Simulation
    from midcut.types import Floats

MAX_STRATEGIES = 4
_BESIDE: Final = ("edge_only", "cloud_only")
_PARTS: Final = (
    ("edge_s", "edge", BLUE),
    ("link_s", "link", YELLOW),
    ("relay_s", "relay", GREEN),
    ("second_link_s", "second link", PURPLE),
    ("cloud_s", "cloud", CYAN),
)
_ENDED: Final = ((1, "edge gave up waiting", "x"), (2, "time-out", "v"))
_LEAST_MBPS: Final = 0.01


def draw_over_trace(simulation: Simulation) -> tuple[Figure, str] | None:
    """Draw the first planners, and beside them `edge_only` and `cloud_only`, at the weight nearest to 0.5.

    Returns:
        the figure and its caption; None where the file has no requests over a recorded link.
    """
    w = middle_weight(simulation)
    listed = [series for series in series_at_weight(simulation, w) if series.over_trace is not None]
    chosen = [series for series in listed if series.planner][: MAX_STRATEGIES - len(_BESIDE)]
    chosen += [series for series in listed if series.strategy in _BESIDE]
    if not chosen or not simulation.time_s:
        return None
    tiered = any(series.second_picks for series in chosen)
    figure, grid = new_figure(3, len(chosen), 6.6, sharex=True, sharey="row", height_ratios=(1, 0.8, 1.2))
    rows = np.array(grid).reshape(3, len(chosen))
    for column, series in enumerate(chosen):
        link, cut, latency = rows[:, column]
        trace = series.over_trace
        time_s = np.array(trace.time_s if trace is not None and trace.time_s else simulation.time_s)
        link.set_title(strategy_label(series.strategy))
        _draw_link(link, simulation, series, time_s)
        cut.plot(time_s, series.picks, color=RED, drawstyle="steps-post", linewidth=1.2)
        if series.second_picks:
            cut.plot(time_s, series.second_picks, color=GREEN, drawstyle="steps-post", linestyle="--", linewidth=1.2)
        _draw_latency(latency, series, time_s)
        latency.set_xlabel("time [s]")
    rows[0, 0].set_yscale("log")
    log_ticks(rows[0, 0].yaxis, np.concatenate([line.get_ydata() for axes in rows[0] for line in axes.lines]))
    rows[2, 0].set_ylim(bottom=0.0)
    whole_ticks(rows[1, 0], (pick for series in chosen for pick in (*series.picks, *series.second_picks)))
    cut_label = "cuts\n[dashed: second]" if tiered else "cut\n[nodes at the edge]"
    for axes, label in zip(rows[:, 0], ("link\n[Mbit/s]", cut_label, "latency [s]"), strict=True):
        axes.set_ylabel(label)
    legend_above(figure, *rows[0], *rows[2], columns=7)
    at = "" if w is None else f" at w = {w:g}"
    return figure, (
        f"Requests over the recorded link{at}. Above: what the link carried, means between two requests, and what the "
        "planner saw of it; an outage is a gap. Below: the parts of each latency; marks show requests that the edge "
        "finished because the reply was late."
    )


def _draw_link(axes: Axes, simulation: Simulation, series: Series, time_s: Floats) -> None:
    trace = series.over_trace
    carried = np.array(simulation.capacity_kbps or simulation.bandwidth_kbps) / 1e3
    if len(carried):
        carried = np.where(carried >= _LEAST_MBPS, carried, np.nan)
        axes.plot(simulation.time_s, carried, color=GREY, drawstyle="steps-post", linewidth=1.0, label="link carried")
    if trace is not None and trace.seen_kbps:
        seen = np.array(trace.seen_kbps) / 1e3
        axes.plot(time_s, np.where(seen >= _LEAST_MBPS, seen, np.nan), color=BLACK, drawstyle="steps-post",
                  linewidth=1.0, label="planner saw")  # fmt: skip


def _draw_latency(axes: Axes, series: Series, time_s: Floats) -> None:
    trace = series.over_trace
    if trace is None:
        return
    base = np.zeros(len(time_s))
    for name, label, colour in _PARTS:
        if not getattr(trace, name):
            continue
        top = base + np.array(getattr(trace, name))
        axes.fill_between(time_s, base, top, step="post", color=colour, linewidth=0, label=label)
        base = top
    ended = np.array(trace.ended)
    for number, label, marker in _ENDED:
        if (at := ended == number).any():
            axes.plot(time_s[at], base[at], linestyle="", marker=marker, markersize=4, color=RED, label=label)
