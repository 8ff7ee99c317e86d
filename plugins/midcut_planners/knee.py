"""The knee of the Pareto front: beyond it a small gain in one objective costs much of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.planning import check_forecast, check_weight
from midcut_planners.ranks import is_single, rank_placements, rank_single, row_slices

if TYPE_CHECKING:
    from midcut.types import Floats, Forecast, Ints


class Knee:
    """Picks the Pareto-optimal placement farthest below the line between the fastest and the cheapest one.

    Both objectives are min-max scaled over the front, as in Das (1999, "On characterizing the knee of the Pareto
    curve based on normal-boundary intersection"), so that the ends are (0, 1) and (1, 0), and the distance from
    their line is proportional to 1 - latency - cost. Points above the line are no knee. Ties go to the faster
    placement; of a front of two the fastest is the knee. The weight has no effect.
    """

    w = None

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """See `midcut.protocols.Planner`."""
        if is_single(forecast, w):
            order, by_cost = rank_single(forecast)
            latency, cost = forecast.latency_s[order], forecast.cost_usd[order]
            knee: Ints = order[_scaled_sum(latency, cost, latency[by_cost[0]], cost[by_cost[0]]).argmin()]
            return knee
        weights = check_weight(w)
        check_forecast(forecast)
        ranked = rank_placements(forecast)
        picks: Ints = np.empty(len(ranked.order), dtype=np.intp)
        for rows in row_slices(len(picks), len(forecast)):
            latency, cost = ranked.latency_s[rows], ranked.cost_usd[rows]
            cheapest = cost.argmin(axis=-1)[:, None]
            ends = (np.take_along_axis(values, cheapest, -1) for values in (latency, cost))
            best = _scaled_sum(latency, cost, *ends).argmin(axis=-1)[:, None]
            picks[rows] = np.take_along_axis(ranked.order[rows], best, -1)[:, 0]
        picks = picks.reshape(ranked.shape)
        return np.broadcast_to(picks, np.broadcast_shapes(picks.shape, weights.shape))


def _scaled_sum(latency: Floats, cost: Floats, slowest: Floats, lowest: Floats) -> Floats:
    """Scaled latency plus scaled cost of placements in latency order, shape (..., P).

    Dominated placements need not be removed: whatever dominates one comes before it and has no larger sum.

    Args:
        slowest, lowest: latency and cost of the cheapest placement, the front's other end, shape (..., 1) or ().
    """
    latency_span, cost_span = slowest - latency[..., :1], cost[..., :1] - lowest
    # A span of 0 means a front of a single placement, the first one, whose terms are 0 whatever they are divided by.
    scaled = (latency - latency[..., :1]) / np.where(latency_span > 0.0, latency_span, 1.0)
    scaled += (cost - lowest) / np.where(cost_span > 0.0, cost_span, 1.0)
    return scaled
