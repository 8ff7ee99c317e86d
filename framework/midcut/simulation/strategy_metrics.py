"""Metrics of one strategy, summed up chunk by chunk. `midcut.results.simulation` defines what each number means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from midcut.errors import ForecastError
from midcut.results.simulation import Front, Interval, OverTrace, Series
from midcut.simulation.pick_outcomes import PickOutcomes
from midcut.simulation.streaming_percentile import StreamingPercentile
from midcut.types import LATENCY_AND_COST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from midcut.simulation.over_trace import TracePicks
    from midcut.simulation.strategies import Chunk
    from midcut.simulation.truth_table import TruthTable
    from midcut.types import Floats, Ints, Placements

PERCENTILE = 0.95


class StrategyMetrics:
    """Collects the metrics of one strategy over all samples, at each of W weights of a planner.

    Args:
        placements: all that can be picked; a pick is an index into them.
        weights: one per row of picks; None where the strategy follows no weight.
        samples: total number of samples.
        keep: whether to keep the pick, latency and cost of every sample for the result.
    """

    def __init__(
        self, placements: Placements, weights: Sequence[float | None], samples: int, *, keep: bool = False
    ) -> None:
        self.weights = tuple(weights)
        rows = len(self.weights)
        self._placements, self._samples, self._keep = placements, samples, keep
        hops = [placements.cut] if placements.onward is None else [placements.cut, placements.onward.cut]
        self._several_codecs = len(np.unique(hops, axis=1).T) < len(placements)
        self._objective_weights = tuple(0.0 if w is None else w for w in self.weights)
        self._sums = {name: np.zeros(rows) for name in ("latency", "cost", "regret", "dominated", "limit_not_met")}
        self._objective_sums: dict[str, Floats] = {}
        self._fastest_s = 0.0
        self._switches = np.zeros(rows, dtype=np.int64)
        self._ever_picked = np.zeros((rows, len(placements)), dtype=np.bool_)
        self._last_picks: Ints | None = None
        self._percentile = StreamingPercentile(samples, PERCENTILE)
        self._has_limit = False
        self._per_sample: list[tuple[Ints, Floats, Floats]] = []
        self._over_trace: list[dict[str, Floats]] = []

    def add(
        self,
        chunk: Chunk,
        picks: Ints,
        limit_not_met: NDArray[np.bool_] | None = None,
        trace_picks: Sequence[TracePicks] = (),
    ) -> None:
        """Add the picks for the next n samples, shape (W, n)."""
        truth = chunk.truth_table
        indices = truth.flat_indices(picks)
        weights = np.array(self._objective_weights)[:, None]
        took = PickOutcomes.of(truth, indices)
        objective = truth.objective(weights, indices)
        if chunk.given_up is not None and trace_picks:
            late = took.give_up(chunk.given_up, picks, [row.patience_s for row in trace_picks])
            objective = np.where(late, truth.objective_of(weights, *took.weighed_columns(truth.base.aim)), objective)
        for name in truth.objectives:
            sums = self._objective_sums.setdefault(name, np.zeros(len(self.weights)))
            sums += took.columns[name].sum(axis=-1)
        latency_s, cost_usd = (took.columns[name] for name in LATENCY_AND_COST)
        regret = objective - truth.best(self._objective_weights)[1]
        self._sums["latency"] += latency_s.sum(axis=-1)
        self._sums["cost"] += cost_usd.sum(axis=-1)
        self._sums["regret"] += regret.sum(axis=-1)
        self._sums["dominated"] += len(truth) - np.count_nonzero(truth.on_front.take(indices), axis=-1)
        if limit_not_met is not None:
            self._has_limit = True
            self._sums["limit_not_met"] += limit_not_met.sum(axis=-1)
        self._fastest_s += float(truth.column("latency_s").min(axis=-1).sum())
        self._ever_picked[np.arange(len(self.weights))[:, None], picks] = True
        if self._last_picks is not None:
            self._switches += picks[:, 0] != self._last_picks
        self._switches += np.count_nonzero(picks[:, 1:] != picks[:, :-1], axis=-1)
        self._last_picks = picks[:, -1].copy()
        self._percentile.add(latency_s)
        if self._keep:
            self._per_sample.append((picks, latency_s, cost_usd))
            if chunk.run is not None:
                self._over_trace.append(took.over_trace(chunk, picks, trace_picks))

    def mean(self, name: str) -> Floats:
        """Mean over the samples, shape (W,).

        Args:
            name: `latency` (s), `cost` (USD), `regret` (of `TruthTable.objective`), `dominated` or `limit_not_met`
                (shares of samples).
        """
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
        """One result per weight, or a single one for a strategy that ignores the weight.

        Args:
            name: name of the strategy.
            planner: whether it is an installed planner.
            weighted: whether the strategy follows the weight; otherwise all rows are the same.
            dwell: as recorded in the result.
            ratios: `latency_ratio` and `cost_ratio` -> one mapping per row.
        """
        if self._fastest_s <= 0.0:
            raise ForecastError("the true latency of every sample is 0 s: there is nothing to compare")
        percentile_s = self._percentile.percentile()
        fastest_s = self._fastest_s / self._samples
        results, onward = [], self._placements.onward
        for row in range(len(self.weights) if weighted else 1):
            w = self.weights[row] if weighted else None
            picks, latency_s, cost_usd = self._samples_at_weight(row)
            results.append(
                Series(
                    strategy=name,
                    planner=planner,
                    w=w,
                    latency_s=float(self.mean("latency")[row]),
                    cost_usd=float(self.mean("cost")[row]),
                    latency_p95_s=float(percentile_s[row]),
                    latency_regret=float(self.mean("latency")[row] / fastest_s - 1.0),
                    objective_regret=None if w is None else float(self.mean("regret")[row]),
                    dominated=float(self.mean("dominated")[row]),
                    distinct=int(np.count_nonzero(self._ever_picked[row])),
                    switches_per_100=float(100.0 * self._switches[row] / self._samples),
                    dwell=dwell,
                    objectives={name: float(sums[row]) / self._samples for name, sums in self._objective_sums.items()},
                    unmet=float(self.mean("limit_not_met")[row]) if self._has_limit else None,
                    **{key: dict(by_row[row]) for key, by_row in (ratios or {}).items()},
                    picks=tuple(self._placements.cut[picks].tolist()),
                    codecs=self._codecs_of(self._placements, picks),
                    second_picks=() if onward is None else tuple(onward.cut[picks].tolist()),
                    second_codecs=() if onward is None else self._codecs_of(onward, picks),
                    sample_latency_s=tuple(latency_s.tolist()),
                    sample_cost_usd=tuple(cost_usd.tolist()),
                    over_trace=self._over_trace_at_weight(row),
                )
            )
        return results

    def _codecs_of(self, placements: Placements, picks: Ints) -> tuple[str, ...]:
        return tuple(placements.codec[pick] for pick in picks.tolist()) if self._several_codecs else ()

    def _samples_at_weight(self, row: int) -> tuple[Ints, Floats, Floats]:
        if not self._per_sample:
            return np.empty(0, dtype=np.intp), np.empty(0), np.empty(0)
        picks, latency_s, cost_usd = (np.concatenate([chunk[i][row] for chunk in self._per_sample]) for i in range(3))
        return picks, latency_s, cost_usd

    def _over_trace_at_weight(self, row: int) -> OverTrace | None:
        if not self._over_trace:
            return None
        columns = {
            name: tuple(np.concatenate([chunk[name][row] for chunk in self._over_trace]).tolist())
            for name in self._over_trace[0]
        }
        return msgspec.convert(columns, OverTrace)


class FrontCoverage:
    """How much of the true Pareto front one planner reaches over all its weights."""

    def __init__(self) -> None:
        self._sums = {"volume": 0.0, "share": 0.0, "distinct": 0}
        self._samples = 0

    def add(self, truth: TruthTable, picks: Ints) -> None:
        """Add the picks for the next n samples, shape (W, n)."""
        indices = truth.flat_indices(picks)
        reached = np.zeros(truth.first_column.shape, dtype=np.bool_)
        reached.ravel()[indices] = True
        reached_points = np.zeros_like(reached)
        reached_points.ravel()[truth.first_equal.take(indices)] = True
        whole = truth.whole_area
        no_area = whole <= 0.0
        volume = np.where(no_area, 1.0, truth.area(reached) / np.where(no_area, 1.0, whole))
        self._sums["volume"] += float(volume.sum())
        share = (reached_points & truth.front_points).sum(axis=-1) / truth.front_points.sum(axis=-1)
        self._sums["share"] += float(share.sum())
        self._sums["distinct"] += int(np.count_nonzero(reached))
        self._samples += len(truth)

    def front(self, name: str, metrics: StrategyMetrics) -> Front:
        """The result of a planner, with the means over all weights that its metrics hold."""
        return Front(
            planner=name,
            hypervolume=self._sums["volume"] / self._samples,
            front_share=self._sums["share"] / self._samples,
            dominated=float(metrics.mean("dominated").mean()),
            distinct=self._sums["distinct"] / self._samples,
            objective_regret=float(metrics.mean("regret").mean()),
        )
