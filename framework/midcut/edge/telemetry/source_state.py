"""The state of one telemetry source: its last values, when they were read, and its last error."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from midcut.protocols import TransferListener

if TYPE_CHECKING:
    from midcut.protocols import TelemetrySource

# A ping measured during our own traffic does not replace a smaller one that was younger than this when that began.
_KEEP_PING_S: Final = 5.0
# How long a quiet source waits for a pause between exchanges.
_CALM_S: Final = 2.0


@dataclass(eq=False)
class SourceState:
    """One source of a hub; guarded by the hub's lock.

    Attributes:
        max_age_s: its values are missing when they are older.
        values: field -> (value, when it was read or known to hold, by the monotonic clock).
        ping_at_s: when its ping was measured.
        error: why the last read failed.
        reported: its failure or staleness is logged, its recovery not yet.
        listener_failed: whether the source's method `transferred` has raised an error, which is logged once.
        resting: it is a standby source and not needed now.
        last_read_at_s: when a read last returned, or when it was last found not to be needed.
        answered: set after the first read, whether it succeeded or failed.
        new_data: set when a transfer was passed to it, so that it is read soon.
    """

    name: str
    source: TelemetrySource
    max_age_s: float
    values: dict[str, tuple[float, float]] = field(default_factory=dict)
    ping_at_s: float = -math.inf
    error: str = ""
    reported: bool = False
    listener_failed: bool = False
    resting: bool = False
    last_read_at_s: float = field(default_factory=time.monotonic)
    answered: threading.Event = field(default_factory=threading.Event)
    new_data: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.interval_s = float(self.source.interval_s)
        self.standby = bool(getattr(self.source, "standby", False))
        self.listener = self.source if isinstance(self.source, TransferListener) else None
        quiet = bool(getattr(self.source, "quiet", False))
        # A standby source is read while little is sent, so it can wait longer for a pause.
        self.calm_s = (self.max_age_s / 2 if self.standby else _CALM_S) if quiet else 0.0

    def is_fresh(self, name: str, now: float) -> bool:
        """Whether this source's latest value of the field is recent enough to use."""
        return name in self.values and now - self.values[name][1] <= self.max_age_s

    def is_ageing(self, name: str, now: float) -> bool:
        """Whether it has no value of the field, or one older than half of `max_age_s`."""
        return name not in self.values or now - self.values[name][1] > self.max_age_s / 2

    def is_stale(self, now: float) -> bool:
        """Whether its reads do not return, or its values are too old, without an error."""
        if now - self.last_read_at_s > self.max_age_s + self.interval_s:
            return True
        return not self.resting and any(not self.is_fresh(name, now) for name in self.values)

    def store(self, values: dict[str, float], now: float, disturbed_since_s: float | None) -> None:
        """Store the values of a read.

        Args:
            disturbed_since_s: when the exchange began that disturbed it; None if none did. A smaller ping that was
                recent then goes on, as this one timed our own queue.
        """
        self.last_read_at_s, self.error, self.resting = now, "", False
        for name, value in values.items():
            is_ping = name == "ping_ms"
            previous, _ = self.values.get(name, (math.inf, now))
            goes_on = (
                is_ping
                and previous < value
                and disturbed_since_s is not None
                and disturbed_since_s - self.ping_at_s <= _KEEP_PING_S
            )
            self.values[name] = (previous if goes_on else value, now)
            if is_ping and not goes_on:
                self.ping_at_s = now

    def why_missing(self, name: str, now: float) -> str:
        """Why a field that it once gave is missing now."""
        age_s = now - self.values[name][1]
        reason = f" ({self.error})" if self.error else ""
        return f"{self.name}: last value is {age_s:.1f} s old, over max_age_s={self.max_age_s:g}{reason}"
