"""What the emulation itself costs, measured when a bed is made so that it can be taken off.

A round trip over the user-space link has processes to wake up on its way. A core that is taken away every 10 ms comes
back with cold caches: a share f needs f * 10 ms and that loss in each period. Checks measure anew, after this.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bed.calibration import WORK_S, turns
from bed.cgroups import PERIOD_US
from bed.probing import Probe, pieces_for, round_trips_ms

if TYPE_CHECKING:
    from bed.testbed import Bed

_PING_MS, _PINGS, _MOST_MS = 10.0, 16, 2.0
_SHARE, _TURNS, _MOST_US = 0.4, 5, 400.0


def trim(bed: Bed) -> None:
    """Measure both, where they apply, and have link and clock allow for them."""
    if bed.link.kind == "tun":
        bed.link.overhead_ms = overhead_ms(bed)
    if bed.clock.kind == "cgroup":
        bed.clock.stall_us = stall_us(bed)


def overhead_ms(bed: Bed) -> float:
    """How much longer than asked a round trip takes."""
    bed.link.set(ping_ms=_PING_MS)
    found = statistics.median(round_trips_ms(bed, _PINGS)[1:]) - _PING_MS
    bed.link.set(ping_ms=0.0)
    return min(max(found, 0.0), _MOST_MS)


def stall_us(bed: Bed) -> float:
    """How much time of a quota is lost: work advances by (quota - loss) in each period, and shall by f * 10 ms."""
    with Probe(bed.edge, "work") as probe:
        pairs = turns(bed, probe, _SHARE, pieces_for(probe, WORK_S), _TURNS)
    bed.clock.set(bed.clock.max_mhz)
    full_s, slow_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    return min(max(PERIOD_US * (_SHARE - full_s / slow_s), 0.0), _MOST_US)
