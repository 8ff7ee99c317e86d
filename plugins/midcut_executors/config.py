"""Knobs of the executors."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class NativeConfig:
    """This machine, as fast as it is: no knobs."""


@dataclass
class EmulatedClockConfig:
    """An EMULATED edge clock: every run takes as long as it would if time went with one over the clock.

    That holds by construction and for all work alike; on real hardware only core-bound work follows the clock.

    Attributes:
        trace: CSV or JSON trace with `clock_mhz`; null follows the clock that somebody else keeps under `root`.
        root: folder to keep a cpufreq tree in; point `telemetry.cpufreq.root` at the same.
        max_clock_mhz: the clock at which this machine runs unslowed; null is the trace's highest.
        epoch_s: when the trace starts, seconds since the epoch; null is at start.
        speed: 2 plays the trace twice as fast.
        loop: start the trace again at its end; otherwise its last row holds.
    """

    trace: str | None = MISSING
    root: str = MISSING
    max_clock_mhz: float | None = None
    epoch_s: float | None = None
    speed: float = 1.0
    loop: bool = False
