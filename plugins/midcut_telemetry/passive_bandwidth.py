"""Bandwidth from the requests themselves."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from midcut.errors import ConfigError, TelemetryError
from midcut_telemetry.config import Estimate
from midcut_telemetry.tcp_ping import TcpPing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.types import Transfer

_CONNECT_S = 2.0


class PassiveBandwidth:
    """Estimates (sent + received) * 8 / (wall - server - round trip) over the last exchanges.

    The round trip is the configured one, else the shortest of the small exchanges, else a TCP connect to `url`,
    else 0, which makes the figure a lower bound. A read gives a value only when an exchange was made since the last
    one, so that the value's age is true.

    Attributes:
        max_age_s: `forget_s`: a figure counts no longer than the exchanges it was made from, then other sources do.

    Raises:
        ConfigError: `window` is not over 0.
    """

    def __init__(
        self,
        url: str | None,
        min_bytes: int,
        small_bytes: int,
        rtt_ms: float | None,
        window: int,
        estimate: Estimate,
        forget_s: float,
        interval_s: float,
    ) -> None:
        if window < 1:
            raise ConfigError(f"telemetry.passive_bandwidth.window must be over 0, got {window}")
        self.interval_s, self.max_age_s = interval_s, forget_s
        self._min_bytes, self._small_bytes = min_bytes, small_bytes
        self._rtt_s = None if rtt_ms is None else rtt_ms / 1e3
        self._ping = None if url is None else TcpPing(url, samples=1, timeout_s=_CONNECT_S, interval_s=interval_s)
        self._estimate, self._forget_s = estimate, forget_s
        self._large: deque[Transfer] = deque(maxlen=window)
        self._small: deque[Transfer] = deque(maxlen=max(window, 20))
        self._new = False
        self._lock = threading.Lock()

    def transferred(self, transfer: Transfer) -> None:
        """Take note of one exchange; one that took no time counts for nothing."""
        if _exchange_s(transfer) <= 0.0:
            return
        with self._lock:
            if _size(transfer) <= self._small_bytes:
                self._small.append(transfer)
            if _size(transfer) >= self._min_bytes:
                self._large.append(transfer)
                self._new = True

    def read(self) -> Mapping[str, float]:
        since = time.time() - self._forget_s
        with self._lock:
            large = [transfer for transfer in self._large if transfer.at_s >= since]
            small = [transfer for transfer in self._small if transfer.at_s >= since]
            new, self._new = self._new, False
        if not (new and large):
            return {}
        rtt_s = self._round_trip_s(small)
        rates = [_rate_kbps(transfer, rtt_s) for transfer in large]
        return {"bandwidth_kbps": statistics.median(rates) if self._estimate is Estimate.median else _ewma(rates)}

    def close(self) -> None:
        """Nothing is held open."""

    def _round_trip_s(self, small: Sequence[Transfer]) -> float:
        if self._rtt_s is not None:
            return self._rtt_s
        if small or self._ping is None:
            return min(map(_exchange_s, small), default=0.0)
        try:
            return self._ping.read()["ping_ms"] / 1e3
        except TelemetryError:
            return 0.0


def _size(transfer: Transfer) -> int:
    return transfer.sent_bytes + transfer.received_bytes


def _exchange_s(transfer: Transfer) -> float:
    return transfer.wall_s - transfer.server_s


def _rate_kbps(transfer: Transfer, rtt_s: float) -> float:
    # A round trip that was longer when it was measured than now must not leave nothing.
    seconds = max(_exchange_s(transfer) - rtt_s, 0.1 * _exchange_s(transfer))
    return _size(transfer) * 8 / seconds / 1e3


def _ewma(rates: Sequence[float]) -> float:
    weight = 2.0 / (len(rates) + 1)
    value = rates[0]
    for rate in rates[1:]:
        value += weight * (rate - value)
    return value
