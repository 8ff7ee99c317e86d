"""A plan's forecast, and streams over time: `plan.png` and `stream.png`, and the same figures in a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import UNSET

from midcut.reporting.figures_codecs import draw_plan_codecs
from midcut.reporting.formatting import objective_title
from midcut.reporting.style import (
    BLACK,
    BLUE,
    CYAN,
    DARK_CYAN,
    GREEN,
    GREY,
    MAX_MARKED,
    PURPLE,
    RED,
    WIDTH,
    YELLOW,
    add_clock_axis,
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

    from midcut.reporting.style import Unit
    from midcut.results.plan import Pick, Plan, PlanRow
    from midcut.results.stream import Record, Telemetry
    from midcut.types import Floats

_PARTS = {
    "edge_s": ("edge", BLUE),
    "link_s": ("link", YELLOW),
    "relay_s": ("relay", GREEN),
    "second_link_s": ("second link", PURPLE),
    "cloud_s": ("cloud", CYAN),
}
_MAX_APART = 80
"""Bars up to which there is room between them."""
_TICK_ROOM = 0.025
"""Least distance of two tick labels, as a share of the axis."""


def draw_plan(plan: Plan) -> Figure:
    """Latency of every placement in its parts, and its cost; the pick is shaded.

    On three tiers the placements with one first cut stand side by side, by their second cut. On two tiers with several
    codecs each cut is drawn with its fastest codec, the picked cut with the picked one, and two more panels show the
    latency and bytes of each codec.
    """
    by_codec = _rows_by_codec(plan)
    rows = _fastest_rows(plan) if by_codec else plan.rows
    coded = any(codec != "raw" for row in rows for codec in (row.codec, row.second_codec or "raw"))
    tiered = any(row.second_cut is not UNSET for row in rows)
    names = tuple(plan.objectives)
    heights = (1.6, *((1.1, 1.1) if by_codec else ()), 1.0, *(1.0 for _ in names))
    inches = (5.0 if coded else 4.6) + 1.3 * (len(heights) - 2)
    figure, (latency, *panels_below) = new_figure(len(heights), 1, inches, sharex=True, height_ratios=heights)
    time = latency_unit(_column_values(rows, "latency_s"))
    _draw_parts(latency, rows, time)
    latency.set(ylabel=f"predicted latency\n[{time.name}]", title=plan.model)
    if by_codec:
        draw_plan_codecs(panels_below[:2], by_codec, {row.cut: place for place, row in enumerate(rows)}, time)
        panels_below = panels_below[2:]
    cost, *others = panels_below
    _draw_cost(cost, rows)
    for axes, name in zip(others, names, strict=True):
        _draw_objective(axes, rows, name)
    for axes in (latency, cost, *others):
        from_zero(axes)
    _shade_pick(figure.axes, [_placement_key(row) for row in rows].index(_placement_key(plan)))
    lowest = panels_below[-1]
    _name_placements(lowest, rows, coded=coded and not tiered)
    lowest.set(xlim=(-0.7, len(rows) - 0.3))
    if by_codec:
        lowest.set_xlabel("cut [nodes at the edge] and its fastest codec")
    if tiered:
        lowest.set_xlabel(f"first cut [nodes at the edge], in it the second cut; picked: {_placement_text(plan)}")
    legend_above(figure, *figure.axes, columns=6)
    return figure


def _draw_parts(axes: Axes, rows: Sequence[PlanRow], time: Unit) -> None:
    """The latency of each placement as a stack of its parts."""
    base = np.zeros(len(rows))
    for name, (label, colour) in _parts_of(rows).items():
        height = np.nan_to_num(_column_values(rows, name)) * time.factor
        axes.bar(np.arange(len(rows)), height, bottom=base, color=colour, label=label, width=_bar_width(rows))
        base += height


def _draw_cost(axes: Axes, rows: Sequence[PlanRow]) -> None:
    cost_usd = _column_values(rows, "cost_usd")
    money = cost_unit(cost_usd)
    axes.bar(np.arange(len(rows)), cost_usd * money.factor, color="#777777", width=_bar_width(rows))
    axes.set_ylabel(f"predicted cost\n[{money.name} per inference]")


def _draw_objective(axes: Axes, rows: Sequence[PlanRow], name: str) -> None:
    values = np.array([np.nan if (value := row.objectives.get(name)) is None else value for row in rows])
    axes.bar(np.arange(len(rows)), values * shown_column(name).factor, color="#777777", width=_bar_width(rows))
    axes.set_ylabel(f"predicted\n{objective_title(name)}")


def _bar_width(rows: Sequence[PlanRow]) -> float:
    return 1.0 if len(rows) > _MAX_APART else 0.8


def _shade_pick(panels: Sequence[Axes], pick: int) -> None:
    for axes in panels:
        axes.grid(visible=False, axis="x")
        axes.axvspan(pick - 0.5, pick + 0.5, color=RED, alpha=0.22, zorder=0, linewidth=0, label="picked")


def _name_placements(axes: Axes, rows: Sequence[PlanRow], *, coded: bool) -> None:
    """Tick labels: cut and codec of every placement, or of as many as there is room for; else each first cut."""
    cuts = [row.cut for row in rows]
    if len(set(cuts)) < len(cuts) and not coded:
        apart: list[int] = []
        for place in sorted({cut: place for place, cut in reversed(list(enumerate(cuts)))}.values()):
            if not apart or place - apart[-1] >= _TICK_ROOM * len(cuts):
                apart.append(place)
        axes.set_xticks(apart, [str(cuts[place]) for place in apart])
    else:
        labels = [f"{row.cut} {row.codec}" if coded and row.request_bytes else str(row.cut) for row in rows]
        every = max(1, len(labels) // 24)
        axes.set_xticks(range(0, len(labels), every), labels[::every], rotation=90 if coded else 0)
    axes.set_xlabel("cut [nodes at the edge]" + (" and codec" if coded else ""))


def _placement_key(row: PlanRow | Pick) -> tuple[Any, ...]:
    return row.cut, row.codec, row.second_cut, row.second_codec


def _placement_text(pick: Pick) -> str:
    hops = ((pick.cut, pick.codec), (pick.second_cut, pick.second_codec))
    return ", ".join(f"{cut}" if codec == "raw" else f"{cut} {codec}" for cut, codec in hops)


def _parts_of(rows: Sequence[Any]) -> dict[str, tuple[str, str]]:
    """The parts of the latency that the rows have: three on two tiers, five on three."""
    return {name: part for name, part in _PARTS.items() if any(getattr(row, name) is not UNSET for row in rows)}


def _rows_by_codec(plan: Plan) -> dict[str, list[PlanRow]]:
    """Codec -> its rows that send something; empty for a single codec, and on three tiers, which have two a row."""
    sending = [row for row in plan.rows if row.request_bytes]
    codecs = dict.fromkeys(row.codec for row in sending)
    if len(codecs) < 2 or any(row.second_cut is not UNSET for row in plan.rows):
        return {}
    return {codec: [row for row in sending if row.codec == codec] for codec in codecs}


def _fastest_rows(plan: Plan) -> list[PlanRow]:
    """For each cut the row of its fastest codec; at the picked cut the picked one."""
    fastest: dict[int, PlanRow] = {}
    for row in sorted(plan.rows, key=lambda row: math.inf if row.latency_s is None else row.latency_s):
        fastest.setdefault(row.cut, row)
    fastest[plan.cut] = next(row for row in plan.rows if (row.cut, row.codec) == (plan.cut, plan.codec))
    return [fastest[cut] for cut in sorted(fastest)]


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
    legend_above(figure, *axes[-3 * count :], columns=5)
    return figure


def _draw_stream(column: Sequence[Axes], title: str, records: Sequence[Record]) -> None:
    bandwidth, ping, cut, latency, cost = column
    records = sorted(records, key=lambda record: record.at_s)  # of several at once a later one may be answered first
    time_s = _column_values(records, "at_s")
    time_s -= time_s[0]
    marker_style: dict[str, Any] = {"marker": "."} if len(records) <= MAX_MARKED else {}
    observed = [record.decision.observation for record in records]
    second_hop = any("second_bandwidth_kbps" in seen.others for seen in observed)
    bandwidth.set_title(f"{title}; dotted: second hop" if second_hop else title)
    _draw_telemetry(bandwidth, ping, time_s, observed, marker_style)
    cuts = [_column_values(records, "cut")]
    tiered = any(record.second_cut is not UNSET for record in records)
    cut.step(time_s, cuts[0], where="post", color=BLACK, label="cut" if tiered else None, **marker_style)
    cut.set_ylabel("cut in use\n[nodes at the edge]")
    if tiered:
        cuts.append(np.array([_second_cut(record) for record in records]))
        cut.step(time_s, cuts[1], where="post", color=GREEN, linestyle="--", label="second cut", **marker_style)
        cut.set_ylabel("cuts in use\n[nodes before it]")
    whole_ticks(cut, [value for values in cuts for value in values if not np.isnan(value)])
    time, money = latency_unit(_column_values(records, "latency_s")), cost_unit(_column_values(records, "cost_usd"))
    parts = _parts_of(records)
    layers = [np.nan_to_num(_column_values(records, part)) * time.factor for part in parts]
    latency.stackplot(time_s, layers, colors=[colour for _, colour in parts.values()], alpha=0.75,
                      labels=[label for label, _ in parts.values()])  # fmt: skip
    for axes, name, unit in ((latency, "latency_s", time), (cost, "cost_usd", money)):
        axes.plot(
            time_s,
            _column_values(records, name) * unit.factor,
            color="#555555",
            linewidth=1.0,
            label="measured",
            **marker_style,
        )
        predicted = np.array([record.predicted.get(name) for record in records], dtype=np.float64)
        axes.plot(time_s, predicted * unit.factor, ".", color=RED, label="predicted")
        from_zero(axes)
    latency.set_ylabel(f"latency\n[{time.name}]")
    end_s = time_s[-1] or 1.0
    cost.set(ylabel=f"cost\n[{money.name} per inference]", xlabel="time [s]", xlim=(-0.01 * end_s, 1.01 * end_s))


def _draw_telemetry(
    bandwidth: Axes, ping: Axes, time_s: Floats, observed: Sequence[Telemetry], marker_style: Mapping[str, Any]
) -> None:
    clock = add_clock_axis(bandwidth)
    ping.set_ylabel("ping\n[ms]", color=BLACK)
    for axes, name, factor, colour in (
        (bandwidth, "bandwidth_kbps", 1e-3, YELLOW),
        (clock, "clock_mhz", 1e-3, DARK_CYAN),
        (ping, "ping_ms", 1.0, PURPLE),
    ):
        values = _column_values(observed, name) * factor
        axes.plot(time_s, values, color=colour, linestyle="--" if axes is clock else "-", **marker_style)
        second = np.array([seen.others.get(f"second_{name}", np.nan) for seen in observed]) * factor
        if not np.isnan(second).all():
            axes.plot(time_s, second, color=colour, linestyle=":", linewidth=2.0, **marker_style)
            values = np.concatenate([values, second])
        if np.isnan(values).all():
            axes.set(yticks=[])
            axes.set_ylabel(f"{axes.get_ylabel()}\nunknown", color=GREY)
        elif axes is bandwidth and (values > 0.0).any():
            axes.set(yscale="log", ylim=(np.nanmin(values[values > 0.0]) / 1.5, np.nanmax(values) * 1.5))
            log_ticks(axes.yaxis, values)
        else:
            from_zero(axes)


def _second_cut(record: Record) -> float:
    """The second cut; where the relay ran all that was left, or nothing was sent, that of the forecast."""
    cut = record.predicted.get("second_cut") if record.second_cut is UNSET else record.second_cut
    return np.nan if cut is None else float(cut)


def _column_values(rows: Iterable[Any], name: str) -> Floats:
    """One field of all rows; missing values become NaN, which is drawn as a gap."""
    values = (getattr(row, name) for row in rows)
    return np.array([None if value is UNSET else value for value in values], dtype=np.float64)
