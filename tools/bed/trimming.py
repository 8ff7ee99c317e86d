"""What the emulation itself costs, measured when a bed is made so that it can be taken off.

A round trip over the user-space link has processes to wake up on its way. A core that is taken away every 10 or
20 ms comes back with cold caches, so a share f needs more than f of a period; but a run finds the first period's quota
whole and need not wait for the end of its last, and what else the machine has to do fits into the gaps: it needs less.
Checks measure anew, after this.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bed.calibration import WORK_S, median_error, obtained_shares
from bed.cgroups import period_us
from bed.probing import Probe, pieces_for, round_trips_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bed.parts import BedParts

_PING_MS, _PINGS, _UNTIL_WARM, _MOST_MS = 5.0, 200, 20, 2.0  # under 10 ms `ping` tells hundredths
_SHARES, _TURNS, _KNOWN, _MOST_US = (0.2, 0.5, 0.8), 9, 0.007, 800.0


def trim(bed: BedParts) -> None:
    """Measure both, where they apply, and have link and clock allow for them."""
    if bed.clock.kind == "cgroup":
        bed.clock.stalls = stalls(bed)
    if bed.link.kind == "tun":
        bed.link.overhead_ms = overhead_ms(bed)


def overhead_ms(bed: BedParts) -> float:
    """How much longer than asked a round trip takes."""
    bed.link.set(ping_ms=_PING_MS)
    found = statistics.median(round_trips_ms(bed, _PINGS)[_UNTIL_WARM:]) - _PING_MS
    bed.link.set(ping_ms=0.0)
    return float(min(max(found, 0.0), _MOST_MS))


def stalls(bed: BedParts) -> tuple[tuple[float, float], ...]:
    """How much of a quota is lost (under 0: won), by share, in microseconds of a period; at full clock it is none.

    Work advances by (quota - loss) in each period, and should by f * period.
    """
    found = []
    with Probe(bed.edge, "work") as probe:
        pieces = pieces_for(probe, WORK_S)
        for share in _SHARES:
            got = statistics.median(obtained_shares(bed, probe, share, pieces, _TURNS, _is_known))
            found.append((share, min(max(period_us(share) * (share - got), -_MOST_US), _MOST_US)))
    return tuple(found)


def _is_known(found: Sequence[float]) -> bool:
    return median_error(found) < _KNOWN
