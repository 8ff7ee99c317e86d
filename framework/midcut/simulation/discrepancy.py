"""How far the picking predictors are from the truth set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.results.simulation import PartError
from midcut.simulation.passes import forecast_of

if TYPE_CHECKING:
    from midcut.planning.policy import Forecaster
    from midcut.simulation.scenario import Samples
    from midcut.types import Floats

MOST_VALUES = 1_000_000
"""Samples times placements that are looked at; of more samples, some at even distances."""
_PARTS = {"edge": "edge_s", "link": "link_s", "cloud": "cloud_s", "latency": "latency_s", "cost": "cost_usd"}


def part_errors(picking: Forecaster, truth: Forecaster, samples: Samples) -> tuple[PartError, ...]:
    """Compare both sets part by part, where the truth is not 0. A part that is 0 throughout is left out."""
    most = max(1, MOST_VALUES // len(truth.placements))
    some = samples.every(-(-len(samples) // most))
    observation = some.observation(0, len(some))
    predicted, true = (forecast_of(one, observation, len(some)) for one in (picking, truth))
    found = (_error(part, getattr(predicted, name), getattr(true, name)) for part, name in _PARTS.items())
    return tuple(error for error in found if error is not None)


def _error(part: str, predicted: Floats, true: Floats) -> PartError | None:
    counts = true > 0.0
    if not counts.any():
        return None
    relative = (predicted[counts] - true[counts]) / true[counts]
    size = np.abs(relative)
    return PartError(
        part=part,
        mape=float(size.mean()),
        p95=float(np.percentile(size, 95.0)),
        bias=float(relative.mean()),
    )
