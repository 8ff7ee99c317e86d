"""Which link and which clock a bed gets on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bed import cgroups, state, tun
from bed.clocks import CgroupClock, CooperativeClock
from bed.cpufreq import CpufreqClock
from bed.errors import BedUnavailable
from bed.shaped import NetemLink, TbfLink, require_netem
from bed.tun import TunLink

if TYPE_CHECKING:
    from bed.clocks import Clock
    from bed.links import Link
    from bed.options import BedOptions


def new_link(options: BedOptions, tag: str, control: Path, *, watched: bool, exists: bool = False) -> Link:
    """The link of the options; `auto` is netem, else tun.

    Raises:
        BedUnavailable: this machine cannot make it; the message says why.
    """
    edge, cloud = (state.namespace(tag, host) for host in ("edge", "cloud"))
    kind = options.link
    if kind == "auto":
        kind = "netem" if _has_netem(edge) else "tun"
    if kind == "tun":
        tun.require_tun()
        return TunLink(edge, cloud, control, options.cloud_core, options.seed, watched=watched)
    if kind == "netem":
        if not exists:
            require_netem(cloud)
        return NetemLink(edge, cloud, exists=exists)
    return TbfLink(edge, cloud, exists=exists)


def new_clock(options: BedOptions, tag: str, root: Path, *, exists: bool = False, machine: Path = Path("/")) -> Clock:
    """The clock of the options; `auto` is the first of cpufreq, cgroup and cooperative that works.

    Args:
        options: of the bed.
        tag: the bed's; cpufreq's values before the bed are saved under it.
        root: folder in which an emulated clock shows its frequency.
        exists: the clock was made by another process, and is left as it is set.
        machine: `/`, or a folder that looks like it to cpufreq.

    Raises:
        BedUnavailable: this machine cannot have it; the message says why.
    """
    if options.clock in ("auto", "cpufreq"):
        try:
            return CpufreqClock(options.edge_core, machine, exists=exists, save_undo=partial(state.write_undo, tag))
        except BedUnavailable:
            if options.clock == "cpufreq":
                raise
    if options.clock in ("auto", "cgroup"):
        try:
            group = cgroups.new_group(state.PREFIX + tag)
            return CgroupClock(root, options.max_clock_mhz, group, exists=exists)
        except BedUnavailable:
            if options.clock == "cgroup":
                raise
    return CooperativeClock(root, options.max_clock_mhz, exists=exists)


def _has_netem(scratch: str) -> bool:
    try:
        require_netem(scratch)
    except BedUnavailable:
        return False
    return True
