"""What the truth set says of some samples, laid out for the metrics."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from midcut.planning import check_forecast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midcut.types import Floats, Forecast, Ints


class TruthTable:
    """n samples, P placements, in order of (latency, cost, index) within every sample.

    A placement is called by its place: its position in that order, counted through from the first sample's fastest
    to the last sample's slowest. `places` translates rows of the forecast, and `numpy.take` looks places up in the
    arrays below; that takes a third of the time of indices by row and column.

    Attributes:
        latency_s, cost_usd: shape (n, P).
        latency, cost: the same, min-max scaled over the placements of the sample; 0 where all are equal.
        first: the first place with the same latency and cost, itself where there is no other, shape (n, P).
        front: whether it is Pareto-optimal, shape (n, P).
        points: whether it is the `first` of a Pareto-optimal point, shape (n, P).
    """

    def __init__(self, truth: Forecast) -> None:
        check_forecast(truth)
        self._order = np.lexsort((truth.cost_usd, truth.latency_s))
        self.latency_s = np.take_along_axis(truth.latency_s, self._order, -1)
        self.cost_usd = np.take_along_axis(truth.cost_usd, self._order, -1)
        self.latency, self.cost = scaled(self.latency_s), scaled(self.cost_usd)
        self._position = np.empty_like(self._order)
        np.put_along_axis(self._position, self._order, np.arange(self._order.shape[-1]), -1)
        self._starts = np.arange(0, self._order.size, self._order.shape[-1])
        self._find_front()
        self._best: dict[tuple[float, ...], tuple[Ints, Floats]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def _find_front(self) -> None:
        """In this order a point is dominated exactly when an earlier, other one costs no more."""
        new = np.ones(self._order.shape, dtype=np.bool_)
        new[:, 1:] = (np.diff(self.latency_s) != 0.0) | (np.diff(self.cost_usd) != 0.0)
        cheaper = np.ones(self._order.shape, dtype=np.bool_)
        cheaper[:, 1:] = self.cost_usd[:, 1:] < np.minimum.accumulate(self.cost_usd, axis=-1)[:, :-1]
        first = np.maximum.accumulate(np.where(new, np.arange(self._order.shape[-1]), 0), axis=-1)
        self.first = first + self._starts[:, None]
        self.points = new & cheaper
        self.front = cheaper.take(self.first)

    def places(self, picks: Ints) -> Ints:
        """Places of rows of the forecast, shape (W, n) both."""
        places: Ints = self._position.take(picks + self._starts)
        places += self._starts
        return places

    def objective(self, weights: Floats, places: Ints) -> Floats:
        """J = (1 - w) latency + w cost, both scaled, for weights of shape (W, 1); shape (W, n)."""
        objective: Floats = self.latency.take(places)
        objective *= 1.0 - weights
        cost = self.cost.take(places)
        cost *= weights
        objective += cost
        return objective

    def best(self, weights: tuple[float, ...]) -> tuple[Ints, Floats]:
        """Row with the smallest `objective`, and that objective; both of shape (W, n).

        Of equals the faster, then the cheaper, then the first. Worked out once for the same weights.
        """
        if weights not in self._best:
            rows = np.empty((len(weights), len(self)), dtype=np.intp)
            smallest = np.empty(rows.shape)
            for number, w in enumerate(weights):
                objective = (1.0 - w) * self.latency + w * self.cost
                places = objective.argmin(axis=-1) + self._starts
                rows[number] = self._order.take(places)
                smallest[number] = objective.take(places)
            self._best[weights] = rows, smallest
        return self._best[weights]

    @cached_property
    def whole_area(self) -> Floats:
        """`area` of all placements."""
        return self.area(np.ones(self._order.shape, dtype=np.bool_))

    def area(self, reached: NDArray[np.bool_]) -> Floats:
        """Area dominated by the reached placements, below and left of the sample's worst latency and cost.

        Args:
            reached: in order of latency, shape (n, P).

        Returns:
            seconds times US dollars, shape (n,).
        """
        worst = self.cost_usd.max(axis=-1, keepdims=True)
        height = worst - np.minimum.accumulate(np.where(reached, self.cost_usd, worst), axis=-1)[:, :-1]
        area: Floats = (np.diff(self.latency_s) * height).sum(axis=-1)
        return area


def scaled(values: Floats) -> Floats:
    """Min-max scaled over the last axis; 0 where all are equal."""
    low = values.min(axis=-1, keepdims=True)
    span = values.max(axis=-1, keepdims=True) - low
    parts: Floats = (values - low) / np.where(span > 0.0, span, 1.0)
    return parts
