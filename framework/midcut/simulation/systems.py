"""Whole systems as strategies: each decides on forecasts of its own predictors, all are judged by one truth."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from midcut.errors import ConfigError
from midcut.planning.policy import choose_in_time
from midcut.protocols import Learner, LimitedPlanner
from midcut.simulation.chunks import broadcast_forecast
from midcut.simulation.strategies import FIXED_NAMES, Picks, result_of_pick, seen_picks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from midcut.planning.dwell import Dwell
    from midcut.planning.policy import Policy
    from midcut.simulation.over_trace import TracePicks
    from midcut.simulation.strategies import Chunk
    from midcut.types import Forecast, Ints, Placements

_UNUSED_WEIGHT = 0.5


class SystemStrategy:
    """A policy with its own predictors, planner, weight and pair of columns to weigh (its aim).

    Args:
        name: name of the system in results.
        policy: what decides; its placements are among `placements`.
        placements: the placements whose true latency and cost are known.
        reply_timeout_s: see `midcut.planning.policy.choose_in_time`.

    Raises:
        ConfigError: the policy offers a placement that is not among them.
    """

    is_planner = weighted = True
    weights: tuple[float | None, ...] = (None,)

    def __init__(self, name: str, policy: Policy, placements: Placements, reply_timeout_s: float | None = None) -> None:
        if name in FIXED_NAMES:
            raise ConfigError(f"systems.{name}: that strategy is evaluated in any case; choose another name")
        self.name = name
        self._reply_timeout_s = reply_timeout_s
        self.learns = isinstance(policy.planner, Learner)
        # One that learns begins anew in each evaluation.
        self._policy = replace(policy, planner=copy.deepcopy(policy.planner)) if self.learns else policy
        known = {placements[row]: row for row in range(len(placements))}
        offered = [policy.placements[row] for row in range(len(policy.placements))]
        missing = [placement for placement in offered if placement not in known]
        if missing:
            raise ConfigError(f"systems.{name}: it offers {missing[0]}, which the simulation does not; widen its cuts")
        self._rows = np.array([known[placement] for placement in offered], dtype=np.intp)
        self._own = {row: index for index, row in enumerate(self._rows.tolist())}
        self._w = _UNUSED_WEIGHT if policy.planner.w is None else float(policy.planner.w)

    def picks(self, chunk: Chunk) -> Picks:
        """See `midcut.simulation.strategies.Strategy`."""
        return self._with_trace_picks(chunk, self._picked_rows(chunk)[None])

    def _picked_rows(self, chunk: Chunk) -> Ints:
        count = len(chunk.predicted.latency_s)
        forecast = self._forecast(chunk)
        if isinstance(self._policy.planner, Learner):
            return self._learn(chunk, forecast)
        own = choose_in_time(self._policy.planner, forecast, self._w, self._reply_timeout_s)
        rows: Ints = self._rows[np.broadcast_to(own, (count,))]
        return rows

    def _forecast(self, chunk: Chunk) -> Forecast:
        return broadcast_forecast(self._policy, chunk.observation, len(chunk.predicted.latency_s))

    def _own_rows(self, rows: Ints) -> Ints:
        """Rows of the simulation's placements as rows of the system's own."""
        return np.array([self._own[row] for row in rows.tolist()], dtype=np.intp)

    def trace_picks_of(self, chunk: Chunk, rows: Ints) -> TracePicks:
        """See `midcut.simulation.strategies.Strategy`."""
        return seen_picks(chunk, rows, self._forecast(chunk), self._own_rows(rows))

    def _with_trace_picks(self, chunk: Chunk, rows: Ints) -> Picks:
        """Picks, shape (1, n), with what was seen of a recorded link; a learner sees only what its choices took."""
        if chunk.run is None or self.learns:
            return Picks(rows)
        return Picks(rows, [self.trace_picks_of(chunk, picked) for picked in rows])

    def picks_at(self, chunk: Chunk, weight_index: Ints) -> Ints:  # noqa: ARG002 - it has one weight
        """See `midcut.simulation.strategies.Strategy`."""
        return self._picked_rows(chunk)

    def dwelled(self, chunk: Chunk, picks: Ints, dwell: Dwell) -> Picks:
        """See `midcut.simulation.strategies.Strategy`."""
        return self._with_trace_picks(chunk, dwell.apply(picks))

    def limit_not_met(self, chunk: Chunk, picks: Ints) -> NDArray[np.bool_] | None:
        """See `midcut.simulation.strategies.Strategy`."""
        if not isinstance(self._policy.planner, LimitedPlanner):
            return None
        return ~self._policy.planner.meets(self._forecast(chunk).aimed(), self._own_rows(picks[0]))[None]

    def _learn(self, chunk: Chunk, forecast: Forecast) -> Ints:
        planner = cast("Learner", self._policy.planner)
        picks = np.empty(len(forecast.latency_s), dtype=np.intp)
        for sample in range(len(picks)):
            one = forecast.at(sample)
            pick = int(choose_in_time(self._policy.planner, one, self._w, self._reply_timeout_s))
            picks[sample] = self._rows[pick]
            planner.answered(one.placements[pick], chunk.observation, result_of_pick(chunk, sample, int(picks[sample])))
        return picks


def system_strategies(
    policies: Iterable[tuple[str, Policy]], placements: Placements, reply_timeout_s: float | None = None
) -> list[SystemStrategy]:
    """One strategy for each named policy."""
    return [SystemStrategy(name, policy, placements, reply_timeout_s) for name, policy in policies]
