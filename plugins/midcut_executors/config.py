"""Knobs of the executors."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class NativeConfig:
    """This machine at its own speed. It has no knobs."""


@dataclass
class EmulatedClockConfig:
    """An EMULATED edge clock: every run is stretched as if all work took seconds in proportion to 1 / clock.

    On real hardware only core-bound work does that; time spent waiting for memory does not change with the clock.

    Attributes:
        trace: CSV or JSON trace with `clock_mhz`; null follows the clock that another program writes under `root`.
        root: folder for an emulated cpufreq tree; set `telemetry.cpufreq.root` to the same folder.
        max_clock_mhz: the clock at which runs are not stretched, MHz; null is the trace's highest.
        epoch_s: when the trace starts, seconds since the epoch; null is at program start.
        speed: 2 plays the trace twice as fast.
        loop: start the trace again at its end; otherwise its last row holds.
    """

    trace: str | None = MISSING
    root: str = MISSING
    max_clock_mhz: float | None = None
    epoch_s: float | None = None
    speed: float = 1.0
    loop: bool = False
