"""The declaration of one component that a plugin offers. Light: `--help` and shell completion import it."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The kinds of replaceable components. The value is the Hydra config group."""

    MODEL = "model"
    TELEMETRY = "telemetry"
    EDGE_PREDICTOR = "predictor/edge"
    LINK_PREDICTOR = "predictor/link"
    CLOUD_PREDICTOR = "predictor/cloud"
    COST = "cost"
    OBJECTIVE = "objective"
    PLANNER = "planner"
    TRANSPORT = "transport"
    EXECUTOR = "executor"
    CODEC = "codec"
    TASK = "task"
    INPUT = "input"
    OUTPUT = "output"

    @property
    def several(self) -> bool:
        """Whether a config may select several at once, as in `telemetry=[cpufreq,tcp_ping]`."""
        return self in (Kind.MODEL, Kind.TELEMETRY, Kind.OBJECTIVE, Kind.CODEC, Kind.OUTPUT)

    @classmethod
    def of_group(cls, group: str) -> Kind | None:
        """The kind that a config group selects from, also if it is given as `group@package`."""
        name = group.partition("@")[0]
        return cls.PLANNER if name == STRATEGY else next((kind for kind in cls if kind.value == name), None)


STRATEGY = "strategy"
"""A second config group with all planners, of which `midcut simulate` compares several."""


def takes_several(group: str) -> bool:
    """Whether a config group takes a list of choices, each configured under its own name."""
    kind = Kind.of_group(group)
    return group == STRATEGY or (kind is not None and kind.several)


@dataclass(frozen=True)
class Component:
    """One component that a plugin offers, under the name that users type.

    Attributes:
        name: how a config or the command line selects it, e.g. `planner=NAME`; letters, digits and underscores.
        config: a dataclass type, or an instance whose values become the defaults. Its fields are the settings. They are
            typed, so that a misspelt setting or a value of the wrong type is an error. Use `Enum`, not `Literal`, for
            choices.
        target: dotted path of a class or function, called with the config's fields as keyword arguments (and with the
            additional ones that `midcut.protocols` states for the kind). It is imported when it is selected.
        summary: one line for `midcut plugins`.

    Raises:
        TypeError: `config` is not a dataclass.
        ValueError: `name` has other characters, or `target` is not a dotted path.
    """

    name: str
    config: Any
    target: str
    summary: str = ""

    def __post_init__(self) -> None:
        if not is_dataclass(self.config):
            raise TypeError(f"component {self.name!r}: config must be a dataclass, got {self.config!r}")
        if not self.name.replace("_", "").isalnum():
            raise ValueError(f"component name {self.name!r}: use letters, digits and underscores only")
        if "." not in self.target:
            raise ValueError(f"component {self.name!r}: target {self.target!r} is not a dotted path")
