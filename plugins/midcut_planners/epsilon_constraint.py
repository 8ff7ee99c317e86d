"""One objective under a limit on the other one: the cheapest in time, or the fastest within a budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ConfigError, ForecastError
from midcut.planning import check_forecast, check_weight
from midcut_planners.ranks import is_single, pieces, rank_one

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midcut.types import Floats, Forecast, Ints


class EpsilonConstraint:
    """Cheapest placement of at most `max_latency_s`, or fastest of at most `max_cost_usd`.

    The epsilon-constraint method of multi-objective optimisation (Haimes, Lasdon, Wismer 1971): the pick is
    Pareto-optimal, and every Pareto-optimal placement is the pick of some limit. Ties go to the better other
    objective, then to the first placement. Where no placement keeps the limit, the nearest one is picked: the
    fastest under a latency limit, the cheapest under a budget. It follows no weight.

    Args:
        max_latency_s, max_cost_usd: the limit, over 0; exactly one of them.
        strict: nothing within the limit is an error.

    Raises:
        ConfigError: none or both limits, or one that is no positive number.
    """

    w = None

    def __init__(self, max_latency_s: float | None, max_cost_usd: float | None, *, strict: bool) -> None:
        given = {"max_latency_s": max_latency_s, "max_cost_usd": max_cost_usd}
        limits = {name: value for name, value in given.items() if value is not None}
        if len(limits) != 1:
            said = "both" if limits else "none"
            raise ConfigError(f"epsilon_constraint takes exactly one of max_latency_s and max_cost_usd, got {said}")
        ((self._name, self._most),) = limits.items()
        if not 0.0 < self._most < math.inf:
            raise ConfigError(f"epsilon_constraint: {self._name} must be a number over 0, got {self._most}")
        self._strict = strict
        in_time = max_latency_s is not None
        self._limited, self._other = ("latency_s", "cost_usd") if in_time else ("cost_usd", "latency_s")
        self.limit = f"latency at most {self._most:g} s" if in_time else f"cost at most {self._most:g} $"

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """See `midcut.protocols.Planner`.

        Raises:
            ForecastError: also where nothing keeps the limit and `strict` is set.
        """
        if is_single(forecast, w):
            return self._pick_one(forecast)
        weights = check_weight(w)
        check_forecast(forecast)
        limited, other = np.broadcast_arrays(getattr(forecast, self._limited), getattr(forecast, self._other))
        shape, count = limited.shape[:-1], limited.shape[-1]
        limited, other = limited.reshape(-1, count), other.reshape(-1, count)
        picks: Ints = np.empty(len(limited), dtype=np.intp)
        for piece in pieces(len(limited), count):
            picks[piece] = self._pick(limited[piece], other[piece])
        picks = picks.reshape(shape)
        return np.broadcast_to(picks, np.broadcast_shapes(picks.shape, weights.shape))

    def meets(self, forecast: Forecast, picks: Ints) -> NDArray[np.bool_]:
        """See `midcut.protocols.LimitedPlanner`."""
        limited: Floats = getattr(forecast, self._limited)
        if limited.ndim == 1 and picks.ndim == 0:
            return np.asarray(limited[picks] <= self._most)
        leading = np.broadcast_shapes(limited.shape[:-1], picks.shape)
        rows = np.broadcast_to(limited, (*leading, limited.shape[-1]))
        picked = np.take_along_axis(rows, np.broadcast_to(picks, leading)[..., None], axis=-1)[..., 0]
        return np.asarray(picked <= self._most)

    def _pick_one(self, forecast: Forecast) -> Ints:
        """One observation: the first within the limit, in order of the other objective."""
        order, by_cost = rank_one(forecast)
        in_time, cheapest_first = self._limited == "latency_s", order[by_cost]
        wanted, nearest = (cheapest_first, order) if in_time else (order, cheapest_first)
        limited: Floats = getattr(forecast, self._limited)
        within = limited[wanted] <= self._most
        first = within.argmax()
        if not within[first]:
            self._nothing_within(limited)
        best: Any = wanted[first] if within[first] else nearest[0]
        return np.asarray(best)

    def _pick(self, limited: Floats, other: Floats) -> Ints:
        """Best row of every observation, both arguments of shape (n, P)."""
        within = limited <= self._most
        some = within.any(axis=-1, keepdims=True)
        if not some.all():
            self._nothing_within(limited[int(some.argmin())])
        first = np.where(some, np.where(within, other, np.inf), limited)
        then = np.where(some, limited, other)
        best: Ints = np.where(first == first.min(axis=-1, keepdims=True), then, np.inf).argmin(axis=-1)
        return best

    def _nothing_within(self, limited: Floats) -> None:
        if self._strict:
            raise ForecastError(f"no placement has {self.limit}, the nearest has {limited.min():.4g}")
