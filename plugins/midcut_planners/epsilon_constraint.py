"""One objective under a limit on the other one: the cheapest within a latency limit, or the fastest in a budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midcut.errors import ConfigError, ForecastError
from midcut.planning import check_forecast, check_weight
from midcut_planners.ranks import is_single, rank_single, row_slices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from midcut.types import Floats, Forecast, Ints

_COLUMNS: Final = ("latency_s", "cost_usd")
_LIMITS_FIRST: Final = ("max_latency_s", "max_first")
_EXPECTED_COLUMN: Final = {"max_latency_s": "latency_s", "max_cost_usd": "cost_usd"}
_LIMIT_TEXTS: Final = {
    "max_latency_s": "latency at most {:g} s",
    "max_cost_usd": "cost at most {:g} $",
    "max_first": "the first objective at most {:g}",
    "max_second": "the second objective at most {:g}",
}


class EpsilonConstraint:
    """Picks the cheapest placement of at most `max_latency_s`, or the fastest one of at most `max_cost_usd`.

    Where other objectives are aimed at, `max_first` and `max_second` limit those.

    The epsilon-constraint method of multi-objective optimisation (Haimes, Lasdon, Wismer 1971): the pick is
    Pareto-optimal, and every Pareto-optimal placement is the pick of some limit. Ties go to the better other
    objective, then to the first placement. Where no placement is within the limit, the nearest one is picked: the
    fastest for a latency limit, the cheapest for a budget. The weight has no effect.

    Args:
        max_latency_s, max_cost_usd: the limit, over 0, where latency (or cost) is aimed at.
        max_first, max_second: the limit of the first or second objective, whichever it is. Exactly one limit is given.
        strict: raise an error where no placement is within the limit.

    Raises:
        ConfigError: no limit or several, or one that is not a positive number.
    """

    w = None

    def __init__(
        self,
        max_latency_s: float | None = None,
        max_cost_usd: float | None = None,
        max_first: float | None = None,
        max_second: float | None = None,
        *,
        strict: bool = False,
    ) -> None:
        given = {
            "max_latency_s": max_latency_s,
            "max_cost_usd": max_cost_usd,
            "max_first": max_first,
            "max_second": max_second,
        }
        limits = {name: value for name, value in given.items() if value is not None}
        if not limits:
            raise ConfigError(f"epsilon_constraint takes exactly one of {_listing(given)}, got none")
        if len(limits) > 1:
            raise ConfigError(f"epsilon_constraint takes exactly one limit, got {_listing(limits)}")
        ((self._limit_key, self._limit_value),) = limits.items()
        if not 0.0 < self._limit_value < math.inf:
            raise ConfigError(f"epsilon_constraint: {self._limit_key} must be a number over 0, got {self._limit_value}")
        self._strict = strict
        self._limited, self._other = _COLUMNS if self._limit_key in _LIMITS_FIRST else _COLUMNS[::-1]
        self.limit = _LIMIT_TEXTS[self._limit_key].format(self._limit_value)

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """See `midcut.protocols.Planner`.

        Raises:
            ForecastError: also if `strict` is set and no placement is within the limit.
        """
        self._check_aim(forecast.aim)
        if is_single(forecast, w):
            return self._pick_single(forecast)
        weights = check_weight(w)
        check_forecast(forecast)
        limited, other = np.broadcast_arrays(getattr(forecast, self._limited), getattr(forecast, self._other))
        shape, count = limited.shape[:-1], limited.shape[-1]
        limited, other = limited.reshape(-1, count), other.reshape(-1, count)
        picks: Ints = np.empty(len(limited), dtype=np.intp)
        for rows in row_slices(len(limited), count):
            picks[rows] = self._pick_rows(limited[rows], other[rows])
        picks = picks.reshape(shape)
        return np.broadcast_to(picks, np.broadcast_shapes(picks.shape, weights.shape))

    def meets(self, forecast: Forecast, picks: Ints) -> NDArray[np.bool_]:
        """See `midcut.protocols.LimitedPlanner`."""
        limited: Floats = getattr(forecast, self._limited)
        if limited.ndim == 1 and picks.ndim == 0:
            return np.asarray(limited[picks] <= self._limit_value)
        leading = np.broadcast_shapes(limited.shape[:-1], picks.shape)
        rows = np.broadcast_to(limited, (*leading, limited.shape[-1]))
        picked = np.take_along_axis(rows, np.broadcast_to(picks, leading)[..., None], axis=-1)[..., 0]
        return np.asarray(picked <= self._limit_value)

    def _pick_single(self, forecast: Forecast) -> Ints:
        """Pick for one observation: the first placement within the limit, in order of the other objective."""
        order, by_cost = rank_single(forecast)
        in_time, cheapest_first = self._limited == "latency_s", order[by_cost]
        wanted, nearest = (cheapest_first, order) if in_time else (order, cheapest_first)
        limited: Floats = getattr(forecast, self._limited)
        within = limited[wanted] <= self._limit_value
        first = within.argmax()
        if not within[first]:
            self._check_strict(limited)
        best: Any = wanted[first] if within[first] else nearest[0]
        return np.asarray(best)

    def _pick_rows(self, limited: Floats, other: Floats) -> Ints:
        """Pick the best row of every observation. Both arguments have shape (n, P)."""
        within = limited <= self._limit_value
        any_within = within.any(axis=-1, keepdims=True)
        if not any_within.all():
            self._check_strict(limited[int(any_within.argmin())])
        first = np.where(any_within, np.where(within, other, np.inf), limited)
        then = np.where(any_within, limited, other)
        best: Ints = np.where(first == first.min(axis=-1, keepdims=True), then, np.inf).argmin(axis=-1)
        return best

    def _check_aim(self, aim: tuple[str, str]) -> None:
        """Refuse a limit on latency or cost where something else stands in its place."""
        expected = _EXPECTED_COLUMN.get(self._limit_key)
        if expected is not None and aim[_COLUMNS.index(expected)] != expected:
            other = "max_first" if self._limit_key in _LIMITS_FIRST else "max_second"
            raise ForecastError(
                f"epsilon_constraint: {self._limit_key} limits {expected}, but planners weigh {aim[0]} and {aim[1]} "
                f"here (aim): give planner.{other}, the limit of {aim[_COLUMNS.index(expected)]}"
            )

    def _check_strict(self, limited: Floats) -> None:
        if self._strict:
            raise ForecastError(f"no placement has {self.limit}, the nearest has {limited.min():.4g}")


def _listing(names: Iterable[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}"
