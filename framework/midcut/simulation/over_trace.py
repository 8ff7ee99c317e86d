"""Requests over a recorded link: what each placement really takes, and what a picker can have seen of the link."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from midcut.config.settings import EngineSettings, Observed
from midcut.planning import OUTAGE_KBPS
from midcut.planning.breaker import Breaker, BreakerState
from midcut.planning.dwell import DwellAge
from midcut.wire.rate_estimate import LastTransfer, LinkRate

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.planning.policy import Forecaster
    from midcut.simulation.link_capacity import LinkCapacity
    from midcut.types import Floats, Forecast, Ints, Observation

PROBE_KBIT: Final = 1600.0
PROBE_AFTER_S: Final = 10.0
"""A probe of 200 kB is sent after a silence of this length, as `bandwidth_probe` does by default."""
LEVELS: Final = 512
_LOW_KBPS, _HIGH_KBPS = 1.0, 1e7
_LEVELS_KBPS = np.geomspace(_LOW_KBPS, _HIGH_KBPS, LEVELS)
_LOG_LOW: Final = math.log(_LOW_KBPS)
_LEVELS_PER_LOG: Final = (LEVELS - 1) / math.log(_HIGH_KBPS / _LOW_KBPS)


@dataclass(frozen=True)
class TraceRun:
    """How requests go over a recorded link.

    Attributes:
        capacity: how much the recorded link can carry at each time.
        observed: how the picker learns the link's bandwidth.
        lag_s: how long a finished transfer, or with `perfect` the rate, takes to be seen.
        interval_s: seconds between two decisions.
        timeout_s: after this long without a reply the edge finishes the request; None waits for ever.
        give_up_factor: see `midcut.planning.patience`; None waits until the time-out.
    """

    capacity: LinkCapacity
    observed: Observed
    lag_s: float
    interval_s: float
    timeout_s: float | None
    give_up_factor: float | None = None


@dataclass(frozen=True)
class TracePicks:
    """What a picker did at each request of a chunk, and why; arrays of shape (n,).

    Attributes:
        rows: the picked placements, as rows of the forecast.
        log_kbps: logarithm of the bandwidth that it saw when it decided; NaN where it knew none.
        patience_s: how long the edge waited for link and cloud; infinite where it does not give up.
    """

    rows: Ints
    log_kbps: Floats
    patience_s: Floats


@dataclass(frozen=True)
class PickTable:
    """A planner's choices at every bandwidth level.

    Attributes:
        rows: its picks, of length L.
        patience_s: the edge's patience with each placement, shape (L, P); None where it does not give up.
    """

    rows: list[int]
    patience_s: Floats | None


@dataclass(frozen=True)
class TraceChunk:
    """What a picker needs to run through a chunk of requests in order.

    Attributes:
        run: the recorded link and the rules by which requests go over it.
        time_s: when each request arrives, shape (n,).
        kbit: size of what each placement transfers, shape (P,).
        edge_s: seconds of computation at the edge before the transfer begins, for each request, shape (n, P).
        transfer_s: seconds of that transfer, shape (n, P); infinite where there was no reply in time.
        probe_s: how long a probe would take that starts when the request arrives, shape (n,).
        setting: number of the request's other conditions, which `forecast_at` takes, shape (n,).
        forecast_at: setting -> the forecast at each bandwidth level, shape (L, P).
        edge_row: a placement that sends nothing; -1 where there is none.
    """

    run: TraceRun
    time_s: Floats
    kbit: Floats
    edge_s: Floats
    transfer_s: Floats
    probe_s: Floats
    setting: Ints
    forecast_at: Callable[[int], Forecast]
    edge_row: int


class TraceTruth(NamedTuple):
    """What requests over a recorded link take, arrays of shape (n, P).

    Attributes:
        forecast: all of it.
        edge_s: seconds of computation at the edge before the transfer begins.
        transfer_s: of the transfer alone; infinite where there was no reply in time.
        whole_transfer_s: the same, but as long as it takes also where the reply does not come in time.
    """

    forecast: Forecast
    edge_s: Floats
    transfer_s: Floats
    whole_transfer_s: Floats


def true_forecast(
    truth: Forecaster,
    observation: Observation,
    time_s: Floats,
    run: TraceRun,
    whole_transfer_s: Floats | None = None,
) -> TraceTruth:
    """What each placement takes for requests that arrive at given times; transfers do not share the link.

    Args:
        whole_transfer_s: as an earlier call for the same requests returned it: most of the work.
    """
    plain = truth.forecast(observation)
    shape = (len(time_s), len(plain))
    edge_s, cloud_s = (np.broadcast_to(part, shape) for part in (plain.edge_s, plain.cloud_s))
    between = {name: np.broadcast_to(part_s, shape) for name, part_s in plain.between.items()}
    kbit = transferred_kbit(truth, observation)
    rate_kbps = np.maximum(np.asarray(observation.bandwidth_kbps, dtype=np.float64), OUTAGE_KBPS)[:, None]
    fixed_s = np.maximum(plain.link_s - kbit / rate_kbps, 0.0)
    if whole_transfer_s is None:
        whole_transfer_s = run.capacity.transfer_s(time_s[:, None] + edge_s, np.broadcast_to(kbit, shape))
    transfer_s = whole_transfer_s
    link_s = fixed_s + transfer_s
    on_edge, begin_s = np.flatnonzero(plain.placements.on_edge), edge_s
    if run.timeout_s is not None and len(on_edge):
        late = sum(between.values(), link_s) + cloud_s > run.timeout_s
        if late.any():
            whole_s = edge_s[:, on_edge[:1]]
            edge_s, link_s = np.where(late, whole_s, edge_s), np.where(late, run.timeout_s, link_s)
            cloud_s, transfer_s = np.where(late, 0.0, cloud_s), np.where(late, np.inf, transfer_s)
            between = {name: np.where(late, 0.0, part_s) for name, part_s in between.items()}
    forecast = truth.complete(observation, edge_s, link_s, cloud_s, between=between)
    return TraceTruth(forecast, begin_s, transfer_s, whole_transfer_s)


def transferred_kbit(forecaster: Forecaster, observation: Observation) -> Floats:
    """What each placement sends over the recorded link, by how its seconds change with the bandwidth, shape (P,)."""
    one = {name: values.ravel()[:1] for name, values in known_fields(observation).items()}

    def seconds_at(kbps: float) -> Floats:
        at = replace_fields(observation, one | {"bandwidth_kbps": np.array([kbps])})
        seconds: Floats = np.broadcast_to(forecaster.link.seconds(at), (1, len(forecaster.placements)))[0]
        return seconds

    # At such low rates only the bytes count: TCP's slow start adds no delay.
    kbit: Floats = (seconds_at(OUTAGE_KBPS) - seconds_at(2 * OUTAGE_KBPS)) * 2 * OUTAGE_KBPS
    return np.where(kbit > 1e-6, kbit, 0.0)


def known_fields(observation: Observation) -> dict[str, Floats]:
    """The fields that have values, as arrays."""
    given = observation.values().items()
    return {name: np.asarray(value, dtype=np.float64) for name, value in given if value is not None}


def replace_fields(observation: Observation, fields: dict[str, Floats]) -> Observation:
    """The observation with other values."""
    return type(observation).of(fields, at_s=observation.at_s)


class _Sent(NamedTuple):
    """A transfer whose end is not seen yet; `took_s` is infinite for one without a reply in time."""

    seen_at_s: float
    began_at_s: float
    kbit: float
    took_s: float
    is_probe: bool = False


class RequestDecision(NamedTuple):
    """The placement of a request, and why.

    Attributes:
        row: the placement.
        log_kbps: logarithm of the bandwidth that the picker saw; NaN where it knew none, or sends nothing.
        patience_s: how long the edge waits for link and cloud; infinite where it does not give up.
    """

    row: int
    log_kbps: float
    patience_s: float


class SimulatedPicker:
    """Decides placements for one sequence of requests. It knows the link only from its own past transfers.

    A transfer is seen when it has ended, and `lag_s` later; the decayed estimate also sees how long those that still
    run have taken. Without any for `PROBE_AFTER_S`, a probe is sent. Before the first transfer nothing is known of the
    link, and the edge computes, as it does after a time-out while the edge's circuit breaker is open.

    Args:
        run: the recorded link and the rules by which requests go over it.
        dwell: `engine.dwell` of the edge, in planning steps.
    """

    def __init__(self, run: TraceRun, dwell: int = 0) -> None:
        self._run = run
        self._age = DwellAge(dwell)
        self._timeout_s = math.inf if run.timeout_s is None else run.timeout_s
        self._estimate = LinkRate() if run.observed is Observed.decay else LastTransfer()
        engine = EngineSettings()
        self._breaker = Breaker(engine.breaker_failures, engine.retry_after_s, lambda: self._now_s)
        self._failing = False  # the breaker is not closed
        self._pending: list[_Sent] = []
        self._now_s = self._probe_at_s = self._plan_at_s = -math.inf
        self._last_decision = RequestDecision(-1, math.nan, math.inf)

    def picks(self, chunk: TraceChunk, table_of: Callable[[int], PickTable]) -> TracePicks:
        """The pick for each request of the chunk.

        Args:
            chunk: the requests, in order of arrival.
            table_of: setting -> the pick at each bandwidth level.
        """
        kbit, edge_s, transfer_s = chunk.kbit.tolist(), chunk.edge_s, chunk.transfer_s
        columns = zip(chunk.time_s.tolist(), chunk.probe_s.tolist(), chunk.setting.tolist(), strict=True)
        last = self._last_decision
        decisions, starts = [last], [0]
        news_at_s = self._next_news_at_s()
        for number, (time_s, probe_s, setting) in enumerate(columns):
            if time_s >= news_at_s:
                decision = self.decide(time_s, probe_s, partial(table_of, setting), chunk.edge_row)
                news_at_s = self._next_news_at_s()
                if decision is not last:
                    last = decision
                    decisions.append(decision)
                    starts.append(number)
            row = last.row
            if kbit[row] > 0.0:
                self.record_transfer(time_s + edge_s.item(number, row), kbit[row], transfer_s.item(number, row))
                news_at_s = self._next_news_at_s()
        lasted = np.diff(starts, append=len(chunk.time_s))
        rows, log_kbps, patience_s = (np.repeat(column, lasted) for column in zip(*decisions, strict=True))
        return TracePicks(rows, log_kbps, patience_s)

    def _next_news_at_s(self) -> float:
        """When a request may do something else than the one before it."""
        if self._failing:
            return -math.inf
        seen_at_s = self._pending[0].seen_at_s if self._pending else math.inf
        return min(seen_at_s, self._plan_at_s, self._probe_at_s)

    def decide(self, time_s: float, probe_s: float, table: Callable[[], PickTable], edge_row: int) -> RequestDecision:
        """Decide the placement of a request that arrives at a time, not before the last one.

        Args:
            time_s: when it arrives.
            probe_s: how long a probe would take that starts then.
            table: gives the pick at each bandwidth level.
            edge_row: a placement that sends nothing; -1 where there is none.
        """
        pending = self._pending
        if pending and pending[0].seen_at_s <= time_s:
            self._see(time_s)
        if time_s >= self._probe_at_s:
            self._probe(time_s, probe_s)
        blocked = False
        if self._failing:
            self._now_s = time_s
            if self._breaker.state is BreakerState.open and self._breaker.wait_s <= 0.0:
                self._breaker.half_open()
                self._plan_at_s = -math.inf
            blocked = edge_row >= 0 and bool(self._breaker.blocked_reason())
        if time_s >= self._plan_at_s:
            self._plan_at_s = time_s + self._run.interval_s
            open_now = self._breaker.state is BreakerState.open and edge_row >= 0
            self._last_decision = (
                self._on_edge(edge_row) if open_now else self._decide_by_estimate(time_s, table(), edge_row)
            )
        return self._on_edge(edge_row) if blocked and self._last_decision.row != edge_row else self._last_decision

    def record_transfer(self, began_at_s: float, kbit: float, took_s: float) -> None:
        """Record the transfer of the request that was decided last; `took_s` is infinite without a reply in time."""
        if took_s <= 0.0:
            return
        if self._failing:
            self._breaker.begin_try()
        if took_s == math.inf:
            seen_at_s = self._probe_at_s = began_at_s + self._timeout_s
        else:
            seen_at_s, self._probe_at_s = began_at_s + took_s + self._run.lag_s, began_at_s + took_s + PROBE_AFTER_S
        heapq.heappush(self._pending, _Sent(seen_at_s, began_at_s, kbit, took_s))

    def _see(self, time_s: float) -> None:
        pending, was = self._pending, self._breaker.state
        while pending and pending[0].seen_at_s <= time_s:
            self._now_s, _, kbit, took_s, is_probe = heapq.heappop(pending)
            if took_s == math.inf:
                self._breaker.record_failure("no answer in time", self._timeout_s)
            else:
                self._estimate.add(self._now_s, kbit / took_s)
                if not is_probe and self._breaker.reason:
                    self._breaker.record_success()
        self._failing = self._breaker.state is not BreakerState.closed
        if self._breaker.state is not was:
            self._plan_at_s = -math.inf

    def _decide_by_estimate(self, time_s: float, table: PickTable, edge_row: int) -> RequestDecision:
        lag_s = self._run.lag_s
        running = [(sent.began_at_s + lag_s, sent.kbit) for sent in self._pending]
        log_kbps = self._estimate.log_kbps(time_s, running)
        if log_kbps is None:
            return self._on_edge(edge_row if edge_row >= 0 else table.rows[0])
        level = level_of(log_kbps)
        row = self._settled(table.rows[level])
        return RequestDecision(
            row, log_kbps, math.inf if table.patience_s is None else table.patience_s.item(level, row)
        )

    @staticmethod
    def _on_edge(row: int) -> RequestDecision:
        return RequestDecision(row, math.nan, math.inf)

    def _settled(self, wanted: int) -> int:
        """The placement in use from this step on.

        Dwell may keep the previous one, unless it was decided without an estimate.
        """
        before, seen, _ = self._last_decision
        self._age.step()
        if not math.isnan(seen) and (wanted == before or self._age.holds):
            return before
        self._age.restart()
        return wanted

    def _probe(self, time_s: float, probe_s: float) -> None:
        self._probe_at_s = time_s + PROBE_AFTER_S
        if 0.0 < probe_s < self._timeout_s:
            heapq.heappush(
                self._pending, _Sent(time_s + probe_s + self._run.lag_s, time_s, PROBE_KBIT, probe_s, is_probe=True)
            )


def level_of(log_kbps: float) -> int:
    """Number of the bandwidth level that is nearest to a logarithm of kbit/s."""
    return min(max(int((log_kbps - _LOG_LOW) * _LEVELS_PER_LOG + 0.5), 0), LEVELS - 1)


def levels_observation(observation: Observation) -> Observation:
    """One sample's other conditions at every bandwidth level."""
    fields = {name: np.full(LEVELS, float(values.ravel()[0])) for name, values in known_fields(observation).items()}
    return replace_fields(observation, fields | {"bandwidth_kbps": _LEVELS_KBPS})
