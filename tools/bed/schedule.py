"""Schedules of a bed's link and clock, as midcut traces: same seed, same schedule."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bed.errors import BedError
from bed.links import LEAST_KBPS
from bed.tun import StandingTunLink
from midcut.config.settings import Distribution, DistributionKind, ScenarioDrawn
from midcut.recordings import read_recording
from midcut.simulation.scenario import make_samples
from midcut.traces import Trace, read_trace

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from bed.parts import BedParts
    from midcut.types import Floats

KINDS = ("constant", "step", "walk", "figure6")
RECORDED = (".up", ".down")
# Bounds; the standard deviation of a step is a share of the whole range, on a log scale except for the clock.
_WALK = {"bandwidth_kbps": (2_000.0, 50_000.0), "ping_ms": (5.0, 100.0), "clock_mhz": (0.4, 1.0)}
_WALK_SD = 0.15
_GOOD = {"bandwidth_kbps": 10_000.0, "ping_ms": 20.0, "clock_mhz": 1.0}
_BAD = {"bandwidth_kbps": 1_000.0, "ping_ms": 20.0, "clock_mhz": 0.4}


def schedule(
    kind: str, *, seed: int = 0, duration_s: float = 600.0, step_s: float = 5.0, max_clock_mhz: float = 1500.0
) -> Trace:
    """A schedule by name.

    Args:
        kind: `constant`: 10 Mbit/s, 20 ms, full clock; `step`: at half time 1 Mbit/s and 40 % of the clock; `walk`:
            a random walk within 2 to 50 Mbit/s, 5 to 100 ms, 40 to 100 %; `figure6`: Poisson bandwidth and normal
            clock (Luger, Aral, Brandic 2023, Figure 6); a file of mahimahi (.up, .down) in means over 0.1 s, both ways;
            anything else is a trace file, e.g. of a drive.
        seed: of `walk` and `figure6`.
        duration_s, step_s: length of the schedule, and of a step.
        max_clock_mhz: full clock.

    Raises:
        BedError: the times do not make a schedule.
        FileError: the file is no trace.
    """
    if kind.endswith(RECORDED):
        return read_recording("mahimahi", Path(kind)).trace
    if kind not in KINDS:
        return read_trace(kind)
    if not (0.0 < duration_s <= 1e6 and (0.0 < step_s <= duration_s or kind in {"constant", "step"})):
        raise BedError(f"a schedule needs 0 < step <= duration, got a step of {step_s:g} s in {duration_s:g} s")
    if kind == "constant":
        return Trace.from_rows([{"time_s": 0.0, **_with_clock_mhz(_GOOD, max_clock_mhz)}])
    if kind == "step":
        rows = [{"time_s": 0.0, **_with_clock_mhz(_GOOD, max_clock_mhz)}]
        return Trace.from_rows([*rows, {"time_s": duration_s / 2, **_with_clock_mhz(_BAD, max_clock_mhz)}])
    count = int(np.ceil(duration_s / step_s))
    fields = _walk(seed, count, max_clock_mhz) if kind == "walk" else _figure6(seed, count, max_clock_mhz)
    return Trace(np.arange(count, dtype=np.float64) * step_s, fields)


def play(bed: BedParts, trace: Trace, stop: threading.Event, *, speed: float = 1.0) -> int:
    """Set the bed's link and clock by a trace, until its last row has lasted as long as the one before it.

    Columns that the trace lacks are not set.

    Args:
        bed: to be set.
        trace: to be played.
        stop: ends it early.
        speed: 2 plays twice as fast.

    Returns:
        How many rows were set.
    """
    trace, start = trace.rebased(), time.monotonic()
    for number, row in enumerate(trace.rows()):
        if stop.wait(max(0.0, start + row.pop("time_s") / speed - time.monotonic())):
            return number
        apply(bed, row)
    stop.wait(max(0.0, start + trace.period_s / speed - time.monotonic()))
    return len(trace.time_s)


def play_packets(bed: BedParts, file: Path, stop: threading.Event, *, loop: bool = False) -> None:
    """Play a mahimahi trace packet by packet, in the direction of its name; the other one keeps its rate.

    Args:
        bed, stop: as for `play`.
        file: the trace.
        loop: play it again and again until `stop`, as mahimahi does; otherwise once.

    Raises:
        FileError: the file is no trace.
    """
    link, trace = bed.link, read_recording("mahimahi", file).trace
    if not isinstance(link, StandingTunLink):
        raise BedError(f"link={link.kind} plays no packets: the kernel takes rates; link=tun does")
    link.play_packets("down" if file.suffix == ".down" else "up", file)
    try:
        stop.wait(None if loop else trace.period_s)
    finally:
        link.stop_packets()


def apply(bed: BedParts, row: Mapping[str, float]) -> None:
    """Set link and clock by a row of a trace."""
    if "clock_mhz" in row:
        bed.clock.set(row["clock_mhz"])
    link = {name: row[name] for name in ("bandwidth_kbps", "ping_ms") if name in row}
    if bed.link.kind == "tbf":
        link.pop("ping_ms", None)
    if "bandwidth_kbps" in link:  # an outage: a packet a second and a half
        link["bandwidth_kbps"] = max(link["bandwidth_kbps"], LEAST_KBPS)
    if link:
        bed.link.set(**link)


def _with_clock_mhz(row: Mapping[str, float], max_clock_mhz: float) -> dict[str, float]:
    return {**row, "clock_mhz": row["clock_mhz"] * max_clock_mhz}


def _walk(seed: int, count: int, max_clock_mhz: float) -> dict[str, Floats]:
    generator = np.random.default_rng(seed)
    fields: dict[str, Floats] = {}
    for name, (low, high) in _WALK.items():
        place = np.cumsum(np.concatenate(([generator.random()], generator.normal(0.0, _WALK_SD, count - 1))))
        share = 1.0 - np.abs(1.0 - np.mod(place, 2.0))  # reflected at the bounds
        linear = name == "clock_mhz"
        fields[name] = (low + share * (high - low)) * max_clock_mhz if linear else low * (high / low) ** share
    return fields


def _figure6(seed: int, count: int, max_clock_mhz: float) -> dict[str, Floats]:
    """Families as printed in the paper; it gives no means and spreads: these come near its ratios (poisson.yaml)."""
    scale = max_clock_mhz / 1500.0
    clock = Distribution(
        DistributionKind.normal, mean=1000.0 * scale, sd=350.0 * scale, low=600.0 * scale, high=max_clock_mhz
    )
    drawn = ScenarioDrawn(
        samples=count,
        seed=seed,
        bandwidth_kbps=Distribution(DistributionKind.poisson, mean=9.0, unit=1000.0),
        clock_mhz=clock,
        ping_ms=Distribution(DistributionKind.constant, value=120.0),
    )
    return dict(make_samples(drawn).fields)
