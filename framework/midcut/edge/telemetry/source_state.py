"""One telemetry source, and what is known of it."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from midcut.protocols import TransferListener

if TYPE_CHECKING:
    from midcut.protocols import TelemetrySource

# For so long a smaller ping stands against one that our own traffic spoilt.
_HELD_S: Final = 5.0
_CALM_S: Final = 2.0


@dataclass(eq=False)
class SourceState:
    """A source under a hub; guarded by the hub's lock.

    Attributes:
        max_age_s: its values are missing when they are older.
        values: field -> (value, when it was read, by the monotonic clock).
        error: why the last read failed.
        reported: that it is in trouble was said.
        listener_failed: its `transferred` raised, which was said.
        resting: it stands by, and is not needed.
        last_read_s: when a read last returned, or it last rested.
        answered: it was read, well or not.
        new_data: it has something new to say.
    """

    name: str
    source: TelemetrySource
    max_age_s: float
    values: dict[str, tuple[float, float]] = field(default_factory=dict)
    error: str = ""
    reported: bool = False
    listener_failed: bool = False
    resting: bool = False
    last_read_s: float = field(default_factory=time.monotonic)
    answered: threading.Event = field(default_factory=threading.Event)
    new_data: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.standby = bool(getattr(self.source, "standby", False))
        self.listener = self.source if isinstance(self.source, TransferListener) else None
        quiet = bool(getattr(self.source, "quiet", False))
        # One that stands by is read while little is sent, and can wait.
        self.calm_s = (self.max_age_s / 2 if self.standby else _CALM_S) if quiet else 0.0

    def fresh(self, name: str, now: float) -> bool:
        """Whether its value of a field counts."""
        return name in self.values and now - self.values[name][1] <= self.max_age_s

    def ageing(self, name: str, now: float) -> bool:
        """Whether its value of a field is none, or past half of its life."""
        return name not in self.values or now - self.values[name][1] > self.max_age_s / 2

    def late(self, now: float) -> bool:
        """Whether it is in trouble without having said so."""
        if now - self.last_read_s > self.max_age_s + self.source.interval_s:
            return True
        return not self.resting and any(not self.fresh(name, now) for name in self.values)

    def take(self, values: dict[str, float], now: float, *, spoilt: bool) -> None:
        """Note what a read gave; a ping that our own traffic spoilt does not replace a smaller one of late."""
        self.last_read_s, self.error, self.resting = now, "", False
        for name, value in values.items():
            held, at_s = self.values.get(name, (math.inf, -math.inf))
            if not (spoilt and name == "ping_ms" and held < value and now - at_s <= _HELD_S):
                self.values[name] = (value, now)

    def why_missing(self, name: str, now: float) -> str:
        """Of a field that it once gave."""
        age_s = now - self.values[name][1]
        because = f" ({self.error})" if self.error else ""
        return f"{self.name}: last value is {age_s:.1f} s old, over max_age_s={self.max_age_s:g}{because}"
