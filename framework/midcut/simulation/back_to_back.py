"""Requests over a recorded link that arrive when the one before has ended: every strategy has times of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from midcut.config.settings import Observed
from midcut.errors import ConfigError
from midcut.planning import check_forecast
from midcut.planning.dwell import Dwell
from midcut.simulation.chunks import ForecastChunks, broadcast_forecast, giving_up
from midcut.simulation.over_trace import (
    LEVELS,
    PROBE_KBIT,
    SimulatedPicker,
    TracePicks,
    known_fields,
    levels_observation,
    transferred_kbit,
    true_forecast,
)
from midcut.simulation.strategies import MOST_TABLES, Chunk, PlannerStrategy
from midcut.simulation.strategy_metrics import StrategyMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from midcut.planning.policy import Forecaster
    from midcut.results.simulation import Series
    from midcut.simulation.over_trace import PickTable, TraceRun, TraceTruth
    from midcut.simulation.scenario import RecordedTrace, Samples
    from midcut.simulation.strategies import Strategy
    from midcut.types import Floats, Ints, Observation


@dataclass
class _Lane:
    """One strategy at one weight, with or without dwell, on its own way through the trace.

    Attributes:
        weight_index: number of the weight among the strategy's own.
        observer: sees of the link what its own transfers have shown; None for strategies that see its rate, or nothing.
        dwell: holds the picks of a planner or system that sees the link's rate.
        ticks: the dwell in planning steps, for the result.
        time_s, picks, log_kbps, patience_s: arrival of each request so far, its placement's row, and what was seen.
    """

    strategy: Strategy
    weight_index: int
    observer: SimulatedPicker | None
    dwell: Dwell | None
    ticks: int
    time_s: list[float] = field(default_factory=list)
    picks: list[int] = field(default_factory=list)
    log_kbps: list[float] = field(default_factory=list)
    patience_s: list[float] = field(default_factory=list)

    @property
    def weight(self) -> float | None:
        return self.strategy.weights[self.weight_index]


class BackToBack:
    """Lets every strategy send one request after the other, and evaluates each over its own times.

    Args:
        planning, truth: as of `ForecastChunks`.
        trace: link and telemetry at each time.
        strategies: the strategies to evaluate.
        weights: the values of w of every strategy that follows a weight.
        run: how requests go over the recorded link.
        dwell: planners and systems are also evaluated with each of these dwells.

    Raises:
        ConfigError: a planner that learns: it would have to learn on several timelines at once.
    """

    def __init__(
        self,
        planning: Forecaster,
        truth: Forecaster,
        trace: RecordedTrace,
        strategies: Sequence[Strategy],
        weights: Sequence[float],
        run: TraceRun,
        dwell: Sequence[int] = (),
    ) -> None:
        learning = [strategy.name for strategy in strategies if strategy.learns]
        if learning:
            raise ConfigError(f"scenario.arrivals=back_to_back takes no planner that learns, got {learning[0]}")
        self._planning, self._truth, self._trace, self._run = planning, truth, trace, run
        self._strategies, self._weights = strategies, tuple(weights)
        self._lanes: list[_Lane] = []
        self._groups: list[tuple[Strategy, slice]] = []
        for strategy in strategies:
            lanes = list(self._lanes_of(strategy, dwell))
            self._groups.append((strategy, slice(len(self._lanes), len(self._lanes) + len(lanes))))
            self._lanes += lanes
        self._tables: dict[tuple[str, tuple[float, ...]], list[PickTable]] = {}

    def evaluate(self, samples: Samples, advance: Callable[[int], None], *, keep: bool) -> list[Series]:
        """Send as many requests as there are samples, and return the results in the order of the strategies.

        Args:
            samples: requests at steady times: the best fixed placement is found on them.
            advance: called for progress with the number of samples just done.
            keep: whether to keep every request's placement and parts.
        """
        count = len(samples)
        steady = ForecastChunks(self._planning, self._truth, samples, count, self._weights, self._run)
        time_s = np.zeros(len(self._lanes))
        for _ in range(count):
            time_s = time_s + self._send(time_s, steady.static_best[:, :1])
            advance(1)
        self._tables.clear()
        return [series for lane in self._lanes for series in self._series(lane, keep=keep)]

    def _lanes_of(self, strategy: Strategy, dwell: Sequence[int]) -> Iterator[_Lane]:
        sees_own = isinstance(strategy, PlannerStrategy) and self._run.observed is not Observed.perfect
        for ticks in (None, *(dwell if strategy.is_planner else ())):
            for index in range(len(strategy.weights) if strategy.weighted else 1):
                observer = SimulatedPicker(self._run, ticks or 0) if sees_own else None
                yield _Lane(strategy, index, observer, Dwell(ticks) if ticks and not sees_own else None, ticks or 0)

    def _send(self, time_s: Floats, static_best: Ints) -> Floats:
        """Send the next request of every lane; returns how long each takes, shape (lanes,)."""
        count = len(self._lanes)
        samples = self._trace.at(time_s)
        observation = samples.observation(0, count)
        true = true_forecast(self._truth, observation, time_s, self._run)
        check_forecast(true.forecast.aimed())
        self._pick_by_rate(samples, true, static_best)
        self._pick_by_transfers(true, time_s, observation)
        for lane, at_s in zip(self._lanes, time_s.tolist(), strict=True):
            lane.time_s.append(at_s)
        picks = np.array([lane.picks[-1] for lane in self._lanes])
        latency_s: Floats = true.forecast.latency_s[np.arange(count), picks]
        complete = giving_up(self._truth, observation, true.forecast, self._run)
        if complete is not None:
            waited_s = np.array([lane.patience_s[-1] for lane in self._lanes])
            given_up = complete(np.where(np.isfinite(waited_s), waited_s, 0.0)).latency_s[np.arange(count), picks]
            latency_s = np.where(np.isfinite(waited_s), np.minimum(latency_s, given_up), latency_s)
        return latency_s

    def _pick_by_rate(self, samples: Samples, true: TraceTruth, static_best: Ints) -> None:
        """Let the strategies pick that see the link's rate, or nothing of it: each for its own lanes."""
        predicted = broadcast_forecast(self._planning, samples.seen(0, len(samples)), len(samples))
        for strategy, own in self._groups:
            lanes = self._lanes[own]
            if lanes[0].observer is not None:
                continue
            best = partial(np.broadcast_to, static_best, (len(static_best), len(lanes)))
            seen = samples.seen(own.start, own.stop)
            chunk = Chunk(predicted.at(own), true.forecast.at(own), best, None, seen, self._run)
            self._record(lanes, chunk, strategy.picks_at(chunk, np.array([lane.weight_index for lane in lanes])))

    def _record(self, lanes: list[_Lane], chunk: Chunk, wanted: Ints) -> None:
        """Record the picks of a strategy, after dwell, and what was seen."""
        picks = np.array(
            [
                pick if lane.dwell is None else int(lane.dwell.apply(np.array([pick]))[0])
                for lane, pick in zip(lanes, wanted.tolist(), strict=True)
            ]
        )
        seen = lanes[0].strategy.trace_picks_of(chunk, picks)
        for number, lane in enumerate(lanes):
            lane.picks.append(int(picks[number]))
            if seen is not None:
                lane.log_kbps.append(float(seen.log_kbps[number]))
            lane.patience_s.append(np.inf if seen is None else float(seen.patience_s[number]))

    def _pick_by_transfers(self, true: TraceTruth, time_s: Floats, observation: Observation) -> None:
        """Let the planners pick that see only their own transfers, and send what they pick."""
        kbit = transferred_kbit(self._truth, observation).tolist()
        probe_s = self._run.capacity.transfer_s(time_s, np.full(len(time_s), PROBE_KBIT))
        on_edge = np.flatnonzero(self._truth.placements.on_edge)
        edge_row = int(on_edge[0]) if len(on_edge) else -1
        for number, lane in enumerate(self._lanes):
            if lane.observer is None:
                continue
            table = partial(self._table, lane, observation, number)
            decision = lane.observer.decide(float(time_s[number]), float(probe_s[number]), table, edge_row)
            lane.picks.append(decision.row)
            lane.log_kbps.append(decision.log_kbps)
            lane.patience_s.append(decision.patience_s)
            if kbit[decision.row] > 0.0:
                began_at_s = float(time_s[number] + true.edge_s[number, decision.row])
                lane.observer.record_transfer(
                    began_at_s, kbit[decision.row], float(true.transfer_s[number, decision.row])
                )

    def _table(self, lane: _Lane, observation: Observation, number: int) -> PickTable:
        """The picks of a lane's planner at every bandwidth level, under the lane's other conditions."""
        values = {name: np.broadcast_to(given, len(self._lanes)) for name, given in known_fields(observation).items()}
        others = tuple(float(value[number]) for name, value in values.items() if name != "bandwidth_kbps")
        key = lane.strategy.name, others
        if key not in self._tables:
            if len(self._tables) >= MOST_TABLES:
                self._tables.clear()
            one: Mapping[str, Floats] = {name: value[number : number + 1] for name, value in values.items()}
            levels = levels_observation(type(observation).of(one, at_s=observation.at_s))
            forecast = broadcast_forecast(self._planning, levels, LEVELS)
            self._tables[key] = self._planner(lane).tables(forecast, self._run.give_up_factor)
        return self._tables[key][lane.weight_index]

    @staticmethod
    def _planner(lane: _Lane) -> PlannerStrategy:
        assert isinstance(lane.strategy, PlannerStrategy)  # noqa: S101 - only these have an observer
        return lane.strategy

    def _series(self, lane: _Lane, *, keep: bool) -> list[Series]:
        """The result of a lane, over its own times."""
        times_s = np.array(lane.time_s)
        weights = (0.0 if lane.weight is None else lane.weight,)
        samples = self._trace.at(times_s)
        chunks = ForecastChunks(self._planning, self._truth, samples, len(times_s), weights, self._run)
        metrics = StrategyMetrics(self._truth.placements, (lane.weight,), len(times_s), keep=keep)
        start = 0
        for _, chunk in chunks.chunks():
            part = slice(start, start + len(chunk.truth_table))
            picks = np.array([lane.picks[part]], dtype=np.intp)
            seen = [self._seen(lane, part)] if lane.log_kbps else []
            metrics.add(chunk, picks, lane.strategy.limit_not_met(chunk, picks), seen)
            start = part.stop
        strategy = lane.strategy
        rows = metrics.series(strategy.name, planner=strategy.is_planner, weighted=strategy.weighted, dwell=lane.ticks)
        return [
            series
            if series.over_trace is None
            else replace(series, over_trace=replace(series.over_trace, time_s=tuple(lane.time_s)))
            for series in rows
        ]

    @staticmethod
    def _seen(lane: _Lane, part: slice) -> TracePicks:
        columns = (lane.picks[part], lane.log_kbps[part], lane.patience_s[part])
        return TracePicks(*(np.array(column) for column in columns))
