"""Settings of `midcut schedule`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from midcut.config.settings.bounds import check_at_least, check_over_zero
from midcut.config.settings.cutting import CutSettings
from midcut.terms import Role


class Method(Enum):
    """How a schedule is found."""

    exhaustive = "exhaustive"
    dp = "dp"
    greedy = "greedy"
    pso_ga = "pso_ga"


@dataclass
class ApplicationSettings:
    """One network that is to be run, and by when.

    Attributes:
        model: its name in the profiles.
        deadline_s: when it has to be done, seconds from the start; null is no deadline.
        deadline_share: the deadline as a share of the seconds that the device alone takes; null leaves it to
            deadline_s.
    """

    model: str = MISSING
    deadline_s: float | None = None
    deadline_share: float | None = None

    def __post_init__(self) -> None:
        check_over_zero(self, "applications.deadline_s", "applications.deadline_share")


@dataclass
class TierSettings:
    """A tier's computation.

    Attributes:
        profile: measured seconds: a profile file, a folder of profiles, or a shipped device, at its highest clock.
        role: of the profile.
        faster: how many times faster the tier is than the profile's machine.
        usd_per_hour: price while it computes.
    """

    profile: str = "pi4"
    role: Role = Role.edge
    faster: float = 1.0
    usd_per_hour: float = 0.0


@dataclass
class HopSettings:
    """A link between two tiers.

    Attributes:
        bandwidth_kbps: kbit/s.
        ping_ms: round trip, which every transfer waits for.
        usd_per_gb: price of traffic.
    """

    bandwidth_kbps: float = 10_000.0
    ping_ms: float = 0.0
    usd_per_gb: float = 0.0


@dataclass
class ScheduleConfig:
    """Settings of `midcut schedule`: several applications with deadlines on a device each, one edge and one cloud.

    Attributes:
        applications: `[{model: alexnet, deadline_s: 0.3}, ...]`; all start at once, each on a device of its own.
        device, edge, cloud: the tiers. The shipped edge is an assumption: four times as fast as a Raspberry Pi 4.
        first_hop, second_hop: the links from device to edge, and from edge to cloud.
        cuts: which layers count: `cuts.modules=true` counts leaf modules instead of nodes.
        methods: to compare. `exhaustive` tries all pairs of cuts, `greedy` takes the best pair of one application after
            the other, `dp` is exact for one application and a lower bound for several, `pso_ga` is that of Lin et al.
        particles, iterations: of pso_ga.
        seeds: pso_ga is repeated with the seeds 0, 1, ...
        seeded: pso_ga begins with all on the device, all on the edge, and all in the cloud among its particles.
    """

    applications: list[ApplicationSettings] = field(default_factory=list)
    device: TierSettings = field(default_factory=TierSettings)
    edge: TierSettings = field(default_factory=lambda: TierSettings(faster=4.0, usd_per_hour=0.224))
    cloud: TierSettings = field(default_factory=lambda: TierSettings("cloud", Role.cloud, 1.0, 0.1664))
    first_hop: HopSettings = field(default_factory=lambda: HopSettings(50_000.0, 2.0))
    second_hop: HopSettings = field(default_factory=lambda: HopSettings(10_000.0, 20.0))
    cuts: CutSettings = field(default_factory=CutSettings)
    methods: list[Method] = field(default_factory=lambda: [Method.exhaustive, Method.dp, Method.greedy, Method.pso_ga])
    particles: int = 100
    iterations: int = 300
    seeds: int = 1
    seeded: bool = True

    def __post_init__(self) -> None:
        check_at_least(1, self, "particles", "iterations", "seeds")
        for name, tier in (("device", self.device), ("edge", self.edge), ("cloud", self.cloud)):
            check_over_zero(tier, f"{name}.faster")
            check_at_least(0, tier, f"{name}.usd_per_hour")
        for name, hop in (("first_hop", self.first_hop), ("second_hop", self.second_hop)):
            check_over_zero(hop, f"{name}.bandwidth_kbps")
            check_at_least(0, hop, f"{name}.ping_ms", f"{name}.usd_per_gb")
