"""A config's model, and planning whose cut a tool sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut.component import Kind
from midcut.config.build import build_each
from midcut.edge.dwelling import PlanningCounts
from midcut.types import Decision, Observation, Placement

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.types import LoadedModel


def load(config: DictConfig) -> LoadedModel:
    """The one model of a config."""
    (component,) = build_each(Kind.MODEL, config.model).values()
    model: LoadedModel = component.load()
    return model


class FixedPlan:
    """Planning that decides nothing: the tool sets the cut."""

    def __init__(self, cut: int) -> None:
        self.counts = PlanningCounts()
        self.set(cut)

    @property
    def decision(self) -> Decision:
        return self._decision

    def set(self, cut: int, codec: str = "raw", onward: Placement | None = None) -> None:
        self._decision = Decision(Placement(cut, codec, onward), -1, "set by a tool", 0.0, Observation())

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to close."""
