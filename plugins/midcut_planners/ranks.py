"""Ranking of placements, and choosing for many weights and observations at once in blocks that fit a CPU cache."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.planning import check_forecast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from midcut.types import Floats, Forecast, Ints

BLOCK_VALUES = 1 << 17
"""Values per block: a few arrays of this size stay in a second-level cache."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The placements of a forecast sorted by (latency, cost, index), with the observations in one axis.

    Attributes:
        order: row indices of the placements, shape (n, P).
        cost_rank: 0-based ranks by (cost, latency, index), shape (n, P).
        latency_s, cost_usd: the objectives, shape (n, P).
        shape: the forecast's leading shape, of size n.
    """

    order: Ints
    cost_rank: Ints
    latency_s: Floats
    cost_usd: Floats
    shape: tuple[int, ...]


def rank_placements(forecast: Forecast) -> Ranked:
    """Sort the placements of a forecast. Ties go by the other objective, or else a dominated placement could win."""
    latency_s, cost_usd = forecast.latency_s, forecast.cost_usd
    if latency_s.shape != cost_usd.shape:
        latency_s, cost_usd = np.broadcast_arrays(latency_s, cost_usd)
    shape, count = latency_s.shape[:-1], latency_s.shape[-1]
    latency_s, cost_usd = latency_s.reshape(-1, count), cost_usd.reshape(-1, count)
    order = np.lexsort((cost_usd, latency_s))
    latency_s = np.take_along_axis(latency_s, order, -1)
    cost_usd = np.take_along_axis(cost_usd, order, -1)
    # The rows are in latency order already, so a stable sort by cost breaks ties by latency, then index.
    by_cost = cost_usd.argsort(axis=-1, kind="stable")
    cost_rank = np.empty_like(by_cost)
    np.put_along_axis(cost_rank, by_cost, np.arange(count), -1)
    return Ranked(order, cost_rank, latency_s, cost_usd, shape)


def rank_single(forecast: Forecast) -> tuple[Ints, Ints]:
    """Rank and check a single observation, with few numpy calls.

    Returns:
        `Ranked.order`, and the positions in it by (cost, latency, index); both of shape (P,).

    Raises:
        ForecastError: as `check_forecast` does. After sorting only the ends have to be looked at: NaN sorts last.
    """
    latency_s, cost_usd = forecast.latency_s, forecast.cost_usd
    order = np.lexsort((cost_usd, latency_s))
    cost_usd = cost_usd[order]
    by_cost = cost_usd.argsort(kind="stable")
    low = min(latency_s.item(order[0]), cost_usd.item(by_cost[0]))
    high = latency_s.item(order[-1]) + cost_usd.item(by_cost[-1])
    if not (low >= 0.0 and high < math.inf):
        check_forecast(forecast)
    return order, by_cost


def is_single(forecast: Forecast, w: float | Floats) -> bool:
    """Whether this is one observation and one legal weight, as in every step of the planning loop."""
    legal = isinstance(w, float) and 0.0 <= w <= 1.0
    return legal and forecast.latency_s.ndim == forecast.cost_usd.ndim == 1 and len(forecast) > 0


def choose_rows(ranked: Ranked, weights: NDArray[Any], position: Callable[[Ints, NDArray[Any]], Ints]) -> Ints:
    """Choose a placement for every pair of an observation and a weight.

    Args:
        ranked: n observations.
        weights: weights, or indices of weights; broadcasts with `ranked.shape`.
        position: called with indices of observations (m,) and their weights (m,); returns the chosen positions in
            latency order (m,).

    Returns:
        row indices of the chosen placements, in the broadcast shape.
    """
    observations = np.arange(len(ranked.order)).reshape(ranked.shape)
    shape = np.broadcast_shapes(observations.shape, weights.shape)
    flat_observations = np.broadcast_to(observations, shape).ravel()
    flat_weights = np.broadcast_to(weights, shape).ravel()
    chosen = np.empty(flat_weights.size, dtype=np.intp)
    for block in row_slices(flat_weights.size, ranked.order.shape[-1]):
        rows = flat_observations[block]
        chosen[block] = ranked.order[rows, position(rows, flat_weights[block])]
    return chosen.reshape(shape)


def row_slices(count: int, width: int) -> Iterator[slice]:
    """Slices over `count` rows of `width` values each, with about `BLOCK_VALUES` values per slice."""
    step = max(1, BLOCK_VALUES // max(1, width))
    return (slice(start, start + step) for start in range(0, count, step))


def pareto_mask(ranked: Ranked) -> NDArray[np.bool_]:
    """Which placements, in latency order, are not dominated (the first of equals), shape (n, P)."""
    cheapest_so_far = np.minimum.accumulate(ranked.cost_usd, axis=-1)
    keep = np.ones(ranked.cost_usd.shape, dtype=np.bool_)
    keep[:, 1:] = ranked.cost_usd[:, 1:] < cheapest_so_far[:, :-1]
    return keep
