"""Dwell and other rules that hold back a switch of the placement; counts of planning."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from midcut.planning.dwell import DwellAge

if TYPE_CHECKING:
    from midcut.planning.policy import Policy
    from midcut.types import Decision, Forecast, Placement, Placements

# A switch counts half after 120 planning steps.
_FADING: Final = 0.5 ** (1 / 120)
_LEAST: Final = 1e-300


class Dwelling:
    """Keeps an engine from switching placements too often.

    With `ticks` alone it applies the same rule as `midcut.planning.dwell`.

    A fallback, and the first decision after it, take effect at once. So does a switch from a placement that is no
    longer offered.

    Args:
        ticks: a switch is allowed once the placement has been in use for at least that many planning steps; 0 and 1
            change nothing.
        turn_share: share of the planning steps, drawn at random, in which a switch is allowed. If it is below 1, every
            recent switch halves it, so that edges that answer one another come to rest.
        min_gain: share by which the planner's placement must be better than the present one in a column that has a
            weight; 0 follows the planner.
    """

    def __init__(self, ticks: int, turn_share: float = 1.0, min_gain: float = 0.0) -> None:
        self._turn_share, self._min_gain = turn_share, min_gain
        self._random = random.Random()
        self._age = DwellAge(ticks)
        self._recent_switches = 0.0

    def release(self) -> None:
        """Let the next switch take effect at once."""
        self._age.release()
        self._recent_switches = 0.0

    def settle(self, policy: Policy, wanted: Decision, before: Decision | None, *, periodic: bool = True) -> Decision:
        """The decision in use from this step on.

        Args:
            policy: the policy that made `wanted`.
            wanted: the planner's decision in this step.
            before: the decision in use until now.
            periodic: the step is due by `engine.interval_s`, not asked for by an event; only these count for dwell.

        Returns:
            `wanted`, or the placement of `before` with its row in this step's forecast.
        """
        if wanted.forecast is None:
            return wanted
        if before is None or before.forecast is None:
            self._age.restart()
            return wanted
        self._age.step(periodic=periodic)
        if periodic:
            self._recent_switches *= _FADING
        if wanted.placement == before.placement:
            return wanted
        row = _placement_index(policy.placements, before.placement)
        if row is None:
            self._age.restart()
            return wanted
        limit, met = policy.limit_status(wanted.forecast, row)
        gained = (
            not self._min_gain
            or met < wanted.met
            or _gain(wanted.forecast, row, wanted.index, wanted.weight) >= self._min_gain
        )
        why = self._why_held(gained=gained)
        if not why:
            self._age.restart()
            self._recent_switches += 1.0
            return wanted
        here, there = (decision.placement.text for decision in (before, wanted))
        held = f"{why} at {here}, the planner would go to {there}"
        return replace(wanted, placement=before.placement, index=row, held=held, limit=limit, met=met)

    def _why_held(self, *, gained: bool) -> str:
        """Why no switch is allowed in this step; `""` if it is."""
        if self._age.holds:
            return f"dwell: {self._age.text}"
        if not gained:
            return f"the gain is under {self._min_gain:g}"
        share = self._turn_share * 0.5**self._recent_switches if self._turn_share < 1.0 else 1.0
        if share < 1.0 and self._random.random() >= share:
            return f"switching is allowed in a random share of {share:.2g} of the steps, not in this one,"
        return ""


def _gain(forecast: Forecast, row: int, other: int, w: float | None) -> float:
    """The largest share by which another row of a single forecast is better, of the columns that have a weight."""
    aimed = forecast.aimed()
    columns = (column for column, ignored in ((aimed.latency_s, w == 1.0), (aimed.cost_usd, w == 0.0)) if not ignored)
    return max(float(column[row] - column[other]) / max(float(column[row]), _LEAST) for column in columns)


@dataclass
class PlanningCounts:
    """Counts of what planning did since it began.

    Attributes:
        steps: number of planning steps.
        switches: steps after which another placement was in use than before.
        held: steps at which dwell or another rule held back a switch.
        fallbacks: number of steps in which there was no forecast to choose from.
        unmet: steps whose placement does not meet the planner's limit.
    """

    steps: int = 0
    switches: int = 0
    held: int = 0
    fallbacks: int = 0
    unmet: int = 0

    def add(self, decision: Decision, before: Decision | None) -> None:
        """Count one step."""
        self.steps += 1
        self.switches += before is not None and before.placement != decision.placement
        self.held += bool(decision.held) and decision.forecast is not None
        self.fallbacks += decision.forecast is None
        self.unmet += not decision.met


def _placement_index(placements: Placements, wanted: Placement) -> int | None:
    """The index of a placement among those offered; None if it is not offered."""
    return next((index for index in range(len(placements)) if placements[index] == wanted), None)
