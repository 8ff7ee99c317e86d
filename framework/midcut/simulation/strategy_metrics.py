"""Metrics of one strategy, gathered piece by piece. What each number means stands in `midcut.results.simulation`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import ForecastError
from midcut.results.simulation import Front, Interval, Series
from midcut.simulation.largest import Largest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from midcut.simulation.truth_table import TruthTable
    from midcut.types import Floats, Ints, Placements

SHARE = 0.95


class StrategyMetrics:
    """One strategy over the samples, at W weights (None where no weight counts).

    Args:
        placements: what the rows mean.
        weights: one per row of picks.
        samples: how many there will be in all.
        keep: whether picks and what they take are kept one by one.
    """

    def __init__(
        self, placements: Placements, weights: Sequence[float | None], samples: int, *, keep: bool = False
    ) -> None:
        self.weights = tuple(weights)
        rows = len(self.weights)
        self._placements, self._samples, self._keep = placements, samples, keep
        self._coded = len(np.unique(placements.cut)) < len(placements)
        self._counting = tuple(0.0 if w is None else w for w in self.weights)
        self._sums = {name: np.zeros(rows) for name in ("latency", "cost", "regret", "dominated", "unmet")}
        self._fastest_s = 0.0
        self._switches = np.zeros(rows, dtype=np.int64)
        self._picked = np.zeros((rows, len(placements)), dtype=np.bool_)
        self._last: Ints | None = None
        self._largest = Largest(samples, SHARE)
        self._limited = False
        self._kept: list[tuple[Ints, Floats, Floats]] = []

    def add(self, ground: TruthTable, picks: Ints, unmet: NDArray[np.bool_] | None = None) -> None:
        """Take the picks of the next n samples, shape (W, n)."""
        places = ground.places(picks)
        latency_s, cost_usd = ground.latency_s.take(places), ground.cost_usd.take(places)
        regret = ground.objective(np.array(self._counting)[:, None], places)
        regret -= ground.best(self._counting)[1]
        self._sums["latency"] += latency_s.sum(axis=-1)
        self._sums["cost"] += cost_usd.sum(axis=-1)
        self._sums["regret"] += regret.sum(axis=-1)
        self._sums["dominated"] += len(ground) - np.count_nonzero(ground.front.take(places), axis=-1)
        if unmet is not None:
            self._limited = True
            self._sums["unmet"] += unmet.sum(axis=-1)
        self._fastest_s += float(ground.latency_s[:, 0].sum())
        self._picked[np.arange(len(self.weights))[:, None], picks] = True
        if self._last is not None:
            self._switches += picks[:, 0] != self._last
        self._switches += np.count_nonzero(picks[:, 1:] != picks[:, :-1], axis=-1)
        self._last = picks[:, -1].copy()
        self._largest.add(latency_s)
        if self._keep:
            self._kept.append((picks, latency_s, cost_usd))

    def mean(self, name: str) -> Floats:
        """Mean `latency` (s), `cost` (USD), `regret` (of J), `dominated` or `unmet` over the samples, shape (W,)."""
        means: Floats = self._sums[name] / self._samples
        return means

    def means(self) -> dict[str, Floats]:
        """Mean `latency_s` and `cost_usd`, each of shape (W,)."""
        return {"latency_s": self.mean("latency"), "cost_usd": self.mean("cost")}

    def series(
        self,
        name: str,
        *,
        planner: bool,
        weighted: bool = True,
        dwell: int = 0,
        ratios: Mapping[str, Sequence[Mapping[str, Interval]]] | None = None,
    ) -> list[Series]:
        """One result per weight; just one where none counts.

        Args:
            name: the strategy's.
            planner: whether it is an installed planner.
            weighted: False where all rows are the same.
            dwell: for the record.
            ratios: `latency_ratio` and `cost_ratio` -> one mapping per row.
        """
        if self._fastest_s <= 0.0:
            raise ForecastError("the truth set says that every sample takes no time: there is nothing to compare")
        largest = self._largest.percentile()
        fastest_s = self._fastest_s / self._samples
        made = []
        for row in range(len(self.weights) if weighted else 1):
            w = self.weights[row] if weighted else None
            picks, latency_s, cost_usd = self._samples_of(row)
            made.append(
                Series(
                    strategy=name,
                    planner=planner,
                    w=w,
                    latency_s=float(self.mean("latency")[row]),
                    cost_usd=float(self.mean("cost")[row]),
                    latency_p95_s=float(largest[row]),
                    latency_regret=float(self.mean("latency")[row] / fastest_s - 1.0),
                    objective_regret=None if w is None else float(self.mean("regret")[row]),
                    dominated=float(self.mean("dominated")[row]),
                    distinct=int(np.count_nonzero(self._picked[row])),
                    switches_per_100=float(100.0 * self._switches[row] / self._samples),
                    dwell=dwell,
                    unmet=float(self.mean("unmet")[row]) if self._limited else None,
                    **{key: dict(of[row]) for key, of in (ratios or {}).items()},
                    picks=tuple(self._placements.cut[picks].tolist()),
                    codecs=tuple(self._placements.codec[pick] for pick in picks.tolist()) if self._coded else (),
                    sample_latency_s=tuple(latency_s.tolist()),
                    sample_cost_usd=tuple(cost_usd.tolist()),
                )
            )
        return made

    def _samples_of(self, row: int) -> tuple[Ints, Floats, Floats]:
        if not self._kept:
            return np.empty(0, dtype=np.intp), np.empty(0), np.empty(0)
        picks, latency_s, cost_usd = (np.concatenate([piece[part][row] for piece in self._kept]) for part in range(3))
        return picks, latency_s, cost_usd


class FrontCoverage:
    """What one planner reaches over all its weights."""

    def __init__(self) -> None:
        self._sums = {"volume": 0.0, "share": 0.0, "distinct": 0}
        self._samples = 0

    def add(self, ground: TruthTable, picks: Ints) -> None:
        """Take the picks of the next n samples, shape (W, n)."""
        places = ground.places(picks)
        reached = np.zeros(ground.latency_s.shape, dtype=np.bool_)
        reached.ravel()[places] = True
        points = np.zeros_like(reached)
        points.ravel()[ground.first.take(places)] = True
        whole = ground.whole_area
        flat = whole <= 0.0
        self._sums["volume"] += float(np.where(flat, 1.0, ground.area(reached) / np.where(flat, 1.0, whole)).sum())
        on_front = (points & ground.points).sum(axis=-1) / ground.points.sum(axis=-1)
        self._sums["share"] += float(on_front.sum())
        self._sums["distinct"] += int(np.count_nonzero(reached))
        self._samples += len(ground)

    def front(self, name: str, tally: StrategyMetrics) -> Front:
        """The result, with what the planner's tally knows."""
        return Front(
            planner=name,
            hypervolume=self._sums["volume"] / self._samples,
            front_share=self._sums["share"] / self._samples,
            dominated=float(tally.mean("dominated").mean()),
            distinct=self._sums["distinct"] / self._samples,
            objective_regret=float(tally.mean("regret").mean()),
        )
