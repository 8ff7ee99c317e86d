"""What all figures share: colours, sizes, how they are saved."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from midcut.types import Floats

# Paul Tol's bright scheme, told apart with any of the common kinds of colour blindness; shapes differ as well.
BLUE, RED, GREEN, YELLOW, CYAN, PURPLE, GREY, BLACK = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999", "#222222",
)  # fmt: skip
PALETTE = (BLUE, RED, GREEN, YELLOW, "#2fa5c7", PURPLE, GREY, BLACK)
"""For what has no colour of its own."""
COLOURS = {
    "latency_optimal": BLUE,
    "cost_optimal": GREEN,
    "algorithm1": RED,
    "weighted_sum": PURPLE,
    "epsilon_constraint": "#b8a100",
    "knee": "#2fa5c7",
    "edge_only": "#777777",
    "cloud_only": "#aaaaaa",
    "static_best": "#8c6d46",
    "oracle": BLACK,
}
MARKERS = {
    "latency_optimal": "v",
    "cost_optimal": "^",
    "algorithm1": "o",
    "weighted_sum": "s",
    "epsilon_constraint": "D",
    "knee": "P",
    "edge_only": "<",
    "cloud_only": ">",
    "static_best": "X",
    "oracle": "*",
}
SIZES = {"*": 11.0, "P": 8.0, "X": 8.0, "D": 5.5}
"""Points a marker needs to look as large as a dot of 6."""
_MORE_COLOURS = ("#e07b00", "#005f73", "#7a5195", "#6a994e")
_MORE_MARKERS = ("p", "h", "8", "d")
DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 2, 2)))
"""Of lines that may lie upon one another, each thinner than the one below it."""
WIDTH = 8.4
"""Inches; a page's width."""
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "text.parse_math": False,  # a dollar sign in a title is one
    "svg.hashsalt": "midcut",  # the same figure, the same bytes
    "svg.fonttype": "path",  # the same look on every machine
}


def style() -> Any:
    """Context in which figures are drawn and saved."""
    return mpl.rc_context(_STYLE)


def panels(rows: int, columns: int, height: float, width: float = WIDTH, **how: Any) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, row by row.

    Args:
        height, width: inches.
        how: for `Figure.subplots`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **how).flat)


def colour(strategy: str, others: Sequence[str] = ()) -> str:
    """A strategy's colour, the same in all figures; `others` are the names without one of their own, in order."""
    return COLOURS.get(strategy) or _MORE_COLOURS[_place(strategy, others) % len(_MORE_COLOURS)]


def marker(strategy: str, others: Sequence[str] = ()) -> str:
    """A strategy's marker, likewise."""
    return MARKERS.get(strategy) or _MORE_MARKERS[_place(strategy, others) % len(_MORE_MARKERS)]


def _place(strategy: str, others: Sequence[str]) -> int:
    unknown = sorted({name for name in others if name not in COLOURS} | {strategy})
    return unknown.index(strategy)


class Unit(NamedTuple):
    """What seconds or dollars are multiplied by to be read in a unit."""

    factor: float
    name: str


def seconds(values: Iterable[float]) -> Unit:
    """The unit that makes latencies readable."""
    top = _largest(values)
    return Unit(1.0, "s") if top >= 10.0 else Unit(1e3, "ms") if top >= 1e-3 else Unit(1e6, "µs")


def dollars(values: Iterable[float]) -> Unit:
    """The unit that makes the cost of an inference readable."""
    top = _largest(values)
    return Unit(1e3, "m$") if top >= 1e-2 else Unit(1e6, "µ$") if top >= 1e-6 or top == 0.0 else Unit(1e9, "n$")


def _largest(values: Iterable[float]) -> float:
    return max(filter(math.isfinite, values), default=0.0)


def from_zero(axes: Axes) -> None:
    """Begin the vertical axis at 0; where nothing drawn is above 0, it ends at 1."""
    axes.set_ylim(0.0, None if axes.dataLim.ymax > 0.0 else 1.0)


def whole_ticks(axes: Axes, values: Iterable[float]) -> None:
    """A vertical axis of whole numbers with some room around them, also where all are the same."""
    numbers = list(values)
    room = max(0.6, 0.06 * (max(numbers) - min(numbers)))
    axes.set_ylim(min(numbers) - room, max(numbers) + room)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def plain_ticks(axis: Axis) -> None:
    """Numbers as people write them on a logarithmic axis, also within a decade."""
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def log_ticks(axis: Axis, values: Floats) -> None:
    """Ticks of a logarithmic axis: `plain_ticks` where values span about a decade, denser below, sparser above."""
    above = values[values > 0.0]
    decades = math.log10(above.max() / above.min()) if above.size else 0.0
    plain_ticks(axis)
    if decades < 0.6:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_minor_locator(NullLocator())
    elif decades > 1.2:
        axis.set_major_locator(LogLocator(subs=(1,) if decades > 4.0 else (1, 3) if decades > 2.5 else (1, 2, 5)))


def legend_above(figure: Figure, *axes: Axes, columns: int = 4) -> None:
    """One legend for all panels, out of the way of the data; a name in several panels stands in it once."""
    handles: dict[str, Any] = {}
    for one in axes:
        found, names = one.get_legend_handles_labels()
        for handle, name in zip(found, names, strict=True):
            handles.setdefault(name, handle)
    if handles:
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper left", ncols=min(columns, len(handles)),
            columnspacing=1.6, handlelength=2.2, borderaxespad=0.2,
        )  # fmt: skip


def save(figure: Figure, *paths: Path) -> None:
    """Write PNG and SVG files, without the date in them. The layout is settled once."""
    metadata: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    with style():
        if layout := figure.get_layout_engine():
            layout.execute(figure)
            figure.set_layout_engine(None)
        for path in paths:
            figure.savefig(path, dpi=160, metadata=metadata[path.suffix])


def inlined(svg: str, name: str) -> str:
    """An SVG for a page that holds others: ids are its own, preamble, style and size are left out.

    Args:
        svg: as `save` wrote it.
        name: of the figure, unique on the page.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
