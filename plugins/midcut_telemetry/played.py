"""Telemetry that is not measured: constants and recorded traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut.errors import ConfigError
from midcut.fields import known_fields
from midcut.traces import Playback, Trace, read_trace

if TYPE_CHECKING:
    from collections.abc import Mapping


class Constant:
    """Gives the same numbers at every read; a field that is None is left to the other telemetry sources."""

    def __init__(
        self,
        clock_mhz: float | None,
        bandwidth_kbps: float | None,
        ping_ms: float | None,
        interval_s: float,
        others: Mapping[str, float] | None = None,
    ) -> None:
        fields = {"clock_mhz": clock_mhz, "bandwidth_kbps": bandwidth_kbps, "ping_ms": ping_ms}
        for name, value in fields.items():
            if value is not None and not (value > 0.0 or (value == 0.0 and name == "ping_ms")):
                raise ConfigError(f"telemetry.constant.{name} must be over 0, or null, got {value:g}")
        for name, value in (others or {}).items():
            known = known_fields().get(name)
            if known is None:
                raise ConfigError(
                    f"telemetry.constant.others has the unknown field {name!r}; there are: {', '.join(known_fields())}"
                )
            if not known.allows(value):
                raise ConfigError(f"telemetry.constant.others.{name} must be {known.bound}, got {value:g}")
            fields[name] = value
        self.interval_s = interval_s
        self._values = {name: value for name, value in fields.items() if value is not None}

    def read(self) -> Mapping[str, float]:
        return dict(self._values)

    def close(self) -> None:
        """Nothing to close."""


class Replay:
    """Gives the values of a recorded trace at the present time.

    Raises:
        FileError: the file cannot be read as a trace.
        ConfigError: the speed is not over 0.
    """

    def __init__(self, path: str, speed: float, loop: bool, epoch_s: float | None, interval_s: float) -> None:
        self.interval_s = interval_s
        self.trace: Trace = read_trace(path)
        self._playback = Playback(self.trace, epoch_s=epoch_s, speed=speed, loop=loop)

    def read(self) -> Mapping[str, float]:
        return self._playback.now()

    def close(self) -> None:
        """Nothing to close."""
