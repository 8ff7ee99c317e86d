"""Profiles and what is fitted to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from midcut.config.settings.bounds import check_at_least, check_over_zero
from midcut.config.settings.cutting import CutSettings
from midcut.terms import Role


@dataclass
class ProfileConfig:
    """`midcut profile`.

    Attributes:
        model: the model to measure.
        cuts: how it is captured.
        role: the side of the cut this machine stands on.
        repeats: passes that count, at each clock.
        warmup: passes before them.
        threads: torch's intra-op threads.
        batch: images per pass; predictors and fits take profiles of 1.
        clocks_mhz: clocks to set; null is all the machine lists, where it lets them be set.
        stated_clock_mhz: the clock this machine runs at, where it does not tell; nothing is set then.
        cpufreq_root: the sysfs folder with the clock policies.
        out: a `.json` file, or a folder for it; null is the run directory.
    """

    model: Any = field(default_factory=dict)
    cuts: CutSettings = field(default_factory=CutSettings)
    role: Role = Role.edge
    repeats: int = 20
    warmup: int = 3
    threads: int = 1
    batch: int = 1
    clocks_mhz: list[float] | None = None
    stated_clock_mhz: float | None = None
    cpufreq_root: str = "/sys/devices/system/cpu"
    out: str | None = None

    def __post_init__(self) -> None:
        check_at_least(1, self, "repeats", "threads", "batch")
        check_at_least(0, self, "warmup")
        check_over_zero(self, "clocks_mhz", "stated_clock_mhz", finite=True)


@dataclass
class FitConfig:
    """`midcut fit`.

    Attributes:
        profiles: edge profiles of different models on one machine, three or more clocks each: files, folders of
            profiles, or shipped devices.
        seed: of the split into 60 % to fit and 40 % to validate.
        out: the file to write, the plot beside it; null is the run directory.
    """

    profiles: list[str] = field(default_factory=list)
    seed: int = 0
    out: str | None = None

    def __post_init__(self) -> None:
        check_at_least(0, self, "seed")
