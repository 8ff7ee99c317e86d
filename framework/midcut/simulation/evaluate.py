"""Every strategy over the chosen samples, and over repetitions with other seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midcut.planning.dwell import Dwell
from midcut.simulation.claims import ratios
from midcut.simulation.passes import add_by
from midcut.simulation.strategies import COST_OPTIMAL, LATENCY_OPTIMAL, PlannerStrategy
from midcut.simulation.strategy_metrics import FrontCoverage, StrategyMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midcut.results.simulation import Front, Interval, Series
    from midcut.simulation.claims import Means
    from midcut.simulation.passes import Passes
    from midcut.simulation.strategies import Piece, Strategy
    from midcut.types import Placements


@dataclass
class Entry:
    """One strategy and what is gathered of it; `held` is the same strategy made to stay, by dwell."""

    strategy: Strategy
    tally: StrategyMetrics
    reach: FrontCoverage | None = None
    held: dict[int, tuple[Dwell, StrategyMetrics]] = field(default_factory=dict)

    def add(self, piece: Piece) -> None:
        """Let it pick for a piece of the samples."""
        picks = self.strategy.picks(piece)
        unmet = self.strategy.unmet(piece, picks)
        self.tally.add(piece.ground, picks, unmet)
        if self.reach:
            self.reach.add(piece.ground, picks)
        for dwell, tally in self.held.values():
            tally.add(piece.ground, dwell.held(picks), unmet)

    def series(self, repeated: Mapping[str, Means]) -> Iterator[Series]:
        """Its results: as it is, then by dwell."""
        one = self.strategy
        weighted = one.weighted if isinstance(one, PlannerStrategy) else True
        yield from self.tally.series(one.name, planner=one.planner, weighted=weighted, ratios=_ratios(one, repeated))
        for ticks, (_, tally) in self.held.items():
            yield from tally.series(one.name, planner=one.planner, weighted=weighted, dwell=ticks)

    def front(self) -> Front | None:
        """What it reaches over all weights; None where there is no choice of them."""
        return self.reach.front(self.strategy.name, self.tally) if self.reach else None


def evaluate(
    passes: Passes,
    strategies: Sequence[Strategy],
    placements: Placements,
    dwell: Sequence[int],
    *,
    keep: bool,
) -> list[Entry]:
    """Let every strategy pick for every sample.

    Args:
        passes: the samples.
        strategies: who picks.
        placements: what they pick from.
        dwell: numbers of samples that planners are also made to stay for.
        keep: whether samples are kept one by one.
    """

    def tally(one: Strategy) -> StrategyMetrics:
        return StrategyMetrics(placements, one.weights, passes.total, keep=keep)

    entries = [
        Entry(
            one,
            tally(one),
            FrontCoverage() if one.planner and len(one.weights) > 1 else None,
            {ticks: (Dwell(ticks), tally(one)) for ticks in dwell} if one.planner else {},
        )
        for one in strategies
    ]
    for _, piece in passes.pieces():
        for entry in entries:
            entry.add(piece)
    return entries


def repeated_means(passes: Passes, strategies: Sequence[Strategy]) -> dict[str, Means]:
    """Strategy -> mean latency and cost in every repetition, at every of its weights, each of shape (W, R)."""
    shapes = {one.name: (passes.repetitions, len(one.weights)) for one in strategies}
    sums = {name: {"latency_s": np.zeros(shape), "cost_usd": np.zeros(shape)} for name, shape in shapes.items()}
    for repetition, piece in passes.pieces():
        for one in strategies:
            places = piece.ground.places(one.picks(piece))
            add_by(sums[one.name]["latency_s"], repetition, piece.ground.latency_s.take(places).T)
            add_by(sums[one.name]["cost_usd"], repetition, piece.ground.cost_usd.take(places).T)
    return {name: {metric: of.T / passes.size for metric, of in pair.items()} for name, pair in sums.items()}


def _ratios(one: Strategy, repeated: Mapping[str, Means]) -> dict[str, list[dict[str, Interval]]]:
    if not repeated:
        return {}
    metrics = {"latency_ratio": "latency_s", "cost_ratio": "cost_usd"}
    against = (LATENCY_OPTIMAL, COST_OPTIMAL)
    return {name: ratios(repeated, one.name, metric, against) for name, metric in metrics.items()}
