"""Whole systems as strategies: each decides on forecasts of its own predictors, all are judged by one truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from midcut.errors import ConfigError
from midcut.protocols import Learner, LimitedPlanner
from midcut.simulation.chunks import broadcast_forecast
from midcut.simulation.strategies import FIXED_NAMES, Picks, result_of_pick

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from midcut.planning.dwell import Dwell
    from midcut.planning.policy import Policy
    from midcut.simulation.strategies import Chunk
    from midcut.types import Forecast, Ints, Placements

_UNUSED_WEIGHT = 0.5


class SystemStrategy:
    """A policy with its own predictors, planner, weight and pair of columns to weigh (its aim).

    Args:
        name: name of the system in results.
        policy: what decides; its placements are among `placements`.
        placements: the placements whose true latency and cost are known.

    Raises:
        ConfigError: the policy offers a placement that is not among them.
    """

    is_planner = weighted = True
    weights: tuple[float | None, ...] = (None,)

    def __init__(self, name: str, policy: Policy, placements: Placements) -> None:
        if name in FIXED_NAMES:
            raise ConfigError(f"systems.{name}: that strategy is evaluated in any case; choose another name")
        self.name = name
        self._policy, self.learns = policy, isinstance(policy.planner, Learner)
        known = {placements[row]: row for row in range(len(placements))}
        offered = [policy.placements[row] for row in range(len(policy.placements))]
        missing = [placement for placement in offered if placement not in known]
        if missing:
            raise ConfigError(f"systems.{name}: it offers {missing[0]}, which the simulation does not; widen its cuts")
        self._rows = np.array([known[placement] for placement in offered], dtype=np.intp)
        self._w = _UNUSED_WEIGHT if policy.planner.w is None else float(policy.planner.w)

    def picks(self, chunk: Chunk) -> Picks:
        """See `midcut.simulation.strategies.Strategy`."""
        return Picks(self._picked_rows(chunk)[None])

    def _picked_rows(self, chunk: Chunk) -> Ints:
        count = len(chunk.predicted.latency_s)
        forecast = broadcast_forecast(self._policy, chunk.observation, count)
        if isinstance(self._policy.planner, Learner):
            return self._learn(chunk, forecast)
        picks = np.broadcast_to(np.asarray(self._policy.planner.choose(forecast.aimed(), self._w)), (count,))
        rows: Ints = self._rows[picks]
        return rows

    def picks_at(self, chunk: Chunk, weight_index: Ints) -> Ints:  # noqa: ARG002 - it has one weight
        """See `midcut.simulation.strategies.Strategy`."""
        return self._picked_rows(chunk)

    def dwelled(self, chunk: Chunk, picks: Ints, dwell: Dwell) -> Picks:  # noqa: ARG002 - it sees the link's own rate
        """See `midcut.simulation.strategies.Strategy`."""
        return Picks(dwell.apply(picks))

    def limit_not_met(self, chunk: Chunk, picks: Ints) -> NDArray[np.bool_] | None:
        """See `midcut.simulation.strategies.Strategy`."""
        if not isinstance(self._policy.planner, LimitedPlanner):
            return None
        forecast = broadcast_forecast(self._policy, chunk.observation, len(chunk.predicted.latency_s))
        own = {row: index for index, row in enumerate(self._rows.tolist())}
        indices = np.array([own[row] for row in picks[0].tolist()], dtype=np.intp)
        return ~self._policy.planner.meets(forecast.aimed(), indices)[None]

    def _learn(self, chunk: Chunk, forecast: Forecast) -> Ints:
        planner = cast("Learner", self._policy.planner)
        picks = np.empty(len(forecast.latency_s), dtype=np.intp)
        for sample in range(len(picks)):
            one = forecast.at(sample)
            pick = int(self._policy.planner.choose(one.aimed(), self._w))
            picks[sample] = self._rows[pick]
            planner.answered(one.placements[pick], chunk.observation, result_of_pick(chunk, sample, int(picks[sample])))
        return picks


def system_strategies(policies: Iterable[tuple[str, Policy]], placements: Placements) -> list[SystemStrategy]:
    """One strategy for each named policy."""
    return [SystemStrategy(name, policy, placements) for name, policy in policies]
