"""Bandwidth from the requests themselves."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from midcut.errors import ConfigError, TelemetryError
from midcut.terms import SlowStart
from midcut.wire.tcp import better_kbps, rate_kbps, starts_slowly
from midcut_telemetry.config import Estimate
from midcut_telemetry.tcp_ping import TcpPing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.types import Transfer

_CONNECT_S: Final = 2.0
# A round trip tells of now for so long.
_NOW_S: Final = 3.0
# HTTP at both ends takes 1 to 3 ms: of a shorter transfer it is too much. So long nothing but the link takes.
_SHORT_S: Final = 0.01
_CLEAR_S: Final = 0.04
# From here on the whole body says more than the kernel, whose rate is low after a loss.
_LONG_BYTES: Final = 200_000


class _Sample(NamedTuple):
    """One exchange, and how long its connection was idle before: 0 where that does not matter, inf if it was new."""

    transfer: Transfer
    pause_s: float

    @property
    def size(self) -> int:
        return self.transfer.sent_bytes + self.transfer.received_bytes

    @property
    def seconds(self) -> float:
        return self.transfer.wall_s - self.transfer.server_s


class _Trip(NamedTuple):
    """What is taken off every exchange: seconds, and the bytes that went in them."""

    seconds: float
    size: int = 0


class _Rate(NamedTuple):
    """What one exchange tells: the rate, and plainly bits per second; `known`: the kernel says what it knows."""

    kbps: float
    plain_kbps: float
    kbit: float
    seconds: float
    fresh: bool
    known: bool


class PassiveBandwidth:
    """Estimates (sent + received) * 8 / (wall - server - round trip) over the last exchanges.

    The round trip is the configured one, else the shortest small exchange of the last 3 s (its bytes are taken off as
    well, and with it goes what HTTP takes), else telemetry's ping, which the forecast adds again, else a TCP connect
    to `url`, else the kernel's `min_rtt`, else 0, which makes the figure a lower bound. `min_rtt` comes last: the
    kernel keeps it for 5 minutes, so that it is too short where the way got longer; its `rtt` is no choice, since it
    grows with our own queue (from 20 to 179 ms in one upload of 1 MB at 10 Mbit/s).

    Where a connection started slowly, that is taken into account. Below 200 kB the kernel's rate of delivery counts
    where it is higher and not limited by us. Transfers on a new connection count only beside no others, those that
    the link should do in 10 ms not at all where there is a kernel's word: a probe knows better.

    The newest exchanges count, until they add up to `enough_s` of transfer: one long upload tells at once that the
    link became slow. A read gives a value only when an exchange was made since the last one, so that the value's age
    is true.

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
        enough_s: float = math.inf,
        slow_start: SlowStart = SlowStart.never,
    ) -> None:
        if window < 1:
            raise ConfigError(f"telemetry.passive_bandwidth.window must be over 0, got {window}")
        self.interval_s, self.max_age_s = interval_s, forget_s
        self._min_bytes, self._small_bytes = min_bytes, small_bytes
        self._rtt_s = None if rtt_ms is None else rtt_ms / 1e3
        self._ping = None if url is None else TcpPing(url, samples=1, timeout_s=_CONNECT_S, interval_s=interval_s)
        self._pings: deque[tuple[float, float]] = deque(maxlen=10)
        self._estimate, self._forget_s, self._enough_s = estimate, forget_s, enough_s
        self._restarts = starts_slowly(slow_start)
        self._large: deque[_Sample] = deque(maxlen=window)
        self._small: deque[_Sample] = deque(maxlen=max(window, 20))
        self._ended_s = -math.inf
        self._new = False
        self._lock = threading.Lock()

    def transferred(self, transfer: Transfer) -> None:
        """Take note of one exchange; one that took no time counts for nothing."""
        idle_s = transfer.at_s - transfer.wall_s - self._ended_s
        self._ended_s = transfer.at_s
        sample = _Sample(transfer, math.inf if transfer.fresh else max(idle_s, 0.0) if self._restarts else 0.0)
        if sample.seconds <= 0.0:
            return
        with self._lock:
            if sample.size <= self._small_bytes:
                self._small.append(sample)
            if sample.size >= self._min_bytes:
                self._large.append(sample)
                self._new = True

    def read(self) -> Mapping[str, float]:
        now = time.time()
        with self._lock:
            large = [sample for sample in self._large if sample.transfer.at_s >= now - self._forget_s]
            small = [sample for sample in self._small if sample.transfer.at_s >= now - _NOW_S]
            new, self._new = self._new, False
        if not (new and large):
            return {}
        told = self._rtt_s is not None or small or all(sample.transfer.ping_s is not None for sample in large)
        ping_s = None if told else self._ping_s(now)
        rates = [_rate(sample, self._trip(sample, small, ping_s)) for sample in large]
        kbps = [rate.kbps for rate in self._newest(_that_tell(rates))]
        if not kbps:
            return {}
        return {"bandwidth_kbps": statistics.median(kbps) if self._estimate is Estimate.median else _ewma(kbps)}

    def close(self) -> None:
        """Nothing is held open."""

    def _trip(self, sample: _Sample, small: Sequence[_Sample], ping_s: float | None) -> _Trip:
        if self._rtt_s is not None:
            return _Trip(self._rtt_s)
        if small:
            shortest = min(small, key=lambda one: one.seconds)
            return _Trip(shortest.seconds, shortest.size)
        if (known_s := sample.transfer.ping_s if sample.transfer.ping_s is not None else ping_s) is not None:
            return _Trip(known_s)
        return _Trip(0.0 if sample.transfer.tcp is None else sample.transfer.tcp.min_rtt_s)

    def _ping_s(self, now: float) -> float | None:
        """The shortest connect of late, with a new one at most every `interval_s`; None where there is none."""
        if self._ping is not None and (not self._pings or now - self._pings[-1][0] >= self.interval_s):
            with suppress(TelemetryError):  # the last ones stand for a while
                self._pings.append((now, self._ping.read()["ping_ms"] / 1e3))
        return min((ping_s for at_s, ping_s in self._pings if at_s >= now - _NOW_S), default=None)

    def _newest(self, rates: Sequence[_Rate]) -> Sequence[_Rate]:
        seconds = 0.0
        for at in range(len(rates) - 1, -1, -1):
            seconds += rates[at].seconds
            if seconds >= self._enough_s:
                return rates[at:]
        return rates


def _rate(sample: _Sample, trip: _Trip) -> _Rate:
    # A round trip that was longer when it was measured than now must not leave nothing.
    seconds = max(sample.seconds - trip.seconds, 0.1 * sample.seconds)
    size = max(sample.size - trip.size, 1)
    plain_kbps = size * 8 / seconds / 1e3
    kbps = rate_kbps(size, seconds, trip.seconds, sample.pause_s)
    if kbps > plain_kbps or sample.size < _LONG_BYTES:
        kbps = better_kbps(kbps, sample.transfer.tcp)
    return _Rate(kbps, plain_kbps, size * 8 / 1e3, seconds, sample.transfer.fresh, sample.transfer.tcp is not None)


def _that_tell(rates: Sequence[_Rate]) -> Sequence[_Rate]:
    """Those that took long; of them those on used connections, if there are any."""
    fastest_kbps = max(rate.plain_kbps for rate in rates)
    # By what it should have taken: those that took long by chance would be the slow ones alone.
    long = [rate for rate in rates if rate.kbit / fastest_kbps >= _SHORT_S or rate.seconds >= _CLEAR_S]
    # Without the kernel's word there may be no source but this one, as before Linux 4.9.
    told = long or [rate for rate in rates if not rate.known]
    return [rate for rate in told if not rate.fresh] or told


def _ewma(rates: Sequence[float]) -> float:
    weight = 2.0 / (len(rates) + 1)
    value = rates[0]
    for rate in rates[1:]:
        value += weight * (rate - value)
    return value
