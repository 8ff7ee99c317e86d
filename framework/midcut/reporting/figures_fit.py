"""The clock law as the paper's Figure 4 shows it: normalised slopes over the clock, and the curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.profiles import Normalisation
from midcut.profiles.fitting import points_of, predicted_slope_s
from midcut.reporting.style import PALETTE, legend_above, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midcut.profiles import Fit, ModelLaw
    from midcut.profiles.fitting import Points
    from midcut.types import Floats

_MARKERS = ("o", "s", "^", "D", "v", "P")
_NAMES = {
    Normalisation.minmax: "Min-max (the paper's)",
    Normalisation.max: "Divided by the largest",
    Normalisation.loglog: "Log-log, a curve per model",
}


def draw_fit(fit: Fit) -> Figure:
    """A panel per normalisation; points left out of the fit are hollow."""
    points = {model.model: model for model in points_of(fit)}
    figure, all_axes = new_figure(1, len(fit.laws), 3.5, sharey=True)
    clock_mhz = np.linspace(fit.clock_min_mhz, fit.clock_max_mhz, 200)
    for axes, (name, law) in zip(all_axes, fit.laws.items(), strict=True):
        for place, model in enumerate(law.models):
            _draw_model(axes, name, law.models[model], (model, points.get(model)), place, clock_mhz)
        title = f"{_NAMES[name]}\nmean error {law.mean_error:.1%}, max {law.max_error:.1%}"
        axes.set(xlabel="clock CS [MHz]", title=title)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    all_axes[0].plot([], [], "o", color="#777777", markerfacecolor="none", label="left out of the fit")
    all_axes[0].plot([], [], color="#222222", label="fitted power law, a · CS^b")
    all_axes[0].set_ylabel("normalised slope [1]")
    legend_above(figure, all_axes[0], columns=5)
    return figure


def _draw_model(
    axes: Axes, name: Normalisation, law: ModelLaw, model: tuple[str, Points | None], place: int, clock_mhz: Floats
) -> None:
    """Draw a model's points, and its curve where it has one of its own, normalised by the bounds of the law."""
    label, points = model
    curve_s = predicted_slope_s(law, clock_mhz)
    slopes_s = curve_s if points is None else points.slope_s
    low = law.lower if name is Normalisation.minmax else 0.0
    scale = (law.upper - low) if name is not Normalisation.loglog else float(slopes_s.max())
    colour = PALETTE[place % len(PALETTE)]
    if points is not None:
        y, marker = (points.slope_s - low) / scale, _MARKERS[place % len(_MARKERS)]
        axes.plot(points.clock_mhz[points.fitted], y[points.fitted], marker, color=colour, label=label)
        axes.plot(points.clock_mhz[~points.fitted], y[~points.fitted], marker, color=colour, markerfacecolor="none")
    if name is Normalisation.loglog or place == 0:
        shared = name is not Normalisation.loglog
        axes.plot(clock_mhz, (curve_s - low) / scale, color="#222222" if shared else colour, linewidth=1.2, zorder=1)
        if shared:
            axes.text(
                0.97, 0.95, f"{law.a:.3g} · CS$^{{{law.b:.2f}}}$", transform=axes.transAxes, ha="right", va="top",
                parse_math=True,
            )  # fmt: skip
