"""Settings of `midcut profile` and `midcut fit`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from midcut.config.settings.bounds import check_at_least, check_over_zero, count_threads
from midcut.config.settings.cutting import CutSettings
from midcut.errors import ConfigError
from midcut.terms import FitWhat, LayerFeatures, Role


@dataclass
class ProfileConfig:
    """Settings of `midcut profile`.

    Attributes:
        model: the model to measure.
        cuts: how it is captured.
        role: the side of the cut that this machine runs.
        repeats: measured passes at each clock.
        warmup: unmeasured passes before them.
        threads: torch's intra-op threads, or `auto` for every core.
        batch: images per pass; predictors and fits need profiles with batch 1.
        clocks_mhz: clocks to set; null is all that the machine lists, if it lets them be set.
        stated_clock_mhz: the clock of a machine that does not report it; no clock is set then.
        cpufreq_root: the sysfs folder with the clock policies.
        power: also measure the power of computing and of idling, with the first of the chosen `telemetry` sources that
            works here.
        power_idle_s: how long the idle machine is measured before each clock.
        telemetry: sources of power.
        executor: what runs the model.
        agreement: folder of pictures of what the edge will see: what each `codec` does to payloads and answers is
            measured on them, at each cut, and goes into the profile; null measures none of it.
        pictures: how many of them are used at most.
        codec: codecs to measure so.
        plot: with `agreement`, also draw bytes, seconds and agreement of the codecs at each cut, beside the profile
            (needs the extra `report`).
        out: a `.json` file, or a folder for it; null is the run directory.
    """

    model: Any = field(default_factory=dict)
    cuts: CutSettings = field(default_factory=CutSettings)
    role: Role = Role.edge
    repeats: int = 20
    warmup: int = 3
    threads: int | str = 1
    batch: int = 1
    clocks_mhz: list[float] | None = None
    stated_clock_mhz: float | None = None
    cpufreq_root: str = "/sys/devices/system/cpu"
    power: bool = False
    power_idle_s: float = 5.0
    telemetry: Any = field(default_factory=dict)
    executor: Any = MISSING
    agreement: str | None = None
    pictures: int = 50
    codec: Any = field(default_factory=dict)
    plot: bool = False
    out: str | None = None

    def __post_init__(self) -> None:
        count_threads("threads", self.threads)
        check_at_least(1, self, "repeats", "batch", "pictures")
        if self.plot and self.agreement is None:
            raise ConfigError("plot=true draws what codecs do to pictures: give agreement=FOLDER, a folder of them")
        check_over_zero(self, "power_idle_s")
        check_at_least(0, self, "warmup")
        check_over_zero(self, "clocks_mhz", "stated_clock_mhz")

    @property
    def thread_count(self) -> int:
        """`threads` as a number."""
        return count_threads("threads", self.threads)


@dataclass
class ExportConfig:
    """Settings of `midcut export`.

    Attributes:
        model: the model to export.
        cuts: how it is captured, and for which of its cuts a head and a tail are written.
        executor: writes the graphs; `onnxruntime`.
        out: the folder to write; an earlier export there is replaced.
    """

    model: Any = field(default_factory=dict)
    cuts: CutSettings = field(default_factory=CutSettings)
    executor: Any = MISSING
    out: str = MISSING


@dataclass
class FitConfig:
    """Settings of `midcut fit`.

    Attributes:
        what: `clock`, the paper's law of the clock, or `layers`, seconds for each kind of node.
        profiles: profiles of different models on one machine: files, folders of profiles, or shipped devices. The clock
            law needs edge profiles of three or more clocks each.
        role: of the profiles, for `what=layers`.
        features: what the seconds of a node are fitted to, for `what=layers`; `kang` is as published by Kang et al.
        seed: seed of the random split into 60 % to fit and 40 % to validate.
        out: the file to write, the plot beside it; null is the run directory.
    """

    what: FitWhat = FitWhat.clock
    profiles: list[str] = field(default_factory=list)
    role: Role = Role.edge
    features: LayerFeatures = LayerFeatures.macs
    seed: int = 0
    out: str | None = None

    def __post_init__(self) -> None:
        check_at_least(0, self, "seed")
