"""What the emulation itself costs, measured when a bed is made so that it can be taken off.

A round trip over the user-space link has processes to wake up on its way. A core that is taken away every 10 or
20 ms comes back with cold caches: a share f needs f of a period and that loss. Checks measure anew, after this.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bed.calibration import WORK_S, obtained_shares
from bed.cgroups import period_us
from bed.probing import Probe, pieces_for, round_trips_ms

if TYPE_CHECKING:
    from bed.testbed import Bed

_PING_MS, _PINGS, _UNTIL_WARM, _MOST_MS = 10.0, 50, 20, 2.0
_SHARES, _TURNS, _MOST_US = (0.2, 0.4), 7, 800.0


def trim(bed: Bed) -> None:
    """Measure both, where they apply, and have link and clock allow for them."""
    if bed.link.kind == "tun":
        bed.link.overhead_ms = overhead_ms(bed)
    if bed.clock.kind == "cgroup":
        bed.clock.stalls = stalls(bed)


def overhead_ms(bed: Bed) -> float:
    """How much longer than asked a round trip takes."""
    bed.link.set(ping_ms=_PING_MS)
    found = statistics.median(round_trips_ms(bed, _PINGS)[_UNTIL_WARM:]) - _PING_MS
    bed.link.set(ping_ms=0.0)
    return float(min(max(found, 0.0), _MOST_MS))


def stalls(bed: Bed) -> tuple[tuple[float, float], ...]:
    """How much of a quota is lost, by share: work advances by (quota - loss) in each period, and should by f * period.

    It differs by the machine, and is more where the core is away for longer; at full clock it is none.
    """
    found = []
    with Probe(bed.edge, "work") as probe:
        pieces = pieces_for(probe, WORK_S)
        for share in _SHARES:
            got = statistics.median(obtained_shares(bed, probe, share, pieces, _TURNS))
            found.append((share, min(max(period_us(share) * (share - got), 0.0), _MOST_US)))
    return tuple(found)
