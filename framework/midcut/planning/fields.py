"""Checked access to a field of an observation: one number, or a column that broadcasts against placements."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midcut.errors import ForecastError

if TYPE_CHECKING:
    from midcut.types import Observation

OUTAGE_KBPS: Final = 1e-3
"""What an outage counts as: a byte in 8 s. Forecasts stay finite, and a placement that sends is far too late."""


def positive_field(observation: Observation, name: str) -> Any:
    """Return a field that must be greater than 0: a float, or an array of shape (..., 1).

    Raises:
        ForecastError: missing, not a number, 0 or less, or infinite.
    """
    value = observation.value(name)
    if isinstance(value, float) and 0.0 < value < math.inf:
        return value
    return _check_column(value, name, "greater than 0", is_legal=lambda values: values > 0.0)


def non_negative_field(observation: Observation, name: str) -> Any:
    """Return a field that must be 0 or more: a float, or an array of shape (..., 1).

    Raises:
        ForecastError: missing, not a number, negative, or infinite.
    """
    value = observation.value(name)
    if isinstance(value, float) and 0.0 <= value < math.inf:
        return value
    return _check_column(value, name, "0 or more", is_legal=lambda values: values >= 0.0)


def bandwidth_field(observation: Observation, name: str = "bandwidth_kbps") -> Any:
    """Return a bandwidth, kbit/s: a float, or an array of shape (..., 1). An outage, 0, is given as `OUTAGE_KBPS`.

    Raises:
        ForecastError: missing, not a number, negative, or infinite.
    """
    value = non_negative_field(observation, name)
    return max(value, OUTAGE_KBPS) if isinstance(value, float) else np.maximum(value, OUTAGE_KBPS)


def _check_column(value: Any, name: str, bound: str, is_legal: Any) -> Any:
    if value is None:
        raise ForecastError(f"the observation has no {name}, which this predictor needs")
    try:
        values = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ForecastError(f"{name} must be a number {bound}, got {value!r}") from None
    legal = is_legal(values) & np.isfinite(values)
    if not legal.all():
        raise ForecastError(f"{name} must be a finite number {bound}, got {values[~legal].flat[0]}")
    return values[..., None] if values.ndim else float(values)
