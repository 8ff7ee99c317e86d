"""The paper's Algorithm 1 (Luger, Aral, Brandic 2023), in closed form.

Placements are ranked twice, by (latency, cost, index) and by (cost, latency, index). Round i = 0, 1,
... shows the first entries of both lists, more of the list the weight turns from; the first round in
which an entry stands in both windows ends. Written out:

    ratio   w <= 1/2: i+1 of the latency list, floor((i+1)(1-w)/w) of the cost list; else swapped
    offset  w <= 1/2: i+1 of the latency list, i+1+k of the cost list, k = round(|1-2w| (P-1)); else swapped

Several entries that match in one round are told apart by (`ratio` only) how far into it they match,
then by the smaller weighted sum of ranks, then by latency. So the loop picks the smallest of a few
whole numbers per placement, which is what is computed here. The weight is a fraction p / q with
q <= 10000: 0.6 / 0.4 is 1.4999999999999998 in floats.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ForecastError
from midcut.planning import check_forecast, check_weight
from midcut_planners.config import Prefilter, Semantics
from midcut_planners.ranks import choose, pareto, rank, rank_one

if TYPE_CHECKING:
    from midcut.types import Floats, Forecast, Ints
    from midcut_planners.ranks import Ranked

MAX_DENOMINATOR = 10_000
MAX_PLACEMENTS = 100_000
"""Beyond, a key would not fit 63 bits."""
MAX_TABLE = 128
"""Up to here a single decision looks its keys up: 128 kB a weight."""


class Algorithm1:
    """First match of two lists that are ranked by latency and by cost."""

    def __init__(
        self, w: float, semantics: Semantics | str = Semantics.ratio, prefilter: Prefilter | str = Prefilter.none
    ) -> None:
        self.w = float(check_weight(w))
        self._key = _ratio_key if Semantics(semantics) is Semantics.ratio else _offset_key
        self._pareto = Prefilter(prefilter) is Prefilter.pareto

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """See `midcut.protocols.Planner`."""
        count = len(forecast)
        single = isinstance(w, float) and forecast.latency_s.ndim == forecast.cost_usd.ndim == 1
        if single and 0 < count <= MAX_TABLE and not self._pareto:
            return self._choose_one(forecast, float(w))
        check_forecast(forecast)
        if count > MAX_PLACEMENTS:
            raise ForecastError(f"Algorithm 1 ranks at most {MAX_PLACEMENTS} placements, got {count}")
        return self._choose_many(forecast, check_weight(w))

    def _choose_one(self, forecast: Forecast, w: float) -> Ints:
        """One observation, one weight: the same key, looked up in a table of all pairs of ranks."""
        keys, row_starts = _table(self._key, w, len(forecast))
        order, by_cost = rank_one(forecast)
        best: Ints = order[by_cost[keys.take(by_cost + row_starts).argmin()]]
        return best

    def _choose_many(self, forecast: Forecast, weights: Floats) -> Ints:
        ranked = rank(forecast)
        latency_rank, cost_rank, shown = self._ranks(ranked)
        distinct, which = np.unique(weights, return_inverse=True)
        fractions = np.array([fraction(weight) for weight in distinct.tolist()], dtype=np.int64).reshape(-1, 2)
        base = int(fractions.max(initial=1)) * len(forecast) + 1
        kind = np.int32 if base * base < 2**31 else np.int64
        p, q = fractions[:, 0].astype(kind), fractions[:, 1].astype(kind)
        latency_rank, cost_rank = latency_rank.astype(kind), cost_rank.astype(kind)

        def position(rows: Ints, of: Ints) -> Ints:
            lat = latency_rank[rows] if self._pareto else latency_rank
            key = self._key(lat, cost_rank[rows], p[of, None], q[of, None], base, shown[rows, None])
            if self._pareto:
                key[cost_rank[rows] < 0] = np.iinfo(kind).max
            # Latency order makes the first minimum the one with the smaller latency rank.
            best: Ints = key.argmin(axis=-1)
            return best

        return choose(ranked, which.reshape(weights.shape), position)

    def _ranks(self, ranked: Ranked) -> tuple[Ints, Ints, Ints]:
        """Ranks by latency and by cost, -1 for what the prefilter left out, and how many are ranked."""
        observations, count = ranked.order.shape
        if not self._pareto:
            return _counting(count)[None, :], ranked.cost_rank, np.full(observations, count)
        keep = pareto(ranked)
        latency_rank = keep.cumsum(axis=-1) - 1
        shown = latency_rank[:, -1] + 1
        # Along the front cost falls as latency rises, so one rank is the other one backwards.
        return latency_rank, np.where(keep, shown[:, None] - 1 - latency_rank, -1), shown


@lru_cache(maxsize=65_536)
def fraction(w: float) -> tuple[int, int]:
    """The weight as p / q, exact for what people type.

    Raises:
        ForecastError: w outside [0, 1].
    """
    exact = Fraction(float(check_weight(w))).limit_denominator(MAX_DENOMINATOR)
    return exact.numerator, exact.denominator


@lru_cache(maxsize=64)
def _table(key: Any, w: float, count: int) -> tuple[Ints, Ints]:
    """Keys of all pairs of ranks, flat over (cost rank, latency rank), and where each cost rank starts.

    The latency rank is the last part of a key here: the pairs are looked up in order of cost.
    """
    p, q = fraction(w)
    ranks = _counting(count)
    keys = key(ranks[None, :], ranks[:, None], p, q, q * count + 1, count) * count + ranks
    return keys.ravel(), ranks * count


@lru_cache(maxsize=64)
def _counting(count: int) -> Ints:
    numbers = np.arange(count)
    numbers.setflags(write=False)
    return numbers


def _ratio_key(latency_rank: Any, cost_rank: Any, p: Any, q: Any, base: int, _shown: Any) -> Any:
    """max((1-w)(rL+1), w(rC+1)), then (1-w) rL + w rC, in one number."""
    latency = (latency_rank + 1) * (q - p)
    cost = (cost_rank + 1) * p
    key = np.maximum(latency, cost)
    key *= base
    key += latency
    key += cost
    return key


def _offset_key(latency_rank: Any, cost_rank: Any, p: Any, q: Any, base: int, shown: Any) -> Any:
    """Round of the first match, then (1-w) rL + w rC, in one number."""
    ahead = abs(q - 2 * p) * (shown - 1)
    whole, rest = ahead // q, ahead % q
    whole = whole + ((2 * rest > q) | ((2 * rest == q) & (whole % 2 == 1)))  # Python's round: half to even
    slow = 2 * p > q
    # whole - whole * slow instead of `~slow`: slow is a Python bool for one weight, an array for many.
    key = np.maximum(latency_rank - whole * slow, cost_rank - (whole - whole * slow))
    key *= base
    key += latency_rank * (q - p)
    key += cost_rank * p
    return key
