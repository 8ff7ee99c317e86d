"""How far the forecasts that planners decide on are from the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.results.simulation import PartError
from midcut.simulation.chunks import broadcast_forecast

if TYPE_CHECKING:
    from midcut.planning.policy import Forecaster
    from midcut.simulation.scenario import Samples
    from midcut.types import Floats

MAX_VALUES = 1_000_000
"""Samples times placements that are compared. Of more samples, an evenly spaced subset is compared."""


def part_errors(planning: Forecaster, truth: Forecaster, samples: Samples) -> tuple[PartError, ...]:
    """Relative errors by part of the forecast where the true value is not 0; a part that is always 0 is absent."""
    most = max(1, MAX_VALUES // len(truth.placements))
    compared = samples.every(-(-len(samples) // most))
    count = len(compared)
    observation = compared.observation(0, count)
    predicted, true = (broadcast_forecast(forecaster, observation, count) for forecaster in (planning, truth))
    columns = (
        forecast.parts | {"latency": forecast.latency_s, "cost": forecast.cost_usd} for forecast in (predicted, true)
    )
    predicted_columns, true_columns = columns
    errors = (_error_of_part(part, predicted_columns[part], values) for part, values in true_columns.items())
    return tuple(error for error in errors if error is not None)


def _error_of_part(part: str, predicted: Floats, true: Floats) -> PartError | None:
    nonzero = true > 0.0
    if not nonzero.any():
        return None
    relative = (predicted[nonzero] - true[nonzero]) / true[nonzero]
    size = np.abs(relative)
    return PartError(
        part=part,
        mape=float(size.mean()),
        p95=float(np.percentile(size, 95.0)),
        bias=float(relative.mean()),
    )
