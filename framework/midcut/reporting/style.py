"""What all figures share: colours, sizes, units, ticks, and how they are saved."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from midcut.types import Floats

# Paul Tol's bright scheme: distinct under the common kinds of colour blindness. Markers differ as well.
BLUE, RED, GREEN, YELLOW, CYAN, PURPLE, GREY, BLACK = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999", "#222222",
)  # fmt: skip
DARK_YELLOW, DARK_CYAN = "#8a7d1d", "#2b93ad"
"""For text and thin lines, for which the colours above are too pale."""
PALETTE = (BLUE, RED, GREEN, YELLOW, "#2fa5c7", PURPLE, GREY, BLACK)
"""For series without a colour of their own."""
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
"""For curves that may coincide; each is drawn thinner than the one below it."""
MAX_MARKED = 40
"""Points of a curve up to which each is marked."""
WIDTH = 8.4
"""Width of a page, inches."""
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
    "text.parse_math": False,  # a dollar sign in a title is no formula
    "svg.hashsalt": "midcut",  # the same figure, the same bytes
    "svg.fonttype": "path",  # the same shapes of letters on every machine
}


def figure_style() -> Any:
    """Context in which figures are drawn and saved."""
    return mpl.rc_context(_STYLE)


def new_figure(rows: int, columns: int, height: float, width: float = WIDTH, **how: Any) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, row by row.

    Args:
        height, width: size of the figure in inches.
        how: further arguments for `Figure.subplots`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **how).flat)


def strategy_colour(strategy: str, others: Sequence[str] = ()) -> str:
    """A strategy's colour, the same in all figures.

    Args:
        strategy: name of the strategy.
        others: all strategies in the figure: those of other plugins are told apart by their order.
    """
    return COLOURS.get(strategy) or _MORE_COLOURS[_index_among_others(strategy, others) % len(_MORE_COLOURS)]


def strategy_marker(strategy: str, others: Sequence[str] = ()) -> str:
    """A strategy's marker, chosen as `strategy_colour` chooses the colour."""
    return MARKERS.get(strategy) or _MORE_MARKERS[_index_among_others(strategy, others) % len(_MORE_MARKERS)]


def strategy_dash(strategy: str, others: Sequence[str] = ()) -> Any:
    """A strategy's line style: those of other plugins that share a colour differ in it."""
    if strategy in COLOURS:
        return DASHES[0]
    return DASHES[_index_among_others(strategy, others) // len(_MORE_COLOURS) % len(DASHES)]


def _index_among_others(strategy: str, others: Sequence[str]) -> int:
    names_without_colour = sorted({name for name in others if name not in COLOURS} | {strategy})
    return names_without_colour.index(strategy)


class Unit(NamedTuple):
    """A unit, and the factor that converts seconds or US dollars to it."""

    factor: float
    name: str


def latency_unit(values: Iterable[float]) -> Unit:
    """The unit in which latencies, given in seconds, are best read."""
    top = _largest_finite(values)
    return Unit(1.0, "s") if top >= 10.0 else Unit(1e3, "ms") if top >= 1e-3 else Unit(1e6, "µs")


def cost_unit(values: Iterable[float]) -> Unit:
    """The unit in which costs of an inference, given in US dollars, are best read."""
    top = _largest_finite(values)
    return Unit(1e3, "m$") if top >= 1e-2 else Unit(1e6, "µ$") if top >= 1e-6 or top == 0.0 else Unit(1e9, "n$")


def _largest_finite(values: Iterable[float]) -> float:
    return max(filter(math.isfinite, values), default=0.0)


def from_zero(axes: Axes) -> None:
    """Begin the vertical axis at 0, and end it at 1 where no data are above 0."""
    axes.set_ylim(0.0, None if axes.dataLim.ymax > 0.0 else 1.0)


def whole_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Ticks at whole numbers on the vertical axis, with some room around the data, also where all are equal."""
    numbers = list(values)
    room = max(0.6, 0.06 * (max(numbers) - min(numbers)))
    axes.set_ylim(min(numbers) - room, max(numbers) + room)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def no_fractional_ticks(axis: Axis, values: Floats) -> None:
    """No ticks between whole numbers if all values are whole or NaN."""
    if (np.isnan(values) | (values == np.round(values))).all():
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def add_clock_axis(bandwidth: Axes) -> Axes:
    """Add an axis for the clock on the right of the bandwidth's, and label both in the colours of their curves."""
    clock = bandwidth.twinx()
    bandwidth.set_ylabel("bandwidth\n[Mbit/s]", color=DARK_YELLOW)
    clock.set_ylabel("clock\n[GHz]", color=DARK_CYAN)
    clock.grid(visible=False)
    clock.spines["right"].set_visible(True)
    return clock


def plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, also within a decade."""
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def log_ticks(axis: Axis, values: Floats) -> None:
    """Label a logarithmic axis as `plain_ticks` does, with fewer ticks the more decades the values span."""
    above = values[values > 0.0]
    decades = math.log10(above.max() / above.min()) if above.size else 0.0
    plain_ticks(axis)
    if decades < 0.6:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.set_minor_locator(NullLocator())
    elif decades > 1.2:
        axis.set_major_locator(LogLocator(subs=(1,) if decades > 4.0 else (1, 3) if decades > 2.5 else (1, 2, 5)))


def legend_above(figure: Figure, *axes: Axes, columns: int = 4) -> None:
    """Draw one legend above all panels; a name in several panels is in it once."""
    handles: dict[str, Any] = {}
    for panel in axes:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    if handles:
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper left", ncols=min(columns, len(handles)),
            columnspacing=1.6, handlelength=2.2, borderaxespad=0.2,
        )  # fmt: skip


def save_figure(figure: Figure, *paths: Path) -> None:
    """Write a figure as PNG or SVG, without a date, so that the same figure gives the same bytes.

    Args:
        figure: its layout is computed once, for all files.
        paths: the files to write, which end in `.png` or `.svg`.
    """
    metadata: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    with figure_style():
        if layout := figure.get_layout_engine():
            layout.execute(figure)
            figure.set_layout_engine(None)
        for path in paths:
            figure.savefig(path, dpi=160, metadata=metadata[path.suffix])


def inline_svg(svg: str, name: str) -> str:
    """An SVG to be put into a page beside others: its ids are unique, and preamble, style and size are removed.

    Args:
        svg: as `save_figure` wrote it.
        name: name of the figure, unique on the page.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
