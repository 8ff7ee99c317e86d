"""Bandwidth by a timed upload."""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Final

from midcut import wire
from midcut.errors import ConfigError, TelemetryError
from midcut.terms import SlowStart
from midcut.types import BodyArrival
from midcut.wire.tcp import arrival_s, rate_kbps, starts_slowly
from midcut_telemetry.cloud import Endpoint, KeepAliveConnection
from midcut_telemetry.limits import check_timeout

if TYPE_CHECKING:
    from collections.abc import Mapping


_PINGS: Final = 3


class BandwidthProbe:
    """Uploads `probe_bytes` on a keep-alive connection, after pings that give the round trip.

    The cloud discards the body while it arrives, and answers `{"received_bytes": n}` and how the body arrived. The
    bandwidth is the rate of that, or where that is not the link's (`midcut.wire.tcp.arrival_s`), bytes * 8 /
    (seconds - round trip), corrected for TCP's slow start where the connection is new or was idle. Where the round trip
    leaves less than a tenth of the seconds, a tenth is used: the probe is too small for such a link, and its result is
    a lower bound.

    Raises:
        ConfigError: `probe_bytes` is not over 0, or a token or certificate cannot be read.
    """

    quiet = True

    def __init__(
        self,
        url: str,
        probe_bytes: int,
        timeout_s: float,
        interval_s: float,
        token_env: str | None = None,
        token_file: str | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        *,
        standby: bool = True,
        slow_start: SlowStart = SlowStart.never,
    ) -> None:
        if probe_bytes < 1:
            raise ConfigError(f"telemetry.bandwidth_probe.probe_bytes must be over 0, got {probe_bytes}")
        self.interval_s, self.standby = interval_s, standby
        self._restarts_slowly = starts_slowly(slow_start)
        self._opened = 0
        access = (token_env, token_file, tls_ca, tls_cert, tls_key)
        self._connection = KeepAliveConnection(
            Endpoint.parse(url), check_timeout("bandwidth_probe", timeout_s), *access
        )
        self._body = os.urandom(probe_bytes)  # random, so that no proxy can compress it

    def read(self) -> Mapping[str, float]:
        rtt_s = min(self._connection.exchange("GET", wire.HEALTH_PATH)[0] for _ in range(_PINGS))
        seconds, answer = self._connection.exchange("POST", wire.PROBE_PATH, self._body)
        arrival = self._read_arrival(answer)
        transfer_s = max(seconds - rtt_s, 0.1 * seconds)
        pause_s = self.interval_s if self._restarts_slowly else 0.0
        if self._connection.opened != self._opened:
            pause_s, self._opened = math.inf, self._connection.opened
        size = len(self._body)
        if arrival is not None and arrival.seconds <= seconds:
            by_arrival_s = arrival_s(arrival, size, transfer_s, rtt_s, pause_s)
            if by_arrival_s is not None:
                return {"bandwidth_kbps": size * 8 / by_arrival_s / 1e3}
        return {"bandwidth_kbps": rate_kbps(size, transfer_s, rtt_s, pause_s)}

    def close(self) -> None:
        self._connection.close()

    def _read_arrival(self, answer: bytes) -> BodyArrival | None:
        """How the body arrived; None where the cloud does not tell. Raises TelemetryError where it did not."""
        try:
            read = json.loads(answer)
            received = int(read["received_bytes"])
            arrival = BodyArrival(int(read.get("arrival_bytes", 0)), int(read.get("arrival_us", 0)) / 1e6)
        except (ValueError, TypeError, KeyError):
            raise TelemetryError(f"POST {wire.PROBE_PATH}: not the answer to a probe: {answer[:100]!r}") from None
        if received != len(self._body):
            raise TelemetryError(f"POST {wire.PROBE_PATH}: the cloud received {received} of {len(self._body)} bytes")
        return arrival if arrival.size_bytes > 0 else None
