"""True latency and cost of every placement for some samples, laid out so that metrics are computed fast."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from midcut.planning import check_forecast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midcut.types import Floats, Forecast, Ints


class TruthTable:
    """n samples with P placements each, sorted within every sample by both columns, then by the row of the forecast.

    The methods address an entry of the sorted arrays by its flat index, which counts through all samples.
    `numpy.take` with flat indices needs a third of the time of indexing by sample and rank.

    Attributes:
        base: the forecast that is taken as true, with its rows in their own order.
        first_column, second_column: the two columns that planners weigh, in most cases latency and cost, else those
            of `Forecast.aim`; shape (n, P).
        scaled_first, scaled_second: the same, min-max scaled over the placements of the sample; 0 if all are equal.
        first_equal: flat index of the first entry with the same two values (of the entry itself where there is no
            earlier one), shape (n, P).
        on_front: whether the entry is Pareto-optimal, shape (n, P).
        front_points: `on_front`, but only for the first of equal entries: one True per point of the front.
    """

    def __init__(self, truth: Forecast) -> None:
        self.base = truth
        self._columns: dict[str, Floats] = {}
        truth = truth.aimed()
        check_forecast(truth)
        self._order = np.lexsort((truth.cost_usd, truth.latency_s))
        self.first_column = np.take_along_axis(truth.latency_s, self._order, -1)
        self.second_column = np.take_along_axis(truth.cost_usd, self._order, -1)
        self.scaled_first, self.scaled_second = scaled(self.first_column), scaled(self.second_column)
        self._rank = np.empty_like(self._order)
        np.put_along_axis(self._rank, self._order, np.arange(self._order.shape[-1]), -1)
        self._starts = np.arange(0, self._order.size, self._order.shape[-1])
        self._find_front()
        self._best: dict[tuple[float, ...], tuple[Ints, Floats]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def column(self, name: str) -> Floats:
        """A column of the forecast under its own name, in the order of this table, shape (n, P)."""
        if name not in self._columns:
            self._columns[name] = np.take_along_axis(self.base.column(name), self._order, -1)
        return self._columns[name]

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the columns beside latency and cost."""
        return tuple(self.base.objectives)

    def _find_front(self) -> None:
        """In this order a point is dominated exactly when an earlier, different one costs no more."""
        differs = np.ones(self._order.shape, dtype=np.bool_)
        differs[:, 1:] = (np.diff(self.first_column) != 0.0) | (np.diff(self.second_column) != 0.0)
        cheaper = np.ones(self._order.shape, dtype=np.bool_)
        cheaper[:, 1:] = self.second_column[:, 1:] < np.minimum.accumulate(self.second_column, axis=-1)[:, :-1]
        first = np.maximum.accumulate(np.where(differs, np.arange(self._order.shape[-1]), 0), axis=-1)
        self.first_equal = first + self._starts[:, None]
        self.front_points = differs & cheaper
        self.on_front = cheaper.take(self.first_equal)

    def flat_indices(self, picks: Ints) -> Ints:
        """Flat indices of picked rows of the forecast; both of shape (W, n)."""
        indices: Ints = self._rank.take(picks + self._starts)
        indices += self._starts
        return indices

    def objective(self, weights: Floats, indices: Ints) -> Floats:
        """J = (1 - w) first + w second, both scaled, at flat indices of shape (W, n), for weights of shape (W, 1)."""
        objective: Floats = self.scaled_first.take(indices)
        objective *= 1.0 - weights
        second = self.scaled_second.take(indices)
        second *= weights
        objective += second
        return objective

    def objective_of(self, weights: Floats, first: Floats, second: Floats) -> Floats:
        """`objective` of given values of the two columns that planners weigh; both of shape (W, n)."""
        parts = []
        for table, values in ((self.first_column, first), (self.second_column, second)):
            low = table.min(axis=-1)
            span = table.max(axis=-1) - low
            parts.append((values - low) / np.where(span > 0.0, span, 1.0))
        objective: Floats = (1.0 - weights) * parts[0] + weights * parts[1]
        return objective

    def best(self, weights: tuple[float, ...]) -> tuple[Ints, Floats]:
        """Row of the forecast with the smallest `objective`, and that objective; both of shape (W, n).

        Ties go to the smaller first column, then the smaller second one, then the first row. Cached, because several
        strategies ask for it.
        """
        if weights not in self._best:
            rows = np.empty((len(weights), len(self)), dtype=np.intp)
            smallest = np.empty(rows.shape)
            for number, w in enumerate(weights):
                objective = (1.0 - w) * self.scaled_first + w * self.scaled_second
                indices = objective.argmin(axis=-1) + self._starts
                rows[number] = self._order.take(indices)
                smallest[number] = objective.take(indices)
            self._best[weights] = rows, smallest
        return self._best[weights]

    def best_at(self, weights: Floats) -> Ints:
        """As the rows of `best`, for a weight of each sample; both of shape (n,)."""
        objective = self.objective(weights[:, None], np.arange(self._order.size).reshape(self._order.shape))
        rows: Ints = self._order.take(objective.argmin(axis=-1) + self._starts)
        return rows

    @cached_property
    def whole_area(self) -> Floats:
        """Area dominated by all placements; see `area`."""
        return self.area(np.ones(self._order.shape, dtype=np.bool_))

    def area(self, reached: NDArray[np.bool_]) -> Floats:
        """Hypervolume of the reached entries: the area that they dominate.

        The reference point is the sample's worst value of each of the two columns.

        Args:
            reached: whether each entry is reached, in the order of this table, shape (n, P).

        Returns:
            in the product of the units of the two columns, shape (n,).
        """
        worst = self.second_column.max(axis=-1, keepdims=True)
        height = worst - np.minimum.accumulate(np.where(reached, self.second_column, worst), axis=-1)[:, :-1]
        area: Floats = (np.diff(self.first_column) * height).sum(axis=-1)
        return area


def scaled(values: Floats) -> Floats:
    """Min-max scaled over the last axis; 0 where all are equal."""
    low = values.min(axis=-1, keepdims=True)
    span = values.max(axis=-1, keepdims=True) - low
    parts: Floats = (values - low) / np.where(span > 0.0, span, 1.0)
    return parts
