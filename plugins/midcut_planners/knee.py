"""The knee of the Pareto front: where a little more of one objective stops buying much of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.planning import check_forecast, check_weight
from midcut_planners.ranks import is_single, pieces, rank, rank_one

if TYPE_CHECKING:
    from midcut.types import Floats, Forecast, Ints


class Knee:
    """The Pareto-optimal placement farthest below the line between the fastest and the cheapest one.

    Both objectives are min-max scaled over the front, as in Das (1999, "On characterizing the knee of the Pareto
    curve based on normal-boundary intersection"), so that the ends are (0, 1) and (1, 0), and the distance from
    their line goes with 1 - latency - cost. Points above the line are no knee; ties go to the faster placement, and
    a front of two has its fastest as knee. It follows no weight.
    """

    w = None

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """See `midcut.protocols.Planner`."""
        if is_single(forecast, w):
            order, by_cost = rank_one(forecast)
            latency, cost = forecast.latency_s[order], forecast.cost_usd[order]
            knee: Ints = order[_sum(latency, cost, latency[by_cost[0]], cost[by_cost[0]]).argmin()]
            return knee
        weights = check_weight(w)
        check_forecast(forecast)
        ranked = rank(forecast)
        picks: Ints = np.empty(len(ranked.order), dtype=np.intp)
        for piece in pieces(len(picks), len(forecast)):
            latency, cost = ranked.latency_s[piece], ranked.cost_usd[piece]
            cheapest = cost.argmin(axis=-1)[:, None]
            ends = (np.take_along_axis(values, cheapest, -1) for values in (latency, cost))
            best = _sum(latency, cost, *ends).argmin(axis=-1)[:, None]
            picks[piece] = np.take_along_axis(ranked.order[piece], best, -1)[:, 0]
        picks = picks.reshape(ranked.shape)
        return np.broadcast_to(picks, np.broadcast_shapes(picks.shape, weights.shape))


def _sum(latency: Floats, cost: Floats, slowest: Floats, lowest: Floats) -> Floats:
    """Scaled latency plus scaled cost of placements in latency order, shape (..., P).

    Dominated placements need not be left out: what dominates one comes before it, with a sum that is no larger.

    Args:
        slowest, lowest: latency and cost of the cheapest placement, the front's other end, shape (..., 1) or ().
    """
    latency_span, cost_span = slowest - latency[..., :1], cost[..., :1] - lowest
    # A span of 0 is a front of one: the first placement, whose terms are 0 over anything.
    scaled = (latency - latency[..., :1]) / np.where(latency_span > 0.0, latency_span, 1.0)
    scaled += (cost - lowest) / np.where(cost_span > 0.0, cost_span, 1.0)
    return scaled
