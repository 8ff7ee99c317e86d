"""Round trip as the time of a small HTTP request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import wire
from midcut_telemetry.cloud import Endpoint, KeepAliveConnection
from midcut_telemetry.limits import check_timeout

if TYPE_CHECKING:
    from collections.abc import Mapping


class HttpPing:
    """Times `GET /health` on one keep-alive connection, while no request is under way; the smallest sample counts."""

    quiet = True

    def __init__(
        self,
        url: str,
        samples: int,
        timeout_s: float,
        interval_s: float,
        token_env: str | None = None,
        token_file: str | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
    ) -> None:
        self.interval_s = interval_s
        access = (token_env, token_file, tls_ca, tls_cert, tls_key)
        self._connection = KeepAliveConnection(Endpoint.parse(url), check_timeout("http_ping", timeout_s), *access)
        self._samples = max(samples, 1)

    def read(self) -> Mapping[str, float]:
        seconds = min(self._connection.exchange("GET", wire.HEALTH_PATH)[0] for _ in range(self._samples))
        return {"ping_ms": seconds * 1e3}

    def close(self) -> None:
        self._connection.close()
