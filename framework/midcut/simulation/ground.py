"""What the truth set says of some samples, laid out for the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.planning import check_forecast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midcut.types import Floats, Forecast, Ints


class Ground:
    """n samples, P placements; row indices are the forecast's.

    Attributes:
        latency_s, cost_usd: shape (n, P).
        latency, cost: the same, min-max scaled over the placements of the sample; 0 where all are equal.
        first: the first placement with the same latency and cost, itself where there is no other, shape (n, P).
        front: whether it is Pareto-optimal, shape (n, P).
        front_points: whether it is the `first` of a Pareto-optimal point, shape (n, P).
    """

    def __init__(self, truth: Forecast) -> None:
        check_forecast(truth)
        latency_s, cost_usd = np.broadcast_arrays(truth.latency_s, truth.cost_usd)
        self.latency_s, self.cost_usd = latency_s, cost_usd
        self.latency, self.cost = scaled(latency_s), scaled(cost_usd)
        self._order = np.lexsort((cost_usd, latency_s))
        self._sorted_latency_s = np.take_along_axis(latency_s, self._order, -1)
        self._sorted_cost_usd = np.take_along_axis(cost_usd, self._order, -1)
        self._find_front()
        self._best: dict[tuple[float, ...], tuple[Ints, Floats]] = {}

    def __len__(self) -> int:
        return len(self.latency_s)

    def _find_front(self) -> None:
        """In order of (latency, cost): a point is dominated exactly when an earlier, other one costs no more."""
        latency_s, cost_usd = self._sorted_latency_s, self._sorted_cost_usd
        new = np.ones(latency_s.shape, dtype=np.bool_)
        new[:, 1:] = (np.diff(latency_s) != 0.0) | (np.diff(cost_usd) != 0.0)
        cheaper = np.ones(latency_s.shape, dtype=np.bool_)
        cheaper[:, 1:] = cost_usd[:, 1:] < np.minimum.accumulate(cost_usd, axis=-1)[:, :-1]
        starts = np.maximum.accumulate(np.where(new, np.arange(latency_s.shape[-1]), 0), axis=-1)
        self.front_points = self._unsorted(new & cheaper)
        self.front = self._unsorted(np.take_along_axis(cheaper, starts, -1))
        self.first = self._unsorted(np.take_along_axis(self._order, starts, -1))

    def _unsorted(self, values: NDArray[Any]) -> NDArray[Any]:
        back = np.empty_like(values)
        np.put_along_axis(back, self._order, values, -1)
        return back

    def best(self, weights: tuple[float, ...]) -> tuple[Ints, Floats]:
        """Row with the smallest J = (1 - w) latency + w cost, both scaled, and that J; both of shape (W, n).

        Of equals the faster, then the cheaper, then the first. Worked out once for the same weights.
        """
        if weights not in self._best:
            latency = np.take_along_axis(self.latency, self._order, -1)
            cost = np.take_along_axis(self.cost, self._order, -1)
            picks = np.empty((len(weights), len(self)), dtype=np.intp)
            smallest = np.empty(picks.shape)
            for row, w in enumerate(weights):
                objective = (1.0 - w) * latency + w * cost
                position = objective.argmin(axis=-1)[:, None]
                picks[row] = np.take_along_axis(self._order, position, -1)[:, 0]
                smallest[row] = np.take_along_axis(objective, position, -1)[:, 0]
            self._best[weights] = picks, smallest
        return self._best[weights]

    def area(self, reached: NDArray[np.bool_]) -> Floats:
        """Area dominated by the reached placements, below and left of the sample's worst latency and cost.

        Args:
            reached: shape (n, P).

        Returns:
            seconds times US dollars, shape (n,).
        """
        cost_usd = self._sorted_cost_usd
        worst = cost_usd.max(axis=-1, keepdims=True)
        seen = np.where(np.take_along_axis(reached, self._order, -1), cost_usd, worst)
        height = worst - np.minimum.accumulate(seen, axis=-1)[:, :-1]
        area: Floats = (np.diff(self._sorted_latency_s) * height).sum(axis=-1)
        return area


def scaled(values: Floats) -> Floats:
    """Min-max scaled over the last axis; 0 where all are equal."""
    low = values.min(axis=-1, keepdims=True)
    span = values.max(axis=-1, keepdims=True) - low
    parts: Floats = (values - low) / np.where(span > 0.0, span, 1.0)
    return parts
