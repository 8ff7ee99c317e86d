"""Measures the cost of the emulation itself when a bed is made, so that link and clock can compensate it.

A round trip over the user-space link has to wake up processes on its way. A core that is taken away every 10 or 20 ms
comes back with cold caches, so that a share f needs more than f of a period. On the other hand a run starts with the
whole quota of its first period and need not wait for the end of its last one, and the machine's other work fits into
the gaps: that needs less. `tools/testbed check` measures again, with the compensation.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bed.calibration import WORK_S, median_error, obtained_shares
from bed.cgroups import period_us
from bed.probing import Probe, pieces_in, round_trips_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bed.parts import BedParts

_PING_MS, _PINGS, _WARM_UP, _MAX_MS = 5.0, 200, 20, 2.0  # under 10 ms `ping` prints hundredths
_SHARES, _TURNS, _MAX_ERROR, _MAX_US = (0.2, 0.5, 0.8), 9, 0.007, 800.0


def trim(bed: BedParts) -> None:
    """Measure and compensate both costs, where the bed has them."""
    if bed.clock.kind == "cgroup":
        bed.clock.stalls = measure_stalls(bed)
    if bed.link.kind == "tun":
        bed.link.overhead_ms = measure_overhead_ms(bed)


def measure_overhead_ms(bed: BedParts) -> float:
    """How much longer than asked a round trip takes."""
    bed.link.set(ping_ms=_PING_MS)
    extra_ms = statistics.median(round_trips_ms(bed, _PINGS)[_WARM_UP:]) - _PING_MS
    bed.link.set(ping_ms=0.0)
    return float(min(max(extra_ms, 0.0), _MAX_MS))


def measure_stalls(bed: BedParts) -> tuple[tuple[float, float], ...]:
    """The part of a quota that is lost (under 0: gained) in each period, in microseconds, by share; 0 at full clock.

    Work advances by (quota - loss) in each period, and should by f * period.
    """
    stalls = []
    with Probe(bed.edge, "work") as probe:
        pieces = pieces_in(probe, WORK_S)
        for share in _SHARES:
            obtained = statistics.median(obtained_shares(bed, probe, share, pieces, _TURNS, _is_accurate))
            stalls.append((share, min(max(period_us(share) * (share - obtained), -_MAX_US), _MAX_US)))
    return tuple(stalls)


def _is_accurate(shares: Sequence[float]) -> bool:
    return median_error(shares) < _MAX_ERROR
