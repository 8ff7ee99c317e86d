"""Options of a test bed."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

from bed.errors import BedError

LINKS = ("auto", "netem", "tun", "tbf")
CLOCKS = ("auto", "cpufreq", "cgroup", "cooperative")


@dataclass(frozen=True)
class BedOptions:
    """How a bed is made.

    Attributes:
        link: `netem`: rate, delay and loss by the kernel; `tun`: the same by a user-space link between two TUN
            devices; `tbf`: rate only; `auto`: netem where the kernel has it, else tun.
        clock: `cpufreq`: the real one; `cgroup`: a share of the core's time; `cooperative`: each run is stretched by
            the edge process itself; `auto`: the first of these that works.
        max_clock_mhz: the clock that full speed counts as; with cpufreq it is the hardware's.
        slow_start_after_idle: whether TCP starts again with a small window after an idle time (the default of Linux).
        congestion_control: TCP's, in both namespaces.
        edge_core, cloud_core: cores that the hosts' processes are pinned to; the link runs on the cloud's. By default
            the second and the first core that this process may use; both the same where there is only one.
        trim: measure the cost of the emulation itself when the bed is made (`bed.trimming`), and compensate it; takes
            10 s, on a noisy machine up to 2 min.
        seed: of the packets that a lossy user-space link drops.
    """

    link: str = "auto"
    clock: str = "auto"
    max_clock_mhz: float = 1500.0
    slow_start_after_idle: bool = False
    congestion_control: str = "reno"
    edge_core: int = field(default_factory=lambda: _allowed_core(1))
    cloud_core: int = field(default_factory=lambda: _allowed_core(0))
    trim: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for setting, known in (("link", LINKS), ("clock", CLOCKS)):
            if getattr(self, setting) not in known:
                raise BedError(f"{setting}={getattr(self, setting)!r} is not one of {', '.join(known)}")
        if not 0.0 < self.max_clock_mhz < math.inf:
            raise BedError(f"max_clock_mhz must be over 0, got {self.max_clock_mhz:g}")
        cores = os.sched_getaffinity(0)
        for setting in ("edge_core", "cloud_core"):
            if getattr(self, setting) not in cores:
                raise BedError(f"{setting}={getattr(self, setting)}: this process may use the cores {sorted(cores)}")


def _allowed_core(number: int) -> int:
    cores = sorted(os.sched_getaffinity(0))
    return cores[min(number, len(cores) - 1)]
