"""A model of the caller, cut."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import OmegaConf

from midcut.api.composing import compose, keep_quiet
from midcut.api.planning import make_plan
from midcut.config.settings import CutSettings
from midcut.errors import ConfigError, MalformedError
from midcut.graph import partition
from midcut.planning.assembly import build_policy
from midcut.planning.placements import placements
from midcut.profiles.codings import build_measured_codecs
from midcut.profiles.filling import fill_profiles_of
from midcut.types import LoadedModel, Observation, ShapeRange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from omegaconf import DictConfig
    from PIL import Image

    from midcut.api.planning import Plan
    from midcut.graph import Partition
    from midcut.types import CutTable


class CutModel:
    """A model that can be run in two halves at any cut. Head plus tail is bit-identical to the whole.

    Attributes:
        loaded: the model, with its name and example.
        partition: the captured model.
    """

    def __init__(self, loaded: LoadedModel, captured: Partition) -> None:
        self.loaded, self.partition = loaded, captured
        self._configs: dict[tuple[str, str], DictConfig] = {}
        self._estimates = tempfile.TemporaryDirectory(prefix="midcut-plan-")

    @property
    def table(self) -> CutTable:
        """Nodes and cuts, with what crosses each cut."""
        return self.partition.table

    @property
    def cuts(self) -> tuple[int, ...]:
        """The cuts on offer: 0 runs all in the cloud, the last one all at the edge."""
        return self.partition.legal

    def head(self, cut: int) -> Callable[..., tuple[Any, ...]]:
        """The part before a cut: a function from the model's inputs to the values that cross the cut."""
        self._check(cut)
        return lambda *inputs: self.partition.head(cut, inputs)

    def tail(self, cut: int) -> Callable[[Sequence[Any]], Any]:
        """The part after a cut: a function from what `head` returned to the model's output."""
        self._check(cut)
        return lambda values: self.partition.assemble(self.partition.tail(cut, values))

    def at(self, *inputs: torch.Tensor) -> CutModel:
        """The model cut for inputs of these sizes, where it was cut for several.

        Raises:
            MalformedError: it does not take these sizes.
        """
        found = self.partition.make_for_shapes(tuple(tuple(value.shape) for value in inputs))
        return self if found is self.partition else CutModel(replace(self.loaded, example=inputs), found)

    def partition_with(self, settings: CutSettings) -> Partition:
        """The captured model with its cuts as `cuts.*` wants them; captured again where that asks for other ones."""
        asked, ours = (replace(one, cache=None, verify=True) for one in (settings, CutSettings()))
        return self.partition if asked == ours else partition(self.loaded, settings)

    def plan(
        self,
        *,
        clock_mhz: float = 1500.0,
        bandwidth_kbps: float = 10_000.0,
        ping_ms: float = 20.0,
        w: float = 0.5,
        edge: str = "pi4",
        cloud: str = "cloud",
    ) -> Plan:
        """Forecast every cut, and pick one.

        Args:
            clock_mhz: of the edge.
            bandwidth_kbps: edge to cloud, kbit/s.
            ping_ms: round trip.
            w: from 0 (fast) to 1 (cheap).
            edge, cloud: a profile file, a folder of profiles, a shipped device, whose seconds are estimated if it has
                no profile of this model, or for the edge `auto`: this machine, measured now.

        Raises:
            MidcutError: a value out of bounds, or no such profile; its text is one line.
        """
        cfg = self._with_profiles(edge, cloud)
        OmegaConf.update(cfg, "planner.w", w)
        policy = build_policy(cfg, placements(self.table, self.cuts, build_measured_codecs(cfg, self.table)))
        decision = policy.decide(Observation(clock_mhz=clock_mhz, bandwidth_kbps=bandwidth_kbps, ping_ms=ping_ms))
        return make_plan(decision, policy)

    def _with_profiles(self, edge: str, cloud: str) -> DictConfig:
        """The config of `midcut plan` with files in place of devices that have no profile of this model."""
        if (edge, cloud) not in self._configs:
            cfg = compose("plan", ["planner.w=0.5"])[0]
            OmegaConf.update(cfg, "edge_profile", edge)
            OmegaConf.update(cfg, "cloud_profile", cloud)
            folder = Path(self._estimates.name)
            fill_profiles_of(cfg, self.table.model, lambda: (self.partition, self.loaded.example), folder)
            self._configs[edge, cloud] = cfg
        return self._configs[edge, cloud]

    def _check(self, cut: int) -> None:
        if cut not in self.cuts:
            raise ConfigError(f"cut {cut} is not on offer; the cuts are {self.cuts[0]} to {self.cuts[-1]}")


def cut(
    model: torch.nn.Module,
    example: torch.Tensor | Sequence[torch.Tensor],
    *,
    name: str = "module",
    preprocess: Callable[[Image.Image], torch.Tensor] | None = None,
    labels: Sequence[str] = (),
    ranges: Sequence[tuple[Sequence[int], Sequence[int]]] = (),
) -> CutModel:
    """Capture a model and verify every cut of it.

    Args:
        model: in eval mode.
        example: an input of batch size 1, or several positional ones.
        name: of the model in messages and profiles.
        preprocess: converts an image to one input of batch size 1, for `midcut.Edge(model=...)` with images.
        labels: class names by index.
        ranges: for each input the smallest and the largest shape that it may have, without the batch dimension; empty
            is the example's only. `CutModel.at` gives the cuts at other sizes.

    Raises:
        GraphError: it cannot be captured.
    """
    keep_quiet()
    inputs = (example,) if isinstance(example, torch.Tensor) else tuple(example)
    sizes = tuple(ShapeRange(tuple(smallest), tuple(largest)) for smallest, largest in ranges)
    loaded = LoadedModel(name, model, inputs, preprocess or _no_preprocess, labels, ranges=sizes)
    return CutModel(loaded, partition(loaded, CutSettings()))


def _no_preprocess(_: Image.Image) -> torch.Tensor:
    raise MalformedError("this model takes tensors: midcut.cut(..., preprocess=) makes it take images")
