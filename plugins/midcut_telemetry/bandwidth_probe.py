"""Bandwidth by a timed upload."""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Final

from midcut import wire
from midcut.errors import ConfigError, TelemetryError
from midcut.terms import SlowStart
from midcut.wire.tcp import rate_kbps, starts_slowly
from midcut_telemetry.cloud import Endpoint, KeepAliveConnection
from midcut_telemetry.limits import check_timeout

if TYPE_CHECKING:
    from collections.abc import Mapping


_PINGS: Final = 3


class BandwidthProbe:
    """Uploads `probe_bytes` on a keep-alive connection, after pings that give the round trip.

    The bandwidth is that of HTTP bodies: bytes * 8 / (seconds - round trip), corrected for TCP's slow start where the
    connection is new or was idle.
    The cloud discards the body while it arrives and answers `{"received_bytes": n}`. Where the round
    trip leaves less than a tenth of the seconds, a tenth is used: the probe is too small for such a link, and the
    result is a lower bound.

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
        self._check_received(answer)
        transfer_s = max(seconds - rtt_s, 0.1 * seconds)
        pause_s = self.interval_s if self._restarts_slowly else 0.0
        if self._connection.opened != self._opened:
            pause_s, self._opened = math.inf, self._connection.opened
        return {"bandwidth_kbps": rate_kbps(len(self._body), transfer_s, rtt_s, pause_s)}

    def close(self) -> None:
        self._connection.close()

    def _check_received(self, answer: bytes) -> None:
        try:
            received = int(json.loads(answer)["received_bytes"])
        except (ValueError, TypeError, KeyError):
            raise TelemetryError(f"POST {wire.PROBE_PATH}: not the answer to a probe: {answer[:100]!r}") from None
        if received != len(self._body):
            raise TelemetryError(f"POST {wire.PROBE_PATH}: the cloud received {received} of {len(self._body)} bytes")
