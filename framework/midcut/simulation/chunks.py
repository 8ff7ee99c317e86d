"""Goes through samples in chunks, so that memory stays bounded and the arrays of a chunk fit a CPU cache."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from midcut.config.settings import Observed
from midcut.simulation.over_trace import (
    LEVELS,
    PROBE_KBIT,
    TraceChunk,
    TraceRun,
    TraceTruth,
    known_fields,
    levels_observation,
    transferred_kbit,
    true_forecast,
)
from midcut.simulation.strategies import Chunk
from midcut.simulation.truth_table import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from midcut.planning.policy import Forecaster
    from midcut.simulation.scenario import Samples
    from midcut.types import Floats, Forecast, Ints, Observation

CHUNK_VALUES = 1 << 17
"""Samples times placements of one chunk: a few arrays of this size stay in a second-level cache."""
KEPT_VALUES = 24_000_000
"""Samples times placements whose transfers over a trace are kept for the second pass, 8 bytes each."""
CHUNK_DECISIONS = 1 << 20
"""Samples times weights of one chunk."""


class ForecastChunks:
    """The samples of one or more repetitions in chunks, each with its forecast and its truth.

    Args:
        planning: makes the forecasts that strategies decide on.
        truth: makes the forecasts that are taken as true, for the same placements.
        samples: the observations of all repetitions, one repetition after the other.
        size: number of samples of one repetition.
        weights: the values of w of every strategy that follows a weight.
        run: how requests go over a recorded link; None where there is none.
        advance: called for progress with the number of samples just done; with 0 while they are only prepared.
        apart: whether no chunk has samples of two repetitions.

    Attributes:
        total: number of samples in all.
        size: number of samples of one repetition.
        repetitions: number of repetitions.
        apart: as given.
    """

    def __init__(
        self,
        planning: Forecaster,
        truth: Forecaster,
        samples: Samples,
        size: int,
        weights: Sequence[float],
        run: TraceRun | None = None,
        advance: Callable[[int], None] = lambda _count: None,
        *,
        apart: bool = False,
    ) -> None:
        self._run, self.apart = run, apart
        self._transfers_s: dict[int, Floats] = {}
        self._planning, self._truth, self._advance = planning, truth, advance
        self._samples = samples
        self.total, self.size, self.repetitions = len(samples), size, len(samples) // size
        self._weights = tuple(weights)
        self._chunk_samples = max(1, min(CHUNK_VALUES // len(truth.placements), CHUNK_DECISIONS // len(weights)))

    def chunks(self) -> Iterator[tuple[Ints, Chunk]]:
        """Every chunk in order, with the repetition that each of its samples belongs to, shape (n,)."""
        for start, repetition, observation in self._observations():
            count = len(repetition)
            true = self._true(start, observation, count)
            forecast = true.forecast
            seen = self._samples.seen(start, start + count)
            predicted = broadcast_forecast(self._planning, seen, count)
            over_trace = self._over_trace(start, observation, true) if self._run is not None else None
            best = partial(self._static_best_of, repetition)
            given_up = None if self._run is None else giving_up(self._truth, observation, forecast, self._run)
            yield repetition, Chunk(predicted, forecast, best, over_trace, seen, self._run, given_up)
            self._advance(count)

    def _true(self, start: int, observation: Observation, count: int) -> TraceTruth:
        if self._run is None:
            nothing = np.empty(0)
            return TraceTruth(broadcast_forecast(self._truth, observation, count), nothing, nothing, nothing)
        time_s = self._samples.time_s[start : start + count]
        true = true_forecast(self._truth, observation, time_s, self._run, self._transfers_s.get(start))
        if (start + count) * len(self._truth.placements) <= KEPT_VALUES:
            self._transfers_s[start] = true.whole_transfer_s
        return true

    def _over_trace(self, start: int, observation: Observation, true: TraceTruth) -> TraceChunk | None:
        run = self._run
        if run is None or run.observed is Observed.perfect:
            return None
        time_s = self._samples.time_s[start : start + len(true.transfer_s)]
        others = [values for name, values in known_fields(observation).items() if name != "bandwidth_kbps"]
        settings = np.stack([*others, np.zeros(len(time_s))], axis=-1)
        _, first, setting = np.unique(settings, axis=0, return_index=True, return_inverse=True)

        def forecast_at(number: int) -> Forecast:
            row = start + int(first[number])
            levels = levels_observation(self._samples.observation(row, row + 1))
            return broadcast_forecast(self._planning, levels, LEVELS)

        on_edge = np.flatnonzero(self._truth.placements.on_edge)
        return TraceChunk(
            run,
            time_s,
            transferred_kbit(self._truth, observation),
            true.edge_s,
            true.transfer_s,
            run.capacity.transfer_s(time_s, np.full(len(time_s), PROBE_KBIT)),
            setting.ravel(),
            forecast_at,
            int(on_edge[0]) if len(on_edge) else -1,
        )

    def _observations(self) -> Iterator[tuple[int, Ints, Observation]]:
        together = self.size if self.apart else self.total
        for begin in range(0, self.total, together):
            for start in range(begin, begin + together, self._chunk_samples):
                stop = min(start + self._chunk_samples, begin + together)
                yield start, np.arange(start, stop) // self.size, self._samples.observation(start, stop)

    def _static_best_of(self, repetition: Ints) -> Ints:
        best: Ints = self.static_best[:, repetition]
        return best

    @cached_property
    def static_best(self) -> Ints:
        """Row with the smallest mean objective for every weight and repetition, shape (W, R).

        The objective is J = (1 - w) latency + w cost, both scaled; see `TruthTable`. Passes through the truth once.
        """
        # J is linear in w, so two means suffice.
        shape = (self.repetitions, len(self._truth.placements))
        latency, cost = np.zeros(shape), np.zeros(shape)
        for start, repetition, observation in self._observations():
            truth = self._true(start, observation, len(repetition)).forecast.aimed()
            add_by_group(latency, repetition, scaled(truth.latency_s))
            add_by_group(cost, repetition, scaled(truth.cost_usd))
            self._advance(0)
        # Ties go to the one that is faster on average, then the cheaper, then the first.
        return np.array([np.lexsort((cost, latency, (1.0 - w) * latency + w * cost))[:, 0] for w in self._weights])


def giving_up(
    truth: Forecaster, observation: Observation, forecast: Forecast, run: TraceRun
) -> Callable[[Floats], Forecast] | None:
    """What requests take that the edge gives up, as `Chunk.given_up`; None where it gives none up."""
    on_edge = np.flatnonzero(truth.placements.on_edge)
    if run.give_up_factor is None or not len(on_edge):
        return None
    shape = forecast.latency_s.shape
    whole_s = np.broadcast_to(forecast.edge_s[:, on_edge[:1]], shape)

    def complete(patience_s: Floats) -> Forecast:
        waited_s = np.broadcast_to(patience_s[:, None], shape)
        return truth.complete(observation, whole_s, waited_s, np.zeros(shape))

    return complete


def broadcast_forecast(forecaster: Forecaster, observation: Observation, count: int) -> Forecast:
    """A forecast of shape (samples, placements), also where no predictor depends on the observation."""
    forecast = forecaster.forecast(observation)
    shape = (count, len(forecast))
    if forecast.latency_s.shape == forecast.cost_usd.shape == shape:
        return forecast
    return replace(
        forecast,
        edge_s=np.broadcast_to(forecast.edge_s, shape),
        link_s=np.broadcast_to(forecast.link_s, shape),
        cloud_s=np.broadcast_to(forecast.cloud_s, shape),
        cost_usd=np.broadcast_to(forecast.cost_usd, shape),
        between={name: np.broadcast_to(part_s, shape) for name, part_s in forecast.between.items()},
        objectives={name: np.broadcast_to(values, shape) for name, values in forecast.objectives.items()},
    )


def add_by_group(sums: Floats, group: Ints, values: Floats) -> None:
    """Add values to the sums of their groups.

    Args:
        sums: shape (G, ...).
        group: number of the group that each value belongs to, ascending, shape (n,).
        values: shape (n, ...).
    """
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sums[group[starts]] += np.add.reduceat(values, starts, axis=0)
