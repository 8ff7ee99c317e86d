"""The paper's Algorithm 1 (Luger, Aral, Brandic 2023), in closed form.

Placements are ranked twice, by (latency, cost, index) and by (cost, latency, index). Round i = 0, 1, ... looks at a
window of first entries of each list; the window on the less important objective is the larger one. The search ends with
the first round in which an entry is in both windows. The windows are:

    ratio   w <= 1/2: i+1 of the latency list, floor((i+1)(1-w)/w) of the cost list; else swapped
    offset  w <= 1/2: i+1 of the latency list, i+1+k of the cost list, k = round(|1-2w| (P-1)); else swapped

If several entries match in one round, the first one within the round wins (`ratio` only), then the smaller weighted sum
of ranks, then the lower latency. So the search picks the smallest of one integer key per placement, and that key is
computed here. The weight is a fraction p / q with q <= 10000, because in floats 0.6 / 0.4 is 1.4999999999999998.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ForecastError
from midcut.planning import check_forecast, check_weight
from midcut_planners.config import Prefilter, Semantics
from midcut_planners.ranks import choose_rows, is_single, pareto_mask, rank_placements, rank_single

if TYPE_CHECKING:
    from midcut.types import Floats, Forecast, Ints
    from midcut_planners.ranks import Ranked

MAX_DENOMINATOR = 10_000
MAX_PLACEMENTS = 100_000
"""With more placements a key would not fit 63 bits."""
MAX_TABLE = 128
"""Up to this many placements a single decision looks its keys up in a table, 128 kB per weight."""


class Algorithm1:
    """Picks the first match of two lists of placements, ranked by latency and by cost."""

    def __init__(
        self, w: float, semantics: Semantics | str = Semantics.ratio, prefilter: Prefilter | str = Prefilter.none
    ) -> None:
        self.w = float(check_weight(w))
        self._key = _ratio_key if Semantics(semantics) is Semantics.ratio else _offset_key
        self._pareto = Prefilter(prefilter) is Prefilter.pareto

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """See `midcut.protocols.Planner`."""
        if len(forecast) <= MAX_PLACEMENTS and not self._pareto and is_single(forecast, w):
            return self._choose_single(forecast, float(w))
        check_forecast(forecast)
        if len(forecast) > MAX_PLACEMENTS:
            raise ForecastError(f"Algorithm 1 ranks at most {MAX_PLACEMENTS} placements, got {len(forecast)}")
        return self._choose_many(forecast, check_weight(w))

    def _choose_single(self, forecast: Forecast, w: float) -> Ints:
        """Choose for one observation and one weight: few keys are looked up in a table over all pairs of ranks."""
        if len(forecast) > MAX_TABLE:
            return self._choose_single_of_many(forecast, w)
        keys, row_starts = _key_table(self._key, w, len(forecast))
        order, by_cost = rank_single(forecast)
        best: Ints = order[by_cost[keys.take(by_cost + row_starts).argmin()]]
        return best

    def _choose_single_of_many(self, forecast: Forecast, w: float) -> Ints:
        order, by_cost = rank_single(forecast)
        p, q = weight_fraction(w)
        ranks, count = _cached_arange(len(order)), len(order)
        cost_rank = np.empty_like(by_cost)
        cost_rank[by_cost] = ranks
        # In latency order, so that argmin takes the lower latency of equal keys.
        best: Ints = order[self._key(ranks, cost_rank, p, q, q * count + 1, count).argmin()]
        return best

    def _choose_many(self, forecast: Forecast, weights: Floats) -> Ints:
        ranked = rank_placements(forecast)
        latency_rank, cost_rank, shown = self._rank_columns(ranked)
        distinct, which = np.unique(weights, return_inverse=True)
        fractions = np.array([weight_fraction(weight) for weight in distinct.tolist()], dtype=np.int64).reshape(-1, 2)
        base = int(fractions.max(initial=1)) * len(forecast) + 1
        dtype = np.int32 if base * base < 2**31 else np.int64
        p, q = fractions[:, 0].astype(dtype), fractions[:, 1].astype(dtype)
        latency_rank, cost_rank = latency_rank.astype(dtype), cost_rank.astype(dtype)

        def position(rows: Ints, of: Ints) -> Ints:
            lat = latency_rank[rows] if self._pareto else latency_rank
            key = self._key(lat, cost_rank[rows], p[of, None], q[of, None], base, shown[rows, None])
            if self._pareto:
                key[cost_rank[rows] < 0] = np.iinfo(dtype).max
            # The placements are in latency order, so argmin takes the lower latency of equal keys.
            best: Ints = key.argmin(axis=-1)
            return best

        return choose_rows(ranked, which.reshape(weights.shape), position)

    def _rank_columns(self, ranked: Ranked) -> tuple[Ints, Ints, Ints]:
        """Ranks by latency and by cost (-1 where the prefilter removed the placement), and how many are ranked."""
        observations, count = ranked.order.shape
        if not self._pareto:
            return _cached_arange(count)[None, :], ranked.cost_rank, np.full(observations, count)
        keep = pareto_mask(ranked)
        latency_rank = keep.cumsum(axis=-1) - 1
        shown = latency_rank[:, -1] + 1
        # Along the front cost falls as latency rises, so the cost rank is the latency rank counted from the end.
        return latency_rank, np.where(keep, shown[:, None] - 1 - latency_rank, -1), shown


@lru_cache(maxsize=65_536)
def weight_fraction(w: float) -> tuple[int, int]:
    """The weight as p / q, exact for every weight with up to four decimals.

    Raises:
        ForecastError: w outside [0, 1].
    """
    exact = Fraction(float(check_weight(w))).limit_denominator(MAX_DENOMINATOR)
    return exact.numerator, exact.denominator


@lru_cache(maxsize=64)
def _key_table(key: Any, w: float, count: int) -> tuple[Ints, Ints]:
    """Keys of all pairs (cost rank, latency rank) in one axis, and the index at which each cost rank starts.

    The latency rank is added as the last part of a key, because here the placements are in cost order.
    """
    p, q = weight_fraction(w)
    ranks = _cached_arange(count)
    keys = key(ranks[None, :], ranks[:, None], p, q, q * count + 1, count) * count + ranks
    return keys.ravel(), ranks * count


@lru_cache(maxsize=64)
def _cached_arange(count: int) -> Ints:
    indices = np.arange(count)
    indices.setflags(write=False)
    return indices


def _ratio_key(latency_rank: Any, cost_rank: Any, p: Any, q: Any, base: int, _shown: Any) -> Any:
    """The position of the first match, max((1-w)(rL+1), w(rC+1)), then (1-w) rL + w rC, in one integer."""
    latency = (latency_rank + 1) * (q - p)
    cost = (cost_rank + 1) * p
    key = np.maximum(latency, cost)
    key *= base
    key += latency
    key += cost
    return key


def _offset_key(latency_rank: Any, cost_rank: Any, p: Any, q: Any, base: int, shown: Any) -> Any:
    """The round of the first match, then (1-w) rL + w rC, in one integer."""
    ahead = abs(q - 2 * p) * (shown - 1)
    whole, rest = ahead // q, ahead % q
    whole = whole + ((2 * rest > q) | ((2 * rest == q) & (whole % 2 == 1)))  # Python's round: half to even
    prefers_cost = 2 * p > q
    # whole - whole * prefers_cost instead of `~prefers_cost`, which is a Python bool for one weight, an array for many.
    key = np.maximum(latency_rank - whole * prefers_cost, cost_rank - (whole - whole * prefers_cost))
    key *= base
    key += latency_rank * (q - p)
    key += cost_rank * p
    return key
