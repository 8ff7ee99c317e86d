"""A model and an edge engine of a config, the engine at a cut that the caller sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.edge.assembly import assemble_fixed
from midcut.edge.dwelling import PlanningCounts
from midcut.types import Decision, Observation, Placement

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.edge.engine import EdgeEngine
    from midcut.graph import Partition
    from midcut.types import LoadedModel


def compose_edge(*overrides: str) -> DictConfig:
    """The config that `midcut edge` would have with these overrides."""
    return compose("edge", overrides)


def load(config: DictConfig) -> LoadedModel:
    """The one model of a config."""
    (component,) = build_each(Kind.MODEL, config.model).values()
    model: LoadedModel = component.load()
    return model


class FixedPlan:
    """Planning whose cut the benchmark sets."""

    def __init__(self, cut: int) -> None:
        self.counts = PlanningCounts()
        self.hold(cut)

    @property
    def decision(self) -> Decision:
        return self._decision

    def hold(self, cut: int, codec: str = "raw") -> None:
        self._decision = Decision(Placement(cut, codec), -1, "held by a benchmark", 0.0, Observation())

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to close."""


def engine(config: DictConfig, cut: Partition) -> tuple[EdgeEngine, FixedPlan]:
    """The edge of a config without telemetry, and the handle that moves its cut."""
    plan = FixedPlan(cut.table.last)
    return assemble_fixed(config, cut, plan), plan
