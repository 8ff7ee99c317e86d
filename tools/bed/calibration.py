"""What a bed is asked for against what is obtained on it."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bed.errors import BedError
from bed.links import wire_s
from bed.probing import Path, Probe, pieces_for, round_trips_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bed.hosts import Host
    from bed.parts import BedParts

LIMIT = 0.03
WORK_S = 0.1
_MOST_TURNS, _SURE = 15, 2.0
_PING_LINE_KBPS = 50_000.0
_LEAST_MS = 0.3  # a round trip is not told more finely: two processes are woken up on each


@dataclass(frozen=True)
class Plan:
    """What to try.

    Attributes:
        rates_kbps: line rates, each way, without delay.
        pings_ms: round trips, on a line of 50 Mbit/s.
        clock_shares: shares of full clock.
        body_s: how long a timed body is on the wire.
        bodies, pings, works: repeats of each.
    """

    rates_kbps: Sequence[float] = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
    pings_ms: Sequence[float] = (5, 10, 20, 50, 100, 150)
    clock_shares: Sequence[float] = (1.0, 0.8, 0.6, 0.4, 0.2)
    body_s: float = 0.5
    bodies: int = 5
    pings: int = 30
    works: int = 9


QUICK = Plan((2_000, 10_000, 50_000), (5, 50, 150), (1.0, 0.6, 0.4), body_s=0.3, bodies=3, pings=15)


@dataclass(frozen=True)
class Row:
    """One thing that was tried.

    Attributes:
        what: e.g. `rate up`.
        unit: of asked and obtained.
        asked, obtained: the latter a median.
        low, high: quartiles of what was obtained.
        repeats: how often.
        floor: differences up to this much, in the unit, do not count.
    """

    what: str
    unit: str
    asked: float
    obtained: float
    low: float
    high: float
    repeats: int
    floor: float = 0.0

    @property
    def off(self) -> float:
        """How far off, as a share of what was asked."""
        return self.obtained / self.asked - 1.0

    def within(self, limit: float = LIMIT) -> bool:
        """Whether it is near enough."""
        return abs(self.obtained - self.asked) <= max(limit * self.asked, self.floor)

    def fields(self) -> dict[str, Any]:
        """The row as a report shows it."""
        return {**asdict(self), "off": self.off, "within": self.within()}


def measure(bed: BedParts, plan: Plan) -> list[Row]:
    """Try all of a plan; the bed's own setting is restored."""
    return list(each(bed, plan))


def each(bed: BedParts, plan: Plan) -> Iterator[Row]:
    """Rows as they come."""
    shape, mhz, slowdown = bed.link.shape, bed.clock.mhz, bed.clock.slowdown
    try:
        bed.clock.throttle(1.0)
        bed.clock.set(bed.clock.max_mhz)
        bed.link.set(ping_ms=0.0, loss=0.0)
        yield from _rates(bed, plan, "rate up", bed.edge, bed.cloud)
        yield from _rates(bed, plan, "rate down", bed.cloud, bed.edge)
        if bed.link.kind != "tbf":
            yield from _pings(bed, plan)
        if bed.clock.kind != "cooperative":  # there the network's runs alone are slowed down, inside the edge process
            yield from _clocks(bed, plan)
    finally:
        bed.link.restore(shape)
        bed.clock.set(mhz)
        bed.clock.throttle(slowdown)


def require_within(rows: Sequence[Row], limit: float) -> None:
    """See that all are near enough.

    Raises:
        BedError: one is not; names the worst.
    """
    wrong = [row for row in rows if not row.within(limit)]
    if wrong:
        worst = max(wrong, key=lambda row: abs(row.off))
        raise BedError(
            f"the test bed is off: {worst.what} {worst.asked:g} {worst.unit} came out as {worst.obtained:.4g} "
            f"({worst.off:+.1%}, allowed {limit:.0%}); {len(wrong)} of {len(rows)} rows are; is the machine busy, "
            "or another test bed up?"
        )


def _row(what: str, unit: str, asked: float, obtained: Sequence[float], floor: float = 0.0) -> Row:
    low, middle, high = statistics.quantiles(obtained, n=4, method="inclusive")
    return Row(what, unit, asked, middle, low, high, len(obtained), floor)


def _rates(bed: BedParts, plan: Plan, what: str, source: Host, target: Host) -> Iterator[Row]:
    with Path(source, target) as path:
        for kbps in plan.rates_kbps:
            bed.link.set(bandwidth_kbps=kbps)
            body_bytes = round(plan.body_s / wire_s(1, kbps))
            path.seconds(body_bytes // 4)
            got = [_kbps(path, body_bytes) for _ in range(plan.bodies)]
            yield _row(what, "kbit/s", kbps, got)


def _kbps(path: Path, body_bytes: int) -> float:
    """Line rate of a body: the answer's way back is taken off."""
    empty_s = min(path.seconds(1) for _ in range(3))
    return wire_s(body_bytes, 1.0) / (path.seconds(body_bytes) - empty_s)


def _pings(bed: BedParts, plan: Plan) -> Iterator[Row]:
    bed.link.set(bandwidth_kbps=_PING_LINE_KBPS)
    for ping_ms in plan.pings_ms:
        bed.link.set(ping_ms=ping_ms)
        yield _row("ping", "ms", ping_ms, round_trips_ms(bed, plan.pings)[1:], _LEAST_MS)
    bed.link.set(ping_ms=0.0)


def _clocks(bed: BedParts, plan: Plan) -> Iterator[Row]:
    with Probe(bed.edge, "work") as probe:
        pieces = pieces_for(probe, WORK_S)
        for share in plan.clock_shares:
            got = obtained_shares(bed, probe, share, pieces, plan.works, partial(_surely_within, share))
            yield _row("clock", "%", share * 100, [100 * one for one in got])


def _surely_within(share: float, found: Sequence[float]) -> bool:
    """Whether what is not known of the median yet can no longer put it out of the limit."""
    off = statistics.median(found) / share - 1.0
    return abs(off) + _SURE * median_error(found) <= LIMIT


def obtained_shares(
    bed: BedParts, probe: Probe, share: float, pieces: int, repeats: int, enough: Callable[[Sequence[float]], bool]
) -> list[float]:
    """How fast the same work goes at a share of full clock, relative to full clock just before and after.

    Full speed and the share take turns, so that a machine that drifts drifts for both. One that others share is
    still as noisy as 10 % from one run to the next.

    Args:
        repeats: turns at least.
        enough: says of what was found so far whether it will do; `_MOST_TURNS` times `repeats` will in any case.
    """
    full_mhz = bed.clock.max_mhz
    found: list[float] = []
    bed.clock.set(full_mhz)
    before_s = probe.ask(pieces)
    while len(found) < repeats or (len(found) < _MOST_TURNS * repeats and not enough(found)):
        bed.clock.set(share * full_mhz)
        slow_s = probe.ask(pieces)
        bed.clock.set(full_mhz)
        after_s = probe.ask(pieces)
        found.append((before_s + after_s) / 2 / slow_s)
        before_s = after_s
    return found


def median_error(found: Sequence[float]) -> float:
    """Standard error of a median, relative to it, from the quartiles: nearly normal values, few of them far off."""
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return float(1.2533 * (high - low) / 1.349 / math.sqrt(len(found)) / middle)
