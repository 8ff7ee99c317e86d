"""Power that computing takes, from a meter's energy over a window: never from single requests, which are too short."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self, runtime_checkable

from midcut.errors import ConfigError, TelemetryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from midcut.protocols import TelemetrySource

FIELD = "power_w"
SAMPLE_S = 0.05
_MOST_FAILURES: Final = 20  # in a row: the power of a second at most may be taken as that before and after it


@runtime_checkable
class EnergyMeter(Protocol):
    """Counts joules."""

    def energy_j(self) -> float:
        """Joules since the first call."""
        ...


class SampledEnergy:
    """Joules of a source that only senses power: the power of each moment, summed up on a thread.

    Args:
        source: gives `power_w`. One that fails now and then is read again.
        clock: seconds, monotonic.
    """

    def __init__(self, source: TelemetrySource, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._joules = 0.0
        self._failures, self._failure = 0, ""
        self._last_at_s, self._last_w = clock(), self._sense()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def energy_j(self) -> float:
        """See `EnergyMeter`.

        Raises:
            TelemetryError: the source fails now, or failed for long.
        """
        self.sample()
        if self._failures > _MOST_FAILURES:
            raise TelemetryError(f"the power could not be measured for {self._failures} readings: {self._failure}")
        return self._joules

    def sample(self) -> None:
        """Sense now; between two moments the power is taken as their mean."""
        with self._lock:
            watts, now = self._sense(), self._clock()
            self._joules += (now - self._last_at_s) * (watts + self._last_w) / 2.0
            self._last_at_s, self._last_w = now, watts

    def _sense(self) -> float:
        return float(self._source.read()[FIELD])

    def _run(self) -> None:
        in_a_row = 0
        while not self._stop.wait(SAMPLE_S):
            try:
                self.sample()
                in_a_row = 0
            except TelemetryError as error:
                in_a_row += 1
                self._failures, self._failure = max(self._failures, in_a_row), str(error)


@dataclass(frozen=True)
class Window:
    """Energy of a span of time.

    Attributes:
        energy_j: joules.
        seconds: its length.
        busy_s: how much of it was computing.
    """

    energy_j: float
    seconds: float
    busy_s: float


def busy_power_w(window: Window, idle_w: float) -> float:
    """The power while computing: idle power, and what the window's energy exceeds idling by over its busy seconds.

    30 J in 10 s of which 4 s are busy, at an idle power of 2 W, are 2 W and 2.5 W more.
    """
    if not window.busy_s > 0.0:
        raise ConfigError("power cannot be measured: nothing was computed in the window")
    return max(idle_w + (window.energy_j - idle_w * window.seconds) / window.busy_s, 0.0)


class PowerMeasurement:
    """Measures the idle power of the machine, then energy over a window.

    Args:
        meter: counts joules.
        idle_s: how long to measure the idle machine.
        clock, sleep: of the window.
    """

    def __init__(
        self,
        meter: EnergyMeter,
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._meter, self._clock = meter, clock
        start_j, start_s = meter.energy_j(), clock()
        sleep(idle_s)
        self.idle_w = (meter.energy_j() - start_j) / (clock() - start_s)
        self.restart()

    def restart(self) -> None:
        """Begin the window now."""
        self._start_j, self._start_s = self._meter.energy_j(), self._clock()

    def busy_w(self, busy_s: float) -> float:
        """The power while computing in the window that ends now, of which `busy_s` were computing."""
        window = Window(self._meter.energy_j() - self._start_j, self._clock() - self._start_s, busy_s)
        return busy_power_w(window, self.idle_w)


def first_that_works(sources: Mapping[str, TelemetrySource]) -> tuple[str, TelemetrySource]:
    """The first source that measures power here.

    Raises:
        ConfigError: none does; the message has the reason of each.
    """
    reasons = []
    for name, source in sources.items():
        try:
            if isinstance(source, EnergyMeter):
                source.energy_j()
            else:
                float(source.read()[FIELD])
        except (TelemetryError, KeyError) as error:
            reasons.append(f"{name}: {error if isinstance(error, TelemetryError) else f'gives no {FIELD}'}")
        else:
            return name, source
    raise ConfigError(f"power=true: no telemetry source measures power here; {'; '.join(reasons) or 'none is chosen'}")
