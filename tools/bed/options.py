"""Knobs of a test bed."""

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
        max_clock_mhz: what full speed is called; with cpufreq the hardware says it.
        slow_start_after_idle: whether TCP begins anew with a small window after an idle time (Linux' default is yes).
        congestion_control: TCP's, in both namespaces.
        edge_core, cloud_core: cores that the hosts' processes are pinned to; the link runs on the cloud's. By default
            the second and the first that this process may use; one, where there is no other, is both.
        trim: measure on making what the emulation itself costs (`bed.trimming`), and take it off; takes 10 s, on a
            noisy machine up to 2 min.
        seed: of the packets that a lossy user-space link drops.
    """

    link: str = "auto"
    clock: str = "auto"
    max_clock_mhz: float = 1500.0
    slow_start_after_idle: bool = False
    congestion_control: str = "reno"
    edge_core: int = field(default_factory=lambda: _lent_core(1))
    cloud_core: int = field(default_factory=lambda: _lent_core(0))
    trim: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for knob, known in (("link", LINKS), ("clock", CLOCKS)):
            if getattr(self, knob) not in known:
                raise BedError(f"{knob}={getattr(self, knob)!r} is not one of {', '.join(known)}")
        if not 0.0 < self.max_clock_mhz < math.inf:
            raise BedError(f"max_clock_mhz must be over 0, got {self.max_clock_mhz:g}")
        cores = os.sched_getaffinity(0)
        for knob in ("edge_core", "cloud_core"):
            if getattr(self, knob) not in cores:
                raise BedError(f"{knob}={getattr(self, knob)}: this machine lends the cores {sorted(cores)}")


def _lent_core(number: int) -> int:
    cores = sorted(os.sched_getaffinity(0))
    return cores[min(number, len(cores) - 1)]
