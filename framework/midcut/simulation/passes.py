"""Going through samples in pieces: memory stays bounded, and a piece fits a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.simulation.strategies import Piece
from midcut.simulation.truth_table import TruthTable, scaled
from midcut.types import Forecast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from midcut.planning.policy import Forecaster
    from midcut.simulation.scenario import Samples
    from midcut.types import Floats, Ints, Observation

PIECE_VALUES = 1 << 17
"""Samples times placements of one piece: a few arrays of this size stay in a second-level cache."""
PIECE_DECISIONS = 1 << 20
"""Samples times weights of one piece."""


class Passes:
    """The samples of one or more repetitions, as pieces that both sets have forecast.

    Args:
        picking, truth: the two sets, of the same placements.
        samples: of all repetitions, one after the other.
        size: samples of one repetition.
        weights: of every strategy that has weights.
        advance: called now and then with the number of samples that are done, 0 while they are only prepared.

    Attributes:
        total: number of samples in all; `size`: of one repetition; `repetitions`: how many of these.
    """

    def __init__(
        self,
        picking: Forecaster,
        truth: Forecaster,
        samples: Samples,
        size: int,
        weights: Sequence[float],
        advance: Callable[[int], None],
    ) -> None:
        self._picking, self._truth, self._advance = picking, truth, advance
        self._samples = samples
        self.total, self.size, self.repetitions = len(samples), size, len(samples) // size
        self._weights = tuple(weights)
        self._step = max(1, min(PIECE_VALUES // len(truth.placements), PIECE_DECISIONS // len(weights)))
        self._static = self._static_best()

    def pieces(self) -> Iterator[tuple[Ints, Piece]]:
        """Every piece in order, with the repetition that each of its samples belongs to, shape (n,)."""
        for repetition, observation in self._observations():
            count = len(repetition)
            ground = TruthTable(forecast_of(self._truth, observation, count))
            predicted = forecast_of(self._picking, observation, count)
            yield repetition, Piece(predicted, ground, self._static[:, repetition])
            self._advance(count)

    def _observations(self) -> Iterator[tuple[Ints, Observation]]:
        for start in range(0, self.total, self._step):
            stop = min(start + self._step, self.total)
            yield np.arange(start, stop) // self.size, self._samples.observation(start, stop)

    def _static_best(self) -> Ints:
        """Row with the smallest mean J for every weight and repetition; J is linear in w, so two means will do."""
        shape = (self.repetitions, len(self._truth.placements))
        latency, cost = np.zeros(shape), np.zeros(shape)
        for repetition, observation in self._observations():
            truth = forecast_of(self._truth, observation, len(repetition))
            add_by(latency, repetition, scaled(truth.latency_s))
            add_by(cost, repetition, scaled(truth.cost_usd))
            self._advance(0)
        # Of equals the faster on average, then the cheaper, then the first.
        return np.array([np.lexsort((cost, latency, (1.0 - w) * latency + w * cost))[:, 0] for w in self._weights])


def forecast_of(forecaster: Forecaster, observation: Observation, count: int) -> Forecast:
    """A forecast with a row per sample, also where no predictor reads the telemetry; shape (count, P)."""
    made = forecaster.forecast(observation)
    shape = (count, len(made))
    if made.latency_s.shape == made.cost_usd.shape == shape:
        return made
    parts = (made.edge_s, made.link_s, made.cloud_s, made.cost_usd)
    edge_s, link_s, cloud_s, cost_usd = (np.broadcast_to(part, shape) for part in parts)
    return Forecast(made.placements, edge_s, link_s, cloud_s, cost_usd)


def add_by(sums: Floats, group: Ints, values: Floats) -> None:
    """Add values to the sums of their groups.

    Args:
        sums: shape (G, ...).
        group: of every value, ascending, shape (n,).
        values: shape (n, ...).
    """
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sums[group[starts]] += np.add.reduceat(values, starts, axis=0)
