"""Evaluates every strategy on the chosen samples, and on repetitions with other seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midcut.planning.dwell import Dwell
from midcut.simulation.chunks import add_by_group
from midcut.simulation.claims import ratio_intervals
from midcut.simulation.strategies import COST_OPTIMAL, LATENCY_OPTIMAL
from midcut.simulation.strategy_metrics import FrontCoverage, StrategyMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from midcut.results.simulation import Front, Interval, Series
    from midcut.simulation.chunks import ForecastChunks
    from midcut.simulation.claims import Means
    from midcut.simulation.strategies import Chunk, Picks, Strategy
    from midcut.types import Placements


@dataclass
class StrategyEvaluation:
    """One strategy and its metrics.

    Attributes:
        coverage: of the Pareto front; None for a strategy that is not asked at several weights.
        with_dwell: dwell -> the metrics of the same strategy when dwell holds back its switches.
    """

    strategy: Strategy
    metrics: StrategyMetrics
    coverage: FrontCoverage | None = None
    with_dwell: dict[int, tuple[Dwell, StrategyMetrics]] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> None:
        """Let the strategy pick for a chunk of the samples, and add the picks to the metrics."""
        picks = self.strategy.picks(chunk)
        self._add(self.metrics, chunk, picks)
        if self.coverage:
            self.coverage.add(chunk.truth_table, picks.rows)
        for dwell, metrics in self.with_dwell.values():
            self._add(metrics, chunk, self.strategy.dwelled(chunk, picks.rows, dwell))

    def _add(self, metrics: StrategyMetrics, chunk: Chunk, picks: Picks) -> None:
        metrics.add(chunk, picks.rows, self.strategy.limit_not_met(chunk, picks.rows), picks.over_trace)

    def series(self, repeated: Mapping[str, Means]) -> Iterator[Series]:
        """The results, first without dwell and then with each."""
        name, planner, weighted = self.strategy.name, self.strategy.is_planner, self.strategy.weighted
        ratios = _ratios(self.strategy, repeated)
        yield from self.metrics.series(name, planner=planner, weighted=weighted, ratios=ratios)
        for ticks, (_, metrics) in self.with_dwell.items():
            yield from metrics.series(name, planner=planner, weighted=weighted, dwell=ticks)

    def front(self) -> Front | None:
        """Share of the Pareto front that the strategy's picks cover; None where only one weight was evaluated."""
        return self.coverage.front(self.strategy.name, self.metrics) if self.coverage else None


def evaluate(
    samples: ForecastChunks,
    strategies: Sequence[Strategy],
    placements: Placements,
    dwell: Sequence[int],
    *,
    keep: bool,
) -> list[StrategyEvaluation]:
    """Let every strategy pick for every sample.

    Args:
        samples: the samples, each with its forecast and its truth.
        strategies: the strategies to evaluate.
        placements: the placements from which strategies pick.
        dwell: planners and systems are also evaluated with each of these dwells, in planning steps: one a sample.
        keep: whether to keep the pick of every sample.
    """

    def metrics(strategy: Strategy) -> StrategyMetrics:
        return StrategyMetrics(placements, strategy.weights, samples.total, keep=keep)

    evaluations = [
        StrategyEvaluation(
            strategy,
            metrics(strategy),
            FrontCoverage() if strategy.is_planner and len(strategy.weights) > 1 else None,
            {ticks: (Dwell(ticks), metrics(strategy)) for ticks in dwell} if strategy.is_planner else {},
        )
        for strategy in strategies
    ]
    for _, chunk in samples.chunks():
        for evaluation in evaluations:
            evaluation.add(chunk)
    return evaluations


def repeated_means(samples: ForecastChunks, make_strategies: Callable[[], Sequence[Strategy]]) -> dict[str, Means]:
    """Strategy -> mean latency and cost for each of its weights and every repetition, both of shape (W, R).

    Args:
        samples: of all repetitions; apart from one another where a strategy learns.
        make_strategies: gives the strategies, of which none has learnt anything yet.
    """
    strategies, current = make_strategies(), 0
    shapes = {strategy.name: (samples.repetitions, len(strategy.weights)) for strategy in strategies}
    sums = {name: {"latency_s": np.zeros(shape), "cost_usd": np.zeros(shape)} for name, shape in shapes.items()}
    for repetition, chunk in samples.chunks():
        if samples.apart and repetition[0] != current:
            strategies, current = make_strategies(), int(repetition[0])
        for strategy in strategies:
            indices = chunk.truth_table.flat_indices(strategy.picks(chunk).rows)
            add_by_group(
                sums[strategy.name]["latency_s"], repetition, chunk.truth_table.column("latency_s").take(indices).T
            )
            add_by_group(
                sums[strategy.name]["cost_usd"], repetition, chunk.truth_table.column("cost_usd").take(indices).T
            )
    return {name: {metric: total.T / samples.size for metric, total in totals.items()} for name, totals in sums.items()}


def _ratios(strategy: Strategy, repeated: Mapping[str, Means]) -> dict[str, list[dict[str, Interval]]]:
    """Fields `latency_ratio` and `cost_ratio` of the result; empty without repetitions."""
    if not repeated:
        return {}
    metrics = {"latency_ratio": "latency_s", "cost_ratio": "cost_usd"}
    divisors = (LATENCY_OPTIMAL, COST_OPTIMAL)
    return {key: ratio_intervals(repeated, strategy.name, metric, divisors) for key, metric in metrics.items()}
