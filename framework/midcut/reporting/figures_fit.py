"""The clock law as the paper's Figure 4 shows it: normalised slopes over the clock, and the curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.profiles import Normalisation
from midcut.profiles.fitting import points_of, predicted_slope_s
from midcut.reporting.style import PALETTE, legend_above, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.profiles import Fit, Law
    from midcut.profiles.fitting import Points

_MARKERS = ("o", "s", "^", "D", "v", "P")
_NAMES = {
    Normalisation.minmax: "Min-max (the paper's)",
    Normalisation.max: "Divided by the largest",
    Normalisation.loglog: "Log-log, a curve per model",
}


def draw_fit(fitted: Fit) -> Figure:
    """A panel per normalisation; points left out of the fit are hollow."""
    measured = points_of(fitted)
    figure, axes = panels(1, len(fitted.laws), 3.5, sharey=True)
    clock_mhz = np.linspace(fitted.clock_min_mhz, fitted.clock_max_mhz, 200)
    for one, (name, law) in zip(axes, fitted.laws.items(), strict=True):
        for place, model in enumerate(law.models):
            points = next((points for points in measured if points.model == model), None)
            _draw_model(one, name, law, (model, points), place, clock_mhz)
        title = f"{_NAMES[name]}\nmean error {law.mean_error:.1%}, max {law.max_error:.1%}"
        one.set(xlabel="clock CS [MHz]", title=title)
        one.set_ylim(bottom=min(0.0, one.get_ylim()[0]))
    axes[0].plot([], [], "o", color="#777777", markerfacecolor="none", label="left out of the fit")
    axes[0].plot([], [], color="#222222", label="fitted power law, a · CS^b")
    axes[0].set_ylabel("normalised slope [1]")
    legend_above(figure, axes[0], columns=5)
    return figure


def _draw_model(
    axes: Axes, name: Normalisation, law: Law, model: tuple[str, Points | None], place: int, clock_mhz: np.ndarray
) -> None:
    """A model's points and curve, both between the bounds that this normalisation uses."""
    title, points = model
    one = law.models[title]
    curve_s = predicted_slope_s(one, clock_mhz)
    seen_s = curve_s if points is None else points.slope_s
    low = one.lower if name is Normalisation.minmax else 0.0
    scale = (one.upper - low) if name is not Normalisation.loglog else float(seen_s.max())
    paint = PALETTE[place % len(PALETTE)]
    if points is not None:
        y, shape = (points.slope_s - low) / scale, _MARKERS[place % len(_MARKERS)]
        axes.plot(points.clock_mhz[points.fitted], y[points.fitted], shape, color=paint, label=title)
        axes.plot(points.clock_mhz[~points.fitted], y[~points.fitted], shape, color=paint, markerfacecolor="none")
    if name is Normalisation.loglog or place == 0:
        shared = name is not Normalisation.loglog
        axes.plot(clock_mhz, (curve_s - low) / scale, color="#222222" if shared else paint, linewidth=1.2, zorder=1)
        if shared:
            axes.text(
                0.97, 0.95, f"{one.a:.3g} · CS$^{{{one.b:.2f}}}$", transform=axes.transAxes, ha="right", va="top",
                parse_math=True,
            )  # fmt: skip
