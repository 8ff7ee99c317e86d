"""The planner with the smallest weighted sum of the two objectives, each scaled to [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.planning import check_forecast, check_weight
from midcut_planners.ranks import choose_rows, is_single, rank_placements, rank_single

if TYPE_CHECKING:
    from midcut.types import Floats, Forecast, Ints


class WeightedSum:
    """Picks the smallest w * cost + (1 - w) * latency, both min-max scaled over the forecast.

    An objective that is the same everywhere counts 0. Ties go to the faster, then the cheaper, then
    the first placement, so the pick is never dominated. Only placements on the convex hull can be
    reached; Algorithm 1 reaches every Pareto-optimal one.
    """

    def __init__(self, w: float) -> None:
        self.w = float(check_weight(w))

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """See `midcut.protocols.Planner`."""
        if is_single(forecast, w):
            return self._choose_single(forecast, float(w))
        weights = check_weight(w)
        check_forecast(forecast)
        ranked = rank_placements(forecast)
        latency_s, cost_usd = ranked.latency_s, ranked.cost_usd
        latency = _scaled(latency_s, latency_s[:, :1], latency_s[:, -1:])
        cost = _scaled(cost_usd, cost_usd.min(axis=-1, keepdims=True), cost_usd.max(axis=-1, keepdims=True))

        def position(rows: Ints, of: Floats) -> Ints:
            weight = of[:, None]
            score = weight * cost[rows] + (1.0 - weight) * latency[rows]
            # The placements are in latency order, so argmin takes the faster one of equals.
            best: Ints = score.argmin(axis=-1)
            return best

        return choose_rows(ranked, weights, position)

    def _choose_single(self, forecast: Forecast, w: float) -> Ints:
        """Choose for one observation and one weight, without the work for many observations."""
        order, by_cost = rank_single(forecast)
        latency, cost = forecast.latency_s[order], forecast.cost_usd[order]
        latency = _scaled_single(latency, latency[0], latency[-1])
        cost = _scaled_single(cost, cost[by_cost[0]], cost[by_cost[-1]])
        best: Ints = order[(w * cost + (1.0 - w) * latency).argmin()]
        return best


def _scaled(values: Floats, low: Floats, high: Floats) -> Floats:
    span = high - low
    return np.divide(values - low, span, out=np.zeros_like(values), where=span > 0.0)


def _scaled_single(values: Floats, low: Any, high: Any) -> Floats:
    span = high - low
    return (values - low) / span if span > 0.0 else np.zeros_like(values)
