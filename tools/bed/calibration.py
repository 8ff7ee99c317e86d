"""Measures what is obtained on a bed against what is asked of it: rates, round trips and clocks."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from common.figures import quartiles

from bed.errors import BedError
from bed.links import wire_s
from bed.probing import Probe, TimedConnection, pieces_in, round_trips_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bed.hosts import Host
    from bed.parts import BedParts

LIMIT = 0.03
WORK_S = 0.1
_MAX_TURNS, _SURE = 15, 2.0
_PING_RATE_KBPS = 50_000.0
_PING_FLOOR_MS = 0.3  # a round trip is not measured more finely: it wakes up two processes


@dataclass(frozen=True)
class Plan:
    """The settings to measure.

    Attributes:
        rates_kbps: line rates, each way, without delay.
        pings_ms: round trips, at a line rate of 50 Mbit/s.
        clock_shares: shares of full clock.
        body_s: how long a timed body is on the wire.
        bodies, pings, works: repeats of each measurement: bodies for a rate, pieces of work for a clock.
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
    """One setting and its measurement.

    Attributes:
        what: e.g. `rate up`.
        unit: of asked and obtained.
        asked, obtained: the setting and the median of its measurements.
        low, high: quartiles of the measurements.
        repeats: number of measurements.
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
    def error(self) -> float:
        """Relative error of what was obtained."""
        return self.obtained / self.asked - 1.0

    def within(self, limit: float = LIMIT) -> bool:
        """Whether the error is within the limit."""
        return abs(self.obtained - self.asked) <= max(limit * self.asked, self.floor)

    def fields(self) -> dict[str, Any]:
        """The row as a report shows it."""
        return {**asdict(self), "off": self.error, "within": self.within()}


def measure(bed: BedParts, plan: Plan) -> list[Row]:
    """Measure all of a plan; the bed's own setting is restored."""
    return list(measure_each(bed, plan))


def measure_each(bed: BedParts, plan: Plan) -> Iterator[Row]:
    """Measure all of a plan, a row at a time."""
    shape, mhz, slowdown = bed.link.shape, bed.clock.mhz, bed.clock.slowdown
    try:
        bed.clock.throttle(1.0)
        bed.clock.set(bed.clock.max_mhz)
        bed.link.set(ping_ms=0.0, loss=0.0)
        yield from _rates(bed, plan, "rate up", bed.edge, bed.cloud)
        yield from _rates(bed, plan, "rate down", bed.cloud, bed.edge)
        if bed.link.kind != "tbf":
            yield from _pings(bed, plan)
        if bed.clock.kind != "cooperative":  # that slows down the network's runs alone, inside the edge process
            yield from _clocks(bed, plan)
    finally:
        bed.link.restore(shape)
        bed.clock.set(mhz)
        bed.clock.throttle(slowdown)


def require_within(rows: Sequence[Row], limit: float) -> None:
    """Require all rows to be within the limit.

    Raises:
        BedError: one is not; names the worst.
    """
    wrong = [row for row in rows if not row.within(limit)]
    if wrong:
        worst = max(wrong, key=lambda row: abs(row.error))
        raise BedError(
            f"the test bed is inaccurate: {worst.what} {worst.asked:g} {worst.unit} came out as {worst.obtained:.4g} "
            f"({worst.error:+.1%}, allowed {limit:.0%}); {len(wrong)} of {len(rows)} rows are; is the machine busy, "
            "or another test bed up?"
        )


def _row(what: str, unit: str, asked: float, obtained: Sequence[float], floor: float = 0.0) -> Row:
    low, middle, high = quartiles(obtained)
    return Row(what, unit, asked, middle, low, high, len(obtained), floor)


def _rates(bed: BedParts, plan: Plan, what: str, source: Host, target: Host) -> Iterator[Row]:
    with TimedConnection(source, target) as connection:
        for kbps in plan.rates_kbps:
            bed.link.set(bandwidth_kbps=kbps)
            body_bytes = round(plan.body_s / wire_s(1, kbps))
            connection.transfer_s(body_bytes // 4)
            rates = [_kbps(connection, body_bytes) for _ in range(plan.bodies)]
            yield _row(what, "kbit/s", kbps, rates)


def _kbps(connection: TimedConnection, body_bytes: int) -> float:
    """Line rate of a body; the time of the answer's way back is subtracted."""
    empty_s = min(connection.transfer_s(1) for _ in range(3))
    return wire_s(body_bytes, 1.0) / (connection.transfer_s(body_bytes) - empty_s)


def _pings(bed: BedParts, plan: Plan) -> Iterator[Row]:
    bed.link.set(bandwidth_kbps=_PING_RATE_KBPS)
    for ping_ms in plan.pings_ms:
        bed.link.set(ping_ms=ping_ms)
        yield _row("ping", "ms", ping_ms, round_trips_ms(bed, plan.pings)[1:], _PING_FLOOR_MS)
    bed.link.set(ping_ms=0.0)


def _clocks(bed: BedParts, plan: Plan) -> Iterator[Row]:
    with Probe(bed.edge, "work") as probe:
        pieces = pieces_in(probe, WORK_S)
        for share in plan.clock_shares:
            obtained = obtained_shares(bed, probe, share, pieces, plan.works, partial(_surely_within, share))
            yield _row("clock", "%", share * 100, [100 * value for value in obtained])


def _surely_within(share: float, shares: Sequence[float]) -> bool:
    """Whether the median of the measured shares is within the limit even with its own error added."""
    error = statistics.median(shares) / share - 1.0
    return abs(error) + _SURE * median_error(shares) <= LIMIT


def obtained_shares(
    bed: BedParts, probe: Probe, share: float, pieces: int, repeats: int, enough: Callable[[Sequence[float]], bool]
) -> list[float]:
    """How fast the same work goes at a share of full clock, relative to full clock just before and after.

    Full speed and the share take turns, so that a drift of the machine's speed affects both. On a machine that others
    share, two runs still differ by as much as 10 %.

    Args:
        repeats: number of turns at least.
        enough: whether the shares measured so far suffice; `_MAX_TURNS` times `repeats` turns always do.
    """
    full_mhz = bed.clock.max_mhz
    shares: list[float] = []
    bed.clock.set(full_mhz)
    before_s = probe.ask(pieces)
    while len(shares) < repeats or (len(shares) < _MAX_TURNS * repeats and not enough(shares)):
        bed.clock.set(share * full_mhz)
        slow_s = probe.ask(pieces)
        bed.clock.set(full_mhz)
        after_s = probe.ask(pieces)
        shares.append((before_s + after_s) / 2 / slow_s)
        before_s = after_s
    return shares


def median_error(values: Sequence[float]) -> float:
    """Relative standard error of a median, from the quartiles: for nearly normal values with few outliers."""
    low, middle, high = quartiles(values)
    return float(1.2533 * (high - low) / 1.349 / math.sqrt(len(values)) / middle)
