"""The options of every experiment of `tools/evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NATIVE = "native"
MODELS = ("alexnet", "vgg16", "resnet18", "mobilenet_v2", "mnist")


@dataclass(frozen=True)
class Options:
    """The options of the command line.

    Attributes:
        out: every experiment has a folder of its name in it.
        models: to evaluate, by component name; an experiment on one model takes the first.
        points: of link and clock, for each model.
        passes: measurements of each cut at each point.
        cuts: how many are measured at each point, at least; policies' picks come on top.
        seed: of everything drawn.
        w: the planner's weight where an experiment runs at one, 0 fast to 1 cheap.
        quick: a short version, minutes in all.
        resume: keep the points that the matrix already has, and other experiments that were finished.
        clock, link: kinds for the bed; `auto` takes what suits the experiment and the machine.
        core_mhz: what full speed of the edge's core is called; None for what suits the model. The edge runs at 600 to
            1500 MHz, and is as much slower than the cloud.
        executor: what runs the network on both sides.
        off_bed: go on although the bed's calibration is off by more than 3 %; the report shows by how much.
        minutes, step_s: of a trace, and how long each of its steps lasts.
    """

    out: Path
    models: tuple[str, ...] = MODELS
    points: int = 12
    passes: int = 5
    cuts: int = 12
    seed: int = 0
    w: float = 0.0
    quick: bool = False
    resume: bool = False
    clock: str = "auto"
    link: str = "auto"
    core_mhz: float | None = None
    executor: str = NATIVE
    off_bed: bool = False
    minutes: float = 10.0
    step_s: float = 5.0

    def models_among(self, usual: Sequence[str]) -> list[str]:
        """The models of an experiment that usually takes these: those of them that are asked for, else the first."""
        return [model for model in usual if model in self.models] or [self.models[0]]
