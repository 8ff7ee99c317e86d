"""The edge's clock, emulated or real, and how a process there sees it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bed.cgroups import MIN_QUOTA_US, period_us
from bed.errors import BedError
from bed.setting import Setting
from midcut_executors.emulated_clock import CpufreqTree, remove_clock, write_clock, write_slowdown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bed.cgroups import Group


class Clock(ABC):
    """The edge's clock.

    Attributes:
        kind: cpufreq, cgroup or cooperative.
        root: folder under which `telemetry.cpufreq.root` finds the clock.
        max_mhz: full speed.
        setting: holds the current clock and slowdown.
        stalls: shares, ascending, each with the microseconds of work lost there in each period, to be compensated.
        note: for reports: what is emulated.
    """

    kind: ClassVar[str]
    note: ClassVar[str]

    def __init__(self, root: Path, max_mhz: float) -> None:
        self.root = root
        self.max_mhz = max_mhz
        self.setting = Setting()
        self.stalls: tuple[tuple[float, float], ...] = ()

    @property
    def mhz(self) -> float:
        """The clock it is set to."""
        return self._mhz(self.setting.read())

    @property
    def slowdown(self) -> float:
        """The factor of `throttle` in force."""
        return _slowdown(self.setting.read())

    @property
    def procs(self) -> Path | None:
        """The file to which the processes to slow down write their number; None if none have to."""
        return None

    @property
    def edge_overrides(self) -> list[str]:
        """Overrides that `midcut edge` and `midcut profile` need on this bed, with telemetry=[cpufreq,...] chosen."""
        return [f"telemetry.cpufreq.root={self.root}"]

    def edge_overrides_for(self, executor: str) -> list[str]:
        """Overrides that a `midcut edge` with an executor needs on this bed."""
        return [f"executor={executor}", *self.edge_overrides]

    def set(self, mhz: float) -> None:
        """Change the clock, and what telemetry reads.

        Raises:
            BedError: the clock cannot be had.
        """
        if not 0.0 < mhz <= self.max_mhz:
            raise BedError(f"clock.set({mhz:g}): must be over 0 and up to max_clock_mhz={self.max_mhz:g}")
        with self.setting.changing() as now:
            self.apply(mhz, _slowdown(now))
            now["mhz"] = mhz

    def throttle(self, factor: float) -> None:
        """Slow the edge down by a factor that telemetry does not show; 1 ends it.

        Raises:
            BedError: the factor is under 1, or higher than the clock supports.
        """
        if not 1.0 <= factor < math.inf:
            raise BedError(f"clock.throttle({factor:g}): must be 1 or more")
        with self.setting.changing() as now:
            self.apply(self._mhz(now), factor)
            now["slowdown"] = factor

    def _mhz(self, setting: Mapping[str, Any]) -> float:
        return float(setting.get("mhz", self.max_mhz))

    @abstractmethod
    def apply(self, mhz: float, slowdown: float) -> None:
        """Put a clock and a slowdown into force."""

    @abstractmethod
    def close(self) -> None:
        """Restore the machine's own state."""


class CgroupClock(Clock):
    """A share of the core's time, in periods of 10 or 20 ms.

    Args:
        exists: another process made the clock; it is left as it is set.
    """

    kind: ClassVar[str] = "cgroup"
    note: ClassVar[str] = (
        "EMULATED clock: a share of the core's time by control group, so latency follows 1/f by construction, for all "
        "work alike; it tests the system, not the law. Work of a few milliseconds, shorter than a quota, escapes it."
    )

    def __init__(self, root: Path, max_mhz: float, group: Group, *, exists: bool = False) -> None:
        super().__init__(root, max_mhz)
        self._group = group
        if not exists:
            CpufreqTree(str(root), max_mhz)
            self.apply(max_mhz, 1.0)

    @property
    def procs(self) -> Path | None:
        return self._group.procs

    def apply(self, mhz: float, slowdown: float) -> None:
        share = mhz / self.max_mhz / slowdown
        period = period_us(share)
        quota_us = round(share * period + self._lost_us(share))
        if quota_us < MIN_QUOTA_US:
            raise BedError(f"a share of {share:.1%} of the core is under the kernel's {MIN_QUOTA_US / period:.0%}")
        self._group.limit(quota_us if share < 1.0 and quota_us < period else None, period)
        write_clock(self.root, mhz)

    def _lost_us(self, share: float) -> float:
        shares, lost_us = zip(*self.stalls, (1.0, 0.0), strict=True)
        return float(np.interp(share, shares, lost_us))

    def close(self) -> None:
        self._group.remove()
        remove_clock(self.root)


class CooperativeClock(Clock):
    """The edge process stretches each of its runs itself (executor=emulated_clock).

    Args:
        exists: another process made the clock; it is left as it is set.
    """

    kind: ClassVar[str] = "cooperative"
    note: ClassVar[str] = (
        "SIMULATED clock: the edge process stretches each run to busy seconds x full clock / clock, so latency follows "
        "1/f by construction; only runs of the network are stretched."
    )

    def __init__(self, root: Path, max_mhz: float, *, exists: bool = False) -> None:
        super().__init__(root, max_mhz)
        if not exists:
            CpufreqTree(str(root), max_mhz)
            self.apply(max_mhz, 1.0)

    @property
    def edge_overrides(self) -> list[str]:
        executor = ["executor=emulated_clock", f"executor.root={self.root}", f"executor.max_clock_mhz={self.max_mhz:g}"]
        return [*super().edge_overrides, *executor, "executor.trace=null"]

    def edge_overrides_for(self, executor: str) -> list[str]:
        return [*self.edge_overrides, f"executor.runtime={executor}"]

    def apply(self, mhz: float, slowdown: float) -> None:
        write_slowdown(self.root, slowdown)
        write_clock(self.root, mhz)

    def close(self) -> None:
        remove_clock(self.root)


def _slowdown(setting: Mapping[str, Any]) -> float:
    return float(setting.get("slowdown", 1.0))
