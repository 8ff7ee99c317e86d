"""The fastest placement that keeps up with a rate of requests (Hu et al. 2019, DADS)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ConfigError
from midcut.planning import check_forecast, check_weight
from midcut_planners.ranks import is_single

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midcut.types import Floats, Forecast, Ints

PERIOD = "period_s"


class Throughput:
    """Picks the fastest placement whose period is under 1 / `rate_hz`, or, where there is none, the shortest period.

    These are DADS's light and heavy load. The period is the column `period_s` (objective=period). A forecast without it
    has the largest of edge, link and cloud seconds as its period, which is too long by the ping. Ties go to the second
    objective, then to the first placement. The weight has no effect.

    Raises:
        ConfigError: the rate is not a number over 0.
    """

    w = None

    def __init__(self, rate_hz: float | None) -> None:
        if rate_hz is None or not 0.0 < rate_hz < math.inf:
            raise ConfigError(f"planner throughput: rate_hz must be given, a number over 0, got {rate_hz}")
        self._longest_s = 1.0 / rate_hz
        self.limit = f"a period under {self._longest_s:.4g} s, for {rate_hz:g} requests a second"

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """See `midcut.protocols.Planner`."""
        if is_single(forecast, w):
            return self._choose_single(forecast)
        weights = check_weight(w)
        check_forecast(forecast)
        period_s, latency_s, cost_usd = np.broadcast_arrays(_period_s(forecast), forecast.latency_s, forecast.cost_usd)
        within = period_s < self._longest_s
        heavy = ~within.any(axis=-1, keepdims=True)
        first = np.where(heavy, period_s, np.where(within, latency_s, np.inf))
        ties = first == first.min(axis=-1, keepdims=True)
        second = np.where(ties, np.where(heavy, latency_s, cost_usd), np.inf)
        ties = second == second.min(axis=-1, keepdims=True)
        picks: Ints = np.where(ties, cost_usd, np.inf).argmin(axis=-1)
        return np.broadcast_to(picks, np.broadcast_shapes(picks.shape, weights.shape))

    def _choose_single(self, forecast: Forecast) -> Ints:
        """Choose for one observation, with few numpy calls."""
        period_s, latency_s, cost_usd = _period_s(forecast), forecast.latency_s, forecast.cost_usd
        if not (math.isfinite(latency_s.sum() + cost_usd.sum()) and min(latency_s.min(), cost_usd.min()) >= 0.0):
            check_forecast(forecast)
        within = period_s < self._longest_s
        if within.any():
            best: Any = np.lexsort((cost_usd, np.where(within, latency_s, np.inf)))[0]
        else:
            best = np.lexsort((cost_usd, latency_s, period_s))[0]
        return np.asarray(best)

    def meets(self, forecast: Forecast, picks: Ints) -> NDArray[np.bool_]:
        """See `midcut.protocols.LimitedPlanner`."""
        period_s = np.broadcast_to(_period_s(forecast), forecast.latency_s.shape)
        leading = np.broadcast_shapes(period_s.shape[:-1], picks.shape)
        rows = np.broadcast_to(period_s, (*leading, period_s.shape[-1]))
        picked = np.take_along_axis(rows, np.broadcast_to(picks, leading)[..., None], axis=-1)[..., 0]
        return np.asarray(picked < self._longest_s)


def _period_s(forecast: Forecast) -> Floats:
    if PERIOD in forecast.objectives:
        return forecast.column(PERIOD)
    first, *others = forecast.parts.values()
    for part_s in others:
        first = np.maximum(first, part_s)
    return first
