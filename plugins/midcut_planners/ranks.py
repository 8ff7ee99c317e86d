"""Ranking placements, and choosing for many weights and observations in pieces that fit a cache."""

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

CHUNK_VALUES = 1 << 17
"""Values per piece: a few arrays of this size stay in a second-level cache."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A forecast's placements in order of (latency, cost, index), observations flat.

    Attributes:
        order: row indices of the placements in that order, shape (n, P).
        cost_rank: 0-based rank by (cost, latency, index) of the placements in that order, shape (n, P).
        latency_s, cost_usd: the objectives in that order, shape (n, P).
        shape: the forecast's leading shape, of size n.
    """

    order: Ints
    cost_rank: Ints
    latency_s: Floats
    cost_usd: Floats
    shape: tuple[int, ...]


def rank(forecast: Forecast) -> Ranked:
    """Sort lexicographically: without the second objective, ties would let dominated placements win."""
    latency_s, cost_usd = forecast.latency_s, forecast.cost_usd
    if latency_s.shape != cost_usd.shape:
        latency_s, cost_usd = np.broadcast_arrays(latency_s, cost_usd)
    shape, count = latency_s.shape[:-1], latency_s.shape[-1]
    latency_s, cost_usd = latency_s.reshape(-1, count), cost_usd.reshape(-1, count)
    order = np.lexsort((cost_usd, latency_s))
    latency_s = np.take_along_axis(latency_s, order, -1)
    cost_usd = np.take_along_axis(cost_usd, order, -1)
    # A stable sort by cost alone of what is already in latency order breaks ties by latency, then index.
    by_cost = cost_usd.argsort(axis=-1, kind="stable")
    cost_rank = np.empty_like(by_cost)
    np.put_along_axis(cost_rank, by_cost, np.arange(count), -1)
    return Ranked(order, cost_rank, latency_s, cost_usd, shape)


def rank_one(forecast: Forecast) -> tuple[Ints, Ints]:
    """Rank and check a single observation in few calls.

    Returns:
        `Ranked.order`, and the positions in it by (cost, latency, index); both of shape (P,).

    Raises:
        ForecastError: as `check_forecast` does. Once sorted, the ends tell: NaN sorts last.
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
    """Whether this is one observation with placements and one legal weight: what an engine asks at every step."""
    legal = isinstance(w, float) and 0.0 <= w <= 1.0
    return legal and forecast.latency_s.ndim == forecast.cost_usd.ndim == 1 and len(forecast) > 0


def choose(ranked: Ranked, weights: NDArray[Any], position: Callable[[Ints, NDArray[Any]], Ints]) -> Ints:
    """Pair observations with weights, and look the chosen positions up.

    Args:
        ranked: n observations.
        weights: weights, or numbers that stand for them; broadcasts with `ranked.shape`.
        position: called with indices of observations (m,) and their weights (m,); returns the chosen
            positions in latency order (m,).

    Returns:
        row indices, in the broadcast shape.
    """
    observations = np.arange(len(ranked.order)).reshape(ranked.shape)
    shape = np.broadcast_shapes(observations.shape, weights.shape)
    flat_observations = np.broadcast_to(observations, shape).ravel()
    flat_weights = np.broadcast_to(weights, shape).ravel()
    chosen = np.empty(flat_weights.size, dtype=np.intp)
    for piece in pieces(flat_weights.size, ranked.order.shape[-1]):
        rows = flat_observations[piece]
        chosen[piece] = ranked.order[rows, position(rows, flat_weights[piece])]
    return chosen.reshape(shape)


def pieces(size: int, width: int) -> Iterator[slice]:
    """Slices of about `CHUNK_VALUES` values each over `size` rows of `width` values."""
    step = max(1, CHUNK_VALUES // max(1, width))
    return (slice(start, start + step) for start in range(0, size, step))


def pareto(ranked: Ranked) -> NDArray[np.bool_]:
    """Which placements, in latency order, are not dominated (the first of equals), shape (n, P)."""
    cheapest_so_far = np.minimum.accumulate(ranked.cost_usd, axis=-1)
    keep = np.ones(ranked.cost_usd.shape, dtype=np.bool_)
    keep[:, 1:] = ranked.cost_usd[:, 1:] < cheapest_so_far[:, :-1]
    return keep
