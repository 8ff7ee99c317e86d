"""Bandwidth by a timed upload."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from midcut.errors import ConfigError, TelemetryError
from midcut_telemetry.cloud import Endpoint, KeptAlive

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATH = "/v1/probe"
_PINGS = 3


class BandwidthProbe:
    """Uploads `probe_bytes` on a kept-alive connection, after pings that give the round trip.

    The bandwidth is what HTTP bodies get: bytes * 8 / (seconds - round trip - the cloud's own seconds). The cloud
    answers `{"received_bytes": n, "server_s": s}` where s leaves out the wait for the body. Where less than a tenth
    of the time would be left, the probe is too small for the link and the result is a lower bound.

    Raises:
        ConfigError: `probe_bytes` is not over 0.
    """

    def __init__(self, url: str, probe_bytes: int, timeout_s: float, interval_s: float) -> None:
        if probe_bytes < 1:
            raise ConfigError(f"telemetry.bandwidth_probe.probe_bytes must be over 0, got {probe_bytes}")
        self.interval_s = interval_s
        self._line = KeptAlive(Endpoint.parse(url), timeout_s)
        self._body = os.urandom(probe_bytes)  # nothing on the way can compress it

    def read(self) -> Mapping[str, float]:
        rtt_s = min(self._line.exchange("GET", "/health")[0] for _ in range(_PINGS))
        seconds, answer = self._line.exchange("POST", _PATH, self._body)
        transfer_s = max(seconds - rtt_s - self._server_s(answer), 0.1 * seconds)
        return {"bandwidth_kbps": len(self._body) * 8 / transfer_s / 1e3}

    def close(self) -> None:
        self._line.close()

    def _server_s(self, answer: bytes) -> float:
        try:
            fields = json.loads(answer)
            received, server_s = int(fields["received_bytes"]), float(fields["server_s"])
        except (ValueError, TypeError, KeyError):
            raise TelemetryError(f"POST {_PATH}: not a probe's answer: {answer[:100]!r}") from None
        if received != len(self._body):
            raise TelemetryError(f"POST {_PATH}: the cloud counted {received} bytes of {len(self._body)}")
        if not server_s >= 0.0:
            raise TelemetryError(f"POST {_PATH}: the cloud says it took {server_s} s")
        return server_s
