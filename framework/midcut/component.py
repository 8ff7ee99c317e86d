"""What a plugin says about each thing it offers. Light: imported by `--help` and completion."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The replaceable things. The value is the Hydra config group."""

    MODEL = "model"
    TELEMETRY = "telemetry"
    EDGE_PREDICTOR = "predictor/edge"
    LINK_PREDICTOR = "predictor/link"
    CLOUD_PREDICTOR = "predictor/cloud"
    COST = "cost"
    PLANNER = "planner"
    TRANSPORT = "transport"
    EXECUTOR = "executor"
    CODEC = "codec"

    @property
    def several(self) -> bool:
        """Whether a config may select several at once, as in `telemetry=[cpufreq,tcp_ping]`."""
        return self in (Kind.MODEL, Kind.TELEMETRY, Kind.CODEC)

    @classmethod
    def of_group(cls, group: str) -> Kind | None:
        """The kind that a config group chooses from; also of one that puts its choice elsewhere, as `group@package`."""
        name = group.partition("@")[0]
        return cls.PLANNER if name == STRATEGY else next((kind for kind in cls if kind.value == name), None)


STRATEGY = "strategy"
"""A second group with every planner: several at once, compared by `midcut simulate`."""


def takes_several(group: str) -> bool:
    """Whether a config group is a list, each choice under its own name."""
    kind = Kind.of_group(group)
    return group == STRATEGY or (kind is not None and kind.several)


@dataclass(frozen=True)
class Component:
    """One thing a plugin offers, under the name people type.

    Attributes:
        name: what stands in a config or on the command line, e.g. `planner=NAME`.
        config: a dataclass type, or an instance whose values become the defaults. Its fields are
            the knobs; they are typed, so a misspelt or mistyped knob is an error. Use `Enum`, not
            `Literal`, for choices.
        target: dotted path of a class or function called with the config's fields as keyword
            arguments (and with what `midcut.protocols` states for the kind). Imported when chosen.
        summary: one line for `midcut plugins`.
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
