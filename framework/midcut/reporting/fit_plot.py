"""The paper's Figure 4: normalised slopes over the clock, and the fitted curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from midcut.profiles import Normalisation
from midcut.profiles.fitting import predicted_slope_s

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midcut.profiles import Fit
    from midcut.profiles.fitting import Points

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")


def draw_fit(path: Path, measured: Sequence[Points], fitted: Fit) -> Path:
    """One panel a normalisation: points seen by the fit filled, points left out hollow, curves as lines.

    Args:
        path: a PNG or SVG file to write.
        measured: the points, split as they were for the fit.
        fitted: the fit.
    """
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(fitted.laws), sharey=True, squeeze=False)[0]
    clock_mhz = np.linspace(fitted.clock_min_mhz, fitted.clock_max_mhz, 200)
    for axes, (name, law) in zip(panels, fitted.laws.items(), strict=True):
        for index, one in enumerate(measured):
            colour = COLOURS[index % len(COLOURS)]
            low = one.slope_s.min() if name is Normalisation.minmax else 0.0
            scale = one.slope_s.max() - low
            y = (one.slope_s - low) / scale
            axes.plot(one.clock_mhz[one.fitted], y[one.fitted], "o", color=colour, label=one.model)
            axes.plot(one.clock_mhz[~one.fitted], y[~one.fitted], "o", color=colour, markerfacecolor="none")
            curve = (predicted_slope_s(law.models[one.model], clock_mhz) - low) / scale
            if name is Normalisation.loglog or index == 0:
                shared = name is not Normalisation.loglog
                label = f"{law.models[one.model].a:.3g} · CS^{law.models[one.model].b:.2f}"
                axes.plot(clock_mhz, curve, color="#222222" if shared else colour, linewidth=1, label=label)
        axes.plot([], [], "o", color="#888888", markerfacecolor="none", label="left out of the fit")
        title = f"{name.value}: mean error {law.mean_error:.1%}, max {law.max_error:.1%}"
        axes.set(xlabel="clock CS [MHz]", title=title)
        axes.legend(fontsize=8)
    panels[0].set_ylabel("normalised slope [1]")
    with rc_context({"svg.hashsalt": "midcut"}):  # the same fit, the same bytes
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path
