"""Round trip by ICMP echo, through icmplib."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from midcut.errors import ConfigError, TelemetryError
from midcut_telemetry.cloud import Endpoint
from midcut_telemetry.limits import check_timeout

if TYPE_CHECKING:
    from collections.abc import Mapping

_GAP_S = 0.02


class IcmpPing:
    """Sends `samples` echo requests while no inference request is under way; the quickest answer counts.

    Raises:
        ConfigError: icmplib is not installed.
    """

    quiet = True

    def __init__(self, url: str, samples: int, privileged: bool, timeout_s: float, interval_s: float) -> None:
        self.interval_s = interval_s
        self._host = Endpoint.parse(url).host
        self._samples = max(samples, 1)
        self._privileged = privileged
        self._timeout_s = check_timeout("icmp_ping", timeout_s)
        self._icmplib = _import_icmplib()

    def read(self) -> Mapping[str, float]:
        try:
            host = self._icmplib.ping(
                self._host,
                count=self._samples,
                interval=_GAP_S,
                timeout=self._timeout_s,
                privileged=self._privileged,
            )
        except self._icmplib.SocketPermissionError:
            needed = "needs root or CAP_NET_RAW" if self._privileged else "needs a wider net.ipv4.ping_group_range"
            other = "privileged=false" if self._privileged else "privileged=true as root"
            raise TelemetryError(
                f"sending ICMP is not permitted: privileged={str(self._privileged).lower()} {needed}; "
                f"or use {other}, or telemetry=tcp_ping"
            ) from None
        except self._icmplib.ICMPLibError as error:
            raise TelemetryError(f"ICMP to {self._host}: {error}") from None
        if not host.rtts:
            raise TelemetryError(f"no ICMP echo from {self._host} in {self._timeout_s:g} s; try telemetry=tcp_ping")
        return {"ping_ms": float(min(host.rtts))}

    def close(self) -> None:
        """Nothing to close."""


def _import_icmplib() -> Any:
    try:
        return importlib.import_module("icmplib")
    except ImportError:
        raise ConfigError("telemetry=icmp_ping needs icmplib: pip install 'midcut[icmp]'") from None
