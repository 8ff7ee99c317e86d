"""Reading a field of an observation: one number, or a column that broadcasts against placements."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ForecastError

if TYPE_CHECKING:
    from midcut.types import Observation


def positive(observation: Observation, name: str) -> Any:
    """The field, greater than 0: a float, or an array of shape (..., 1).

    Raises:
        ForecastError: missing, not a number, 0 or less, or infinite.
    """
    value = getattr(observation, name)
    if isinstance(value, float) and 0.0 < value < math.inf:
        return value
    return _column(value, name, "greater than 0", value_ok=lambda values: values > 0.0)


def not_negative(observation: Observation, name: str) -> Any:
    """The field, 0 or more: a float, or an array of shape (..., 1).

    Raises:
        ForecastError: missing, not a number, negative, or infinite.
    """
    value = getattr(observation, name)
    if isinstance(value, float) and 0.0 <= value < math.inf:
        return value
    return _column(value, name, "0 or more", value_ok=lambda values: values >= 0.0)


def _column(value: Any, name: str, bound: str, value_ok: Any) -> Any:
    if value is None:
        raise ForecastError(f"the observation has no {name}, which this predictor needs")
    try:
        values = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ForecastError(f"{name} must be a number {bound}, got {value!r}") from None
    good = value_ok(values) & np.isfinite(values)
    if not good.all():
        raise ForecastError(f"{name} must be a finite number {bound}, got {values[~good].flat[0]}")
    return values[..., None] if values.ndim else float(values)
