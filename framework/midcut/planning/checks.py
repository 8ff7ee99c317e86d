"""Checks that every planner shares, so that all refuse the same inputs with the same messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ForecastError

if TYPE_CHECKING:
    from midcut.types import Floats, Forecast


def check_weight(w: Any) -> Floats:
    """Convert w to an array of floats.

    Raises:
        ForecastError: not a number, or outside [0, 1].
    """
    try:
        weights = np.asarray(w, dtype=np.float64)
    except (TypeError, ValueError):
        raise ForecastError(f"w must be a number from 0 (fast) to 1 (cheap), got {w!r}") from None
    inside = (weights >= 0.0) & (weights <= 1.0)  # NaN is not inside
    if not inside.all():
        raise ForecastError(f"w must be from 0 (fast) to 1 (cheap), got {weights[~inside].flat[0]}")
    return weights


def check_forecast(forecast: Forecast) -> None:
    """Refuse a forecast that no planner can choose from.

    Raises:
        ForecastError: no placement, or latency or cost (or what `Forecast.aim` puts in their places) that is NaN,
            infinite or negative.
    """
    if len(forecast) == 0:
        raise ForecastError("the forecast has no placement: no cut is legal under this configuration")
    for name, values in zip(forecast.aim, (forecast.latency_s, forecast.cost_usd), strict=True):
        # Two cheap passes accept a valid forecast; only an invalid one is searched for the value to report.
        if not (np.isfinite(values.sum()) and values.min() >= 0.0):
            bad = ~(np.isfinite(values) & (values >= 0.0))
            if bad.any():
                row = int(np.argwhere(bad)[0][-1])
                raise ForecastError(
                    f"forecast has {name} = {values[bad].flat[0]} at cut {int(forecast.placements.cut[row])}; "
                    "every value must be a finite number, not negative"
                )
