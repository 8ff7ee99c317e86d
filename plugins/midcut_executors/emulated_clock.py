"""An EMULATED edge clock that follows a trace, or a clock that another program sets."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from midcut.errors import ConfigError
from midcut.traces import Playback, read_trace
from midcut_executors.choosing import by_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.protocols import Executor, Network, Segment
    from midcut.traces import Trace

_log = structlog.get_logger(__name__)
_SPIN_S = 0.0003  # sleep() may wake about 0.1 ms late, so the last part is spent in a busy loop
_REFRESH_S = 0.05
_POLICY = "sys/devices/system/cpu/cpufreq/policy0"
_SLOWDOWN = "emulated_slowdown"


class EmulatedClock:
    """Makes each run take busy seconds * highest clock / current clock.

    The clock at the start of a run holds for all of it. With a trace, this writes a tree under `root` in which the
    ordinary `cpufreq` telemetry reads the current clock, as on a Raspberry Pi. Without a trace another program writes
    that tree: it is read at each run, and neither written nor removed.

    Raises:
        FileError: the file cannot be read as a trace.
        ConfigError: the trace has no clock, or one over `max_clock_mhz`, or `root` cannot be used.
    """

    def __init__(
        self,
        trace: str | None,
        root: str,
        max_clock_mhz: float | None,
        epoch_s: float | None,
        speed: float,
        loop: bool,
        runtime: str = "native",
    ) -> None:
        self._clock: _TraceClock | _ExternalClock
        self._inner: Executor = by_name(runtime)
        if trace is None:
            self._clock = _ExternalClock(root, max_clock_mhz)
        else:
            loaded = read_trace(trace)
            max_mhz = _check_max_clock(trace, loaded, max_clock_mhz)
            self._clock = _TraceClock(Playback(loaded, epoch_s=epoch_s, speed=speed, loop=loop), root, max_mhz)
        _log.warning("EMULATED clock: runs are stretched", trace=trace, max_clock_mhz=self._clock.max_mhz, root=root)

    @property
    def identity(self) -> str:
        return f"EMULATED clock, {self._inner.identity}"

    @property
    def fused(self) -> bool:
        """Whether the runtime inside merges nodes."""
        return getattr(self._inner, "fused", False)

    @property
    def exact(self) -> bool:
        """Whether the runtime inside has to keep the bits of the whole model."""
        return getattr(self._inner, "exact", False)

    @property
    def conditions(self) -> str:
        """Of the runtime inside."""
        return getattr(self._inner, "conditions", "")

    @property
    def full_speed(self) -> Executor:
        """What runs the segments, at the machine's own clock: profiles are measured with it."""
        return self._inner

    @property
    def clock_mhz(self) -> float:
        """The emulated clock at this moment."""
        return self._clock.mhz

    @property
    def stretch(self) -> float:
        """How many times as long as at full speed a run takes at this moment."""
        return self._clock.stretch

    def prepare(self, network: Network, start: int, stop: int) -> StretchedSegment:
        return StretchedSegment(self._inner.prepare(network, start, stop), self)

    def ready(self, network: Network, start: int, stop: int) -> bool:
        return self._inner.ready(network, start, stop)

    def drop(self, network: Network) -> None:
        """Forget the segments of a network that runs no more."""
        drop = getattr(self._inner, "drop", None)  # PyTorch's prepares nothing
        if drop is not None:
            drop(network)

    def close(self) -> None:
        self._clock.close()
        self._inner.close()


class StretchedSegment:
    """A segment that takes as long as the emulated clock would make it."""

    def __init__(self, segment: Segment, emulated: EmulatedClock) -> None:
        self._segment, self._emulated = segment, emulated

    def run(self, values: Sequence[Any]) -> tuple[Sequence[Any], float]:
        stretch = self._emulated.stretch
        start = time.perf_counter()
        values, _ = self._segment.run(values)
        _wait_until(start + (time.perf_counter() - start) * stretch)
        return values, time.perf_counter() - start


class _TraceClock:
    """A clock that follows a trace and is published under `root`."""

    def __init__(self, playback: Playback, root: str, max_mhz: float) -> None:
        self.max_mhz = max_mhz
        self._playback = playback
        self._tree = CpufreqTree(root, max_mhz)
        self._tree.write(self.mhz)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish_clock, name="emulated-clock", daemon=True)
        self._thread.start()

    @property
    def mhz(self) -> float:
        return self._playback.now()["clock_mhz"]

    @property
    def stretch(self) -> float:
        return self.max_mhz / self.mhz

    def close(self) -> None:
        self._stop.set()
        self._thread.join(2.0)
        self._tree.remove()

    def _publish_clock(self) -> None:
        while not self._stop.wait(_REFRESH_S):
            try:
                self._tree.write(self.mhz)
            except OSError as error:
                _log.warning("EMULATED clock: cannot be written any more, telemetry reads an old one", error=str(error))
                return


class _ExternalClock:
    """A clock that another program writes under `root`, with an optional slowdown that telemetry does not see."""

    def __init__(self, root: str, max_mhz: float | None) -> None:
        if max_mhz is None:
            raise ConfigError(
                "executor.max_clock_mhz must be given where executor.trace is null: it is the clock of full speed"
            )
        self.max_mhz = max_mhz
        self._clock = Path(root) / _POLICY / "scaling_cur_freq"
        self._slowdown = Path(root) / _SLOWDOWN
        if not 0.0 < self.mhz <= max_mhz:
            raise ConfigError(f"{self._clock}: {self.mhz:g} MHz is not from 0 to executor.max_clock_mhz={max_mhz:g}")

    @property
    def mhz(self) -> float:
        try:
            return int(self._clock.read_text(encoding="ascii")) / 1000.0
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a clock in kHz"
            raise ConfigError(
                f"{self._clock}: {reason}; without executor.trace another program must write the clock there"
            ) from None

    @property
    def stretch(self) -> float:
        try:
            slowdown = float(self._slowdown.read_text(encoding="ascii"))
        except (OSError, ValueError):  # no slowdown is set
            slowdown = 1.0
        return max(self.max_mhz / self.mhz * slowdown, 1.0)

    def close(self) -> None:
        """The tree belongs to another program."""


class CpufreqTree:
    """A folder with the cpufreq files of a device's `/`: one policy for all cores.

    Raises:
        ConfigError: the folder is the real root, or cannot be written.
    """

    def __init__(self, root: str, max_mhz: float) -> None:
        if Path(root).resolve() == Path("/"):
            raise ConfigError(f"executor.root must be a folder of its own, not {root!r}: it holds an EMULATED sysfs")
        self._root, self._policy = root, Path(root) / _POLICY
        self._written: int | None = None
        cores = " ".join(str(core) for core in range(os.cpu_count() or 1))
        try:
            self._policy.mkdir(parents=True, exist_ok=True)
            (self._policy / "affected_cpus").write_text(cores + "\n", encoding="ascii")
            (self._policy / "cpuinfo_max_freq").write_text(f"{round(max_mhz * 1000)}\n", encoding="ascii")
            (self._policy / "scaling_driver").write_text("EMULATED\n", encoding="ascii")
        except OSError as error:
            raise ConfigError(f"executor.root={root}: cannot write there: {error.strerror or error}") from None

    def write(self, clock_mhz: float) -> None:
        """Write this clock, unless it was the last one written."""
        khz = round(clock_mhz * 1000)
        if khz != self._written:
            write_clock(self._root, clock_mhz)
            self._written = khz

    def remove(self) -> None:
        remove_clock(self._root)


def write_clock(root: str | Path, clock_mhz: float) -> None:
    """Write a clock to the tree under `root`. A reader sees the old value or the new one, never half a file."""
    _write_atomically(Path(root) / _POLICY / "scaling_cur_freq", max(round(clock_mhz * 1000), 1))


def remove_clock(root: str | Path) -> None:
    """Remove the clock, so that nobody reads one that is no longer valid."""
    (Path(root) / _POLICY / "scaling_cur_freq").unlink(missing_ok=True)


def write_slowdown(root: str | Path, factor: float) -> None:
    """Stretch the runs of executors without a trace by a factor that telemetry does not see; 1 ends it."""
    _write_atomically(Path(root) / _SLOWDOWN, factor)


def _write_atomically(path: Path, value: float) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(f"{value}\n", encoding="ascii")
    draft.replace(path)


def _check_max_clock(path: str, trace: Trace, max_clock_mhz: float | None) -> float:
    if "clock_mhz" not in trace.fields:
        raise ConfigError(f"{path}: an emulated clock needs the column clock_mhz")
    highest = float(trace.fields["clock_mhz"].max())
    if max_clock_mhz is None:
        return highest
    if max_clock_mhz < highest:
        raise ConfigError(
            f"executor.max_clock_mhz={max_clock_mhz:g} is under the trace's highest clock, {highest:g} ({path}): "
            "a run can be stretched, not shortened"
        )
    return max_clock_mhz


def _wait_until(end_s: float) -> None:
    left_s = end_s - time.perf_counter()
    if left_s > _SPIN_S:
        time.sleep(left_s - _SPIN_S)
    while time.perf_counter() < end_s:
        pass
