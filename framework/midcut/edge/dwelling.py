"""Dwell: keeping a placement for a minimum number of planning steps. Also counts of what planning did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midcut.planning.policy import Policy
    from midcut.types import Decision, Placement, Placements


class Dwelling:
    """Keeps an engine from switching placements too often: the rule of `midcut.planning.dwell`, one step at a time.

    A fallback, and the first decision after it, take effect at once. So does a switch from a placement that is no
    longer offered.

    Args:
        ticks: a switch is allowed once the placement has been in use for at least that many planning steps; 0 and 1
            change nothing.
    """

    def __init__(self, ticks: int) -> None:
        self._ticks = ticks
        self._age = 0

    def release(self) -> None:
        """Let the next switch take effect at once."""
        self._age = self._ticks + 1

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
            self._age = 1
            return wanted
        self._age += periodic
        if wanted.placement == before.placement:
            return wanted
        row = _placement_index(policy.placements, before.placement) if self._age <= self._ticks else None
        if row is None:
            self._age = 1
            return wanted
        limit, met = policy.limit_status(wanted.forecast, row)
        here, there = (decision.placement.text for decision in (before, wanted))
        held = f"dwell: step {self._age} of {self._ticks} at {here}, the planner would go to {there}"
        return replace(wanted, placement=before.placement, index=row, held=held, limit=limit, met=met)


@dataclass
class PlanningCounts:
    """Counts of what planning did since it began.

    Attributes:
        steps: number of planning steps.
        switches: steps after which another placement was in use than before.
        held: steps at which dwell held back a switch.
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
