"""How long an edge waits for the cloud before it starts the rest of a request itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from midcut.types import Floats, Forecast, Ints


def patience_s(forecast: Forecast, rows: int | Ints, factor: float) -> Floats:
    """Seconds to wait for all that happens beyond the edge: a factor times what was predicted of it.

    Args:
        forecast: what the picks were made from, arrays of shape (..., P).
        rows: the picks, shape (...).
        factor: `engine.give_up_factor`.
    """
    seconds: Floats = np.take_along_axis(all_patience_s(forecast, factor), np.asarray(rows)[..., None], -1)[..., 0]
    return seconds


def all_patience_s(forecast: Forecast, factor: float) -> Floats:
    """As `patience_s`, for every placement, shape (..., P)."""
    return factor * forecast.away_s
