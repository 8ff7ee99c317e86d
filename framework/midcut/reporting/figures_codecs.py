"""Codecs by cut: what they do to payloads on pictures, and what a plan makes of bytes and latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from midcut.reporting.style import PALETTE, legend_above, log_ticks, new_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.profiles.coding_rows import CodedCut
    from midcut.reporting.style import Unit
    from midcut.results.plan import PlanRow

_MARKERS: Final = "os^vDP*X<>"


def draw_codecs(title: str, rows: Mapping[str, Sequence[CodedCut]]) -> Figure:
    """Bytes, seconds of coding, and top-1 agreement with the unsplit model of every codec at every cut, on pictures.

    Args:
        title: the model and what it was measured on.
        rows: codec -> its cuts.
    """
    figure, (size, seconds, agreement) = new_figure(3, 1, 7.2, sharex=True, height_ratios=(1.4, 1.0, 1.0))
    for number, (codec, coded) in enumerate(rows.items()):
        cuts = [row.cut for row in coded]
        _curve(size, number, codec, cuts, [row.sent_bytes / 1e3 for row in coded])
        _curve(seconds, number, codec, cuts, [max(row.coding_s * 1e3, 1e-3) for row in coded])
        _curve(agreement, number, codec, cuts, [row.agreement * 100 for row in coded])
    for axes, label in ((size, "payload as encoded\n[kB]"), (seconds, "encoding and decoding\n[ms]")):
        _make_logarithmic(axes, label)
    size.set_title(title)
    least = min((row.agreement for coded in rows.values() for row in coded), default=0.0)
    agreement.set_ylim(min(least * 100 - 2.0, 95.0), 101.0)
    agreement.set(ylabel="top-1 agreement\n[% of pictures]", xlabel="cut [nodes at the edge]")
    legend_above(figure, size, columns=5)
    return figure


def draw_plan_codecs(
    panels: Sequence[Axes], rows: Mapping[str, Sequence[PlanRow]], position: Mapping[int, int], time: Unit
) -> None:
    """Latency and bytes of each codec at each cut, on two panels of a plan's figure.

    Args:
        rows: codec -> its placements.
        position: of each cut on the horizontal axis.
        time: the unit of latencies.
    """
    latency, size = panels
    for number, (codec, placements) in enumerate(rows.items()):
        finite = [row for row in placements if row.latency_s is not None]
        places = [position[row.cut] for row in finite]
        _curve(latency, number, codec, places, [(row.latency_s or 0.0) * time.factor for row in finite])
        _curve(size, number, codec, places, [row.request_bytes / 1e3 for row in finite])
    for axes, label in ((latency, f"latency by codec\n[{time.name}]"), (size, "sent bytes by codec\n[kB]")):
        _make_logarithmic(axes, label)


def _make_logarithmic(axes: Axes, label: str) -> None:
    axes.set(ylabel=label, yscale="log")
    log_ticks(axes.yaxis, np.concatenate([line.get_ydata() for line in axes.lines]))


def _curve(axes: Axes, number: int, name: str, cuts: Sequence[int], values: Sequence[float]) -> None:
    axes.plot(
        cuts,
        values,
        color=PALETTE[number % len(PALETTE)],
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=3.2,
        linewidth=0.9,
        label=name,
        markevery=max(1, len(cuts) // 30),
    )
