"""What is compared: the installed planners, and fixed strategies that need none."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np

from midcut.errors import ConfigError
from midcut.planning import OUTAGE_KBPS
from midcut.planning.patience import all_patience_s, patience_s
from midcut.planning.policy import choose_in_time
from midcut.protocols import Learner, LimitedPlanner
from midcut.simulation.over_trace import PickTable, SimulatedPicker, TracePicks
from midcut.simulation.truth_table import TruthTable
from midcut.types import InferenceResult, Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from midcut.planning.dwell import Dwell
    from midcut.protocols import Planner
    from midcut.simulation.over_trace import TraceChunk, TraceRun
    from midcut.types import Floats, Forecast, Ints

LATENCY_OPTIMAL, COST_OPTIMAL, EDGE_ONLY, CLOUD_ONLY = "latency_optimal", "cost_optimal", "edge_only", "cloud_only"
STATIC_BEST, ORACLE = "static_best", "oracle"
FIXED_NAMES = (LATENCY_OPTIMAL, COST_OPTIMAL, EDGE_ONLY, CLOUD_ONLY, STATIC_BEST, ORACLE)

MOST_TABLES = 256
"""Conditions (clocks, pings) whose tables of picks a planner holds at once: 100 kB each where the edge gives up."""

_NOTHING_SEEN = Observation(at_s=0.0)


@dataclass(frozen=True)
class Chunk:
    """n consecutive samples.

    Attributes:
        predicted: the forecast that strategies decide on; arrays of shape (n, P).
        true_forecast: what the placements really take, for the same samples.
        over_trace: input for strategies that know a recorded link only by their own transfers; None otherwise.
        static_best: gives the row of the placement that is best on average, for every weight and sample, shape (W, n).
        observation: what is observed in each sample, arrays of shape (n,).
        run: how requests go over a recorded link; None where there is none.
        given_up: seconds that the edge waits for the cloud, shape (n,) -> forecast of requests that it then finishes
            itself; None where no edge gives up.
    """

    predicted: Forecast
    true_forecast: Forecast
    static_best: Callable[[], Ints]
    over_trace: TraceChunk | None = None
    observation: Observation = field(default_factory=lambda: _NOTHING_SEEN)
    run: TraceRun | None = None
    given_up: Callable[[Floats], Forecast] | None = None

    @cached_property
    def truth_table(self) -> TruthTable:
        """`true_forecast`, sorted."""
        return TruthTable(self.true_forecast)


class Picks(NamedTuple):
    """What a strategy picks for a chunk.

    Attributes:
        rows: row of the picked placement in the forecast, for every weight and sample, shape (len(weights), n).
        over_trace: for every weight, what was seen of a recorded link; empty for strategies that see nothing of it,
            whose requests wait until the time-out.
    """

    rows: Ints
    over_trace: Sequence[TracePicks] = ()


class Strategy(Protocol):
    """Picks a placement for every sample.

    Attributes:
        name: name of the strategy in results and claims.
        is_planner: whether it is an installed planner.
        learns: whether a pick depends on what the ones before took.
        weighted: False for a planner that follows no weight: it then picks the same at all of them.
        weights: one per row of picks; None where the strategy follows no weight.
    """

    name: str
    is_planner: bool
    learns: bool
    weighted: bool
    weights: tuple[float | None, ...]

    def picks(self, chunk: Chunk) -> Picks:
        """The picks for a chunk of samples."""
        ...

    def picks_at(self, chunk: Chunk, weight_index: Ints) -> Ints:
        """The pick for each sample at one weight only; not of planners that learn or see their own transfers.

        Args:
            chunk: n samples.
            weight_index: of each sample's weight among `weights`, shape (n,).

        Returns:
            rows of the forecast, shape (n,).
        """
        ...

    def dwelled(self, chunk: Chunk, picks: Ints, dwell: Dwell) -> Picks:
        """The picks of the same chunk with dwell, which holds back switches.

        Args:
            picks: the rows that `picks` returned for it.
        """
        ...

    def limit_not_met(self, chunk: Chunk, picks: Ints) -> NDArray[np.bool_] | None:
        """Where the pick exceeds the planner's own limit, shape of `picks`; None for a strategy without a limit."""
        ...

    def trace_picks_of(self, chunk: Chunk, rows: Ints) -> TracePicks | None:
        """Picks, shape (n,), with what was seen where that is the link's own rate; None where nothing is seen."""
        ...


class PlannerStrategy:
    """An installed planner, asked at every weight."""

    is_planner = True

    def __init__(
        self, name: str, planner: Planner, weights: Sequence[float], reply_timeout_s: float | None = None
    ) -> None:
        self.name = name
        self.weights: tuple[float | None, ...] = tuple(weights)
        self.weighted = planner.w is not None
        self.learns = isinstance(planner, Learner)
        self._planner, self._reply_timeout_s = planner, reply_timeout_s
        # One that learns must not learn at one weight from what it chose at another.
        self._copies = [copy.deepcopy(planner) for _ in weights] if isinstance(planner, Learner) else []
        self._pickers: dict[int | None, list[SimulatedPicker]] = {}  # dwell -> one for each weight; None: without dwell
        self._tables: dict[int, list[PickTable]] = {}
        self._weight_column = np.array(weights, dtype=np.float64)[:, None]

    def picks(self, chunk: Chunk) -> Picks:
        """As `Strategy` defines it."""
        if isinstance(self._planner, Learner):
            return Picks(self._learn(chunk))
        if chunk.over_trace is not None:
            self._tables = {}
            return self._observe(chunk.over_trace)
        rows = choose_in_time(self._planner, chunk.predicted, self._weight_column, self._reply_timeout_s)
        return self._with_trace_picks(chunk, rows)

    def picks_at(self, chunk: Chunk, weight_index: Ints) -> Ints:
        """As `Strategy` defines it."""
        weights = self._weight_column[weight_index, 0]
        return choose_in_time(self._planner, chunk.predicted, weights, self._reply_timeout_s)

    def dwelled(self, chunk: Chunk, picks: Ints, dwell: Dwell) -> Picks:
        """As `Strategy` defines it; over a recorded link, what a picker with dwell sees follows from its transfers."""
        if chunk.over_trace is not None and not isinstance(self._planner, Learner):
            return self._observe(chunk.over_trace, dwell.ticks)
        return self._with_trace_picks(chunk, dwell.apply(picks))

    def _with_trace_picks(self, chunk: Chunk, rows: Ints) -> Picks:
        """Picks that were decided by the link's own rate, with what was seen of it."""
        if chunk.run is None or isinstance(self._planner, Learner):
            return Picks(rows)
        return Picks(rows, [self.trace_picks_of(chunk, picked) for picked in rows])

    def trace_picks_of(self, chunk: Chunk, rows: Ints) -> TracePicks:
        """As `Strategy` defines it."""
        return seen_picks(chunk, rows, chunk.predicted, rows)

    def _observe(self, chunk: TraceChunk, dwell: int | None = None) -> Picks:
        """Pick request by request, by what the picker's own transfers have shown of the link at each weight."""
        pickers = self._pickers.setdefault(dwell, [])
        if not pickers:
            pickers += [SimulatedPicker(chunk.run, dwell or 0) for _ in self.weights]
        seen = [picker.picks(chunk, partial(self._table, chunk, index)) for index, picker in enumerate(pickers)]
        return Picks(np.array([picks.rows for picks in seen], dtype=np.intp), seen)

    def _table(self, chunk: TraceChunk, weight: int, setting: int) -> PickTable:
        if setting not in self._tables:
            if len(self._tables) >= MOST_TABLES:
                self._tables.clear()
            self._tables[setting] = self.tables(chunk.forecast_at(setting), chunk.run.give_up_factor)
        return self._tables[setting][weight]

    def tables(self, forecast: Forecast, give_up_factor: float | None) -> list[PickTable]:
        """The picks at every bandwidth level of a forecast, shape (L, P), for each weight."""
        chosen = choose_in_time(self._planner, forecast, self._weight_column, self._reply_timeout_s)
        patience = None if give_up_factor is None else all_patience_s(forecast, give_up_factor)
        return [PickTable(rows.tolist(), patience) for rows in chosen]

    def _learn(self, chunk: Chunk) -> Ints:
        """Let a planner that learns choose sample by sample, and tell it what each choice took."""
        picks = np.empty((len(self.weights), len(chunk.predicted.latency_s)), dtype=np.intp)
        for index, planner in enumerate(self._copies):
            w = float(self._weight_column[index, 0])
            for sample in range(picks.shape[1]):
                forecast = chunk.predicted.at(sample)
                pick = int(choose_in_time(planner, forecast, w, self._reply_timeout_s))
                picks[index, sample] = pick
                cast("Learner", planner).answered(
                    forecast.placements[pick], _NOTHING_SEEN, result_of_pick(chunk, sample, pick)
                )
        return picks

    def limit_not_met(self, chunk: Chunk, picks: Ints) -> NDArray[np.bool_] | None:
        """As `Strategy` defines it."""
        if not isinstance(self._planner, LimitedPlanner):
            return None
        return ~self._planner.meets(chunk.predicted.aimed(), picks)


class FixedStrategy:
    """One of the strategies that need no planner."""

    is_planner = learns = False
    weighted = True

    def __init__(self, name: str, weights: Sequence[float]) -> None:
        self.name = name
        own_weight: dict[str, tuple[float | None, ...]] = {LATENCY_OPTIMAL: (0.0,), COST_OPTIMAL: (1.0,)}
        self.weights = own_weight.get(name, tuple(weights) if name in (STATIC_BEST, ORACLE) else (None,))
        self._all_weights = tuple(weights)

    def picks(self, chunk: Chunk) -> Picks:
        """As `Strategy` defines it."""
        return Picks(self._rows(chunk))

    def _rows(self, chunk: Chunk) -> Ints:
        if self.name == ORACLE:
            return chunk.truth_table.best(self._all_weights)[0]
        if self.name == STATIC_BEST:
            return chunk.static_best()
        predicted = chunk.predicted
        if self.name == LATENCY_OPTIMAL:
            return lexicographic_argmin(predicted.latency_s, predicted.cost_usd)[None]
        if self.name == COST_OPTIMAL:
            return lexicographic_argmin(predicted.cost_usd, predicted.latency_s)[None]
        return self._pick_at_one_cut(predicted)[None]

    def picks_at(self, chunk: Chunk, weight_index: Ints) -> Ints:
        """As `Strategy` defines it."""
        if self.name == ORACLE:
            return chunk.truth_table.best_at(np.array(self._all_weights)[weight_index])
        picks: Ints = self._rows(chunk)[weight_index, np.arange(len(weight_index))]
        return picks

    def dwelled(self, chunk: Chunk, picks: Ints, dwell: Dwell) -> Picks:  # noqa: ARG002 - does not observe the link
        """As `Strategy` defines it."""
        return Picks(dwell.apply(picks))

    def _pick_at_one_cut(self, predicted: Forecast) -> Ints:
        """Pick one given cut, with its fastest codec by the forecast; among equally fast ones the cheapest."""
        cuts = predicted.placements.cut
        (rows,) = np.nonzero(cuts == (cuts.max() if self.name == EDGE_ONLY else cuts.min()))
        best: Ints = rows[lexicographic_argmin(predicted.latency_s[:, rows], predicted.cost_usd[:, rows])]
        return best

    def limit_not_met(self, chunk: Chunk, picks: Ints) -> NDArray[np.bool_] | None:  # noqa: ARG002 - it has no limit
        """As `Strategy` defines it."""
        return None

    def trace_picks_of(self, chunk: Chunk, rows: Ints) -> None:  # noqa: ARG002 - it sees nothing of the link
        """As `Strategy` defines it."""
        return


def make_strategies(
    planners: Mapping[str, Planner], weights: Sequence[float], reply_timeout_s: float | None = None
) -> list[Strategy]:
    """The fixed strategies, then the planners.

    Raises:
        ConfigError: a planner has the name of a fixed strategy.
    """
    reserved = sorted(set(planners) & set(FIXED_NAMES))
    if reserved:
        raise ConfigError(f"strategy {reserved[0]!r} is evaluated in any case; a planner must go by another name")
    fixed: list[Strategy] = [FixedStrategy(name, weights) for name in FIXED_NAMES]
    return fixed + [PlannerStrategy(name, planner, weights, reply_timeout_s) for name, planner in planners.items()]


def seen_picks(chunk: Chunk, rows: Ints, forecast: Forecast, own_rows: Ints) -> TracePicks:
    """Picks that were decided by the link's own rate, with what was seen of it, and the edge's patience.

    Args:
        chunk: the n samples.
        rows: the picks, shape (n,).
        forecast: what they were made from, arrays of shape (n, Q).
        own_rows: the picks as rows of this forecast, shape (n,).
    """
    log_kbps = np.log(np.maximum(chunk.observation.bandwidth_kbps, OUTAGE_KBPS))
    factor = None if chunk.run is None else chunk.run.give_up_factor
    patience = np.full(np.shape(rows), np.inf) if factor is None else patience_s(forecast, own_rows, factor)
    return TracePicks(rows, log_kbps, patience)


def lexicographic_argmin(first: Floats, second: Floats) -> Ints:
    """Column with the smallest `first`; ties go to the smallest `second`, then to the first column; shape (n,)."""
    ties = first == first.min(axis=-1, keepdims=True)
    best: Ints = np.where(ties, second, np.inf).argmin(axis=-1)
    return best


def result_of_pick(chunk: Chunk, sample: int, pick: int) -> InferenceResult:
    """What a pick really took, as an edge would report it."""
    truth = chunk.true_forecast
    on_edge = bool(truth.placements.on_edge[pick])
    return InferenceResult(
        request_id="",
        output=None,
        cut=int(truth.placements.cut[pick]),
        onward=truth.placements[pick].onward,
        between={name: float(part_s[sample, pick]) for name, part_s in truth.between.items()},
        finished_by="edge" if on_edge else "cloud",
        fallback="",
        edge_s=float(truth.edge_s[sample, pick]),
        link_s=float(truth.link_s[sample, pick]),
        cloud_s=float(truth.cloud_s[sample, pick]),
        latency_s=float(truth.latency_s[sample, pick]),
        cost_usd=float(truth.cost_usd[sample, pick]),
        sent_bytes=int(truth.placements.request_bytes[pick]),
        predicted={},
        codec=truth.placements.codec[pick],
    )
