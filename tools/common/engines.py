"""A model and an edge engine of a config, the engine at a cut that the caller sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut.component import Kind
from midcut.config.build import build, build_each
from midcut.config.composition import compose
from midcut.config.registry import registry
from midcut.edge.clouds.clouds import Clouds
from midcut.edge.engine import EdgeEngine, EdgeParts
from midcut.edge.telemetry.hub import TelemetryHub
from midcut.types import Decision, Observation, Placement

if TYPE_CHECKING:
    from omegaconf import DictConfig

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
    """Planning that is told the cut."""

    def __init__(self, cut: int) -> None:
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
    held = FixedPlan(cut.table.last)
    parts = EdgeParts(
        partition=cut,
        clouds=Clouds({"cloud": build(Kind.TRANSPORT, config.transport)}, retry_after_s=0.0),
        executor=build(Kind.EXECUTOR, config.executor),
        cost=build(Kind.COST, config.cost),
        hub=TelemetryHub({}, 30.0),
        planning=held,
        observers=registry(),
    )
    return EdgeEngine(parts), held
