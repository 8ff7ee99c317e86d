"""Which link and which clock a bed gets on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bed import cgroups, state, tun
from bed.clocks import CgroupClock, CooperativeClock
from bed.cpufreq import CpufreqClock
from bed.errors import BedUnavailable
from bed.shaped import NetemLink, TbfLink, netem_available
from bed.tun import TunLink

if TYPE_CHECKING:
    from bed.clocks import Clock
    from bed.links import Link
    from bed.options import BedOptions


def new_link(options: BedOptions, tag: str, control: Path, *, watched: bool, made: bool = False) -> Link:
    """The link that was asked for; `auto` is netem, else tun.

    Raises:
        BedUnavailable: this machine cannot make it; says why.
    """
    edge, cloud = (state.namespace(tag, host) for host in ("edge", "cloud"))
    kind = options.link
    if kind == "auto":
        kind = "netem" if _netem(edge) else "tun"
    if kind == "tun":
        tun.available()
        return TunLink(edge, cloud, control, options.cloud_core, options.seed, watched=watched)
    if kind == "netem":
        if not made:
            netem_available(cloud)
        return NetemLink(edge, cloud, made=made)
    return TbfLink(edge, cloud, made=made)


def new_clock(options: BedOptions, tag: str, root: Path, *, made: bool = False, machine: Path = Path("/")) -> Clock:
    """The clock that was asked for; `auto` is the first of cpufreq, cgroup and cooperative that works.

    Args:
        options: of the bed.
        tag: the bed's; cpufreq's own values are written down there.
        root: where an emulated clock shows itself.
        made: it is there already, set to something, and stays so.
        machine: `/`, or a folder that looks like it to cpufreq.

    Raises:
        BedUnavailable: this machine cannot have it; says why.
    """
    if options.clock in ("auto", "cpufreq"):
        try:
            return CpufreqClock(options.edge_core, machine, made=made, keep=partial(state.write_undo, tag))
        except BedUnavailable:
            if options.clock == "cpufreq":
                raise
    if options.clock in ("auto", "cgroup"):
        try:
            group = cgroups.new_group(state.PREFIX + tag)
            return CgroupClock(root, options.max_clock_mhz, group, made=made)
        except BedUnavailable:
            if options.clock == "cgroup":
                raise
    return CooperativeClock(root, options.max_clock_mhz, made=made)


def _netem(scratch: str) -> bool:
    try:
        netem_available(scratch)
    except BedUnavailable:
        return False
    return True
