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
from midcut.wire.rate_estimate import LinkRate
from midcut.wire.tcp import arrival_s, rate_kbps, starts_slowly
from midcut_telemetry.config import Estimate
from midcut_telemetry.tcp_ping import TcpPing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.types import RunningExchange, Transfer

_CONNECT_S: Final = 2.0
# A measured round trip is taken as the present one for this long.
_RECENT_S: Final = 3.0
# HTTP at both ends and waiting for a core take 0.5 to 10 ms, as part of an exchange or when the cloud reads a body. Of
# a transfer that should take less than this they are too much to call it a measurement.
_SHORT_S: Final = 0.02
_SHORT_ARRIVAL_S: Final = 0.004
# Whatever took this long was limited by the link.
_CLEAR_S: Final = 0.04
# Of so many exchanges one was not delayed.
_FEW: Final = 5


class _Sample(NamedTuple):
    """One exchange.

    Attributes:
        ended_at_s: when it ended, by the monotonic clock: the time of day may be set meanwhile.
        pause_s: the idle time of its connection before: 0 where it does not matter, inf on a new connection.
    """

    transfer: Transfer
    ended_at_s: float
    pause_s: float

    @property
    def size(self) -> int:
        return self.transfer.sent_bytes + self.transfer.received_bytes

    @property
    def seconds(self) -> float:
        return self.transfer.wall_s - self.transfer.server_s


class _RoundTrip(NamedTuple):
    """What is subtracted from every exchange: the seconds of a round trip, and the bytes that were sent in them."""

    seconds: float
    size: int = 0


class _Rate(NamedTuple):
    """The bandwidth that one exchange shows.

    The kernel's delivery rate is not used: on a constant link it reads up to 2.5 times the truth, also where it is not
    app-limited, because it is the rate of a burst.

    Attributes:
        ended_at_s: when the exchange ended, by the monotonic clock.
        kbps: corrected for slow start.
        plain_kbps: bits per second, uncorrected.
        kbit, seconds: what was transferred and how long it took, the round trip subtracted.
        fresh: the connection was new.
        by_arrival: the cloud told how the body arrived.
        has_tcp_info: the kernel gave its figures.
    """

    ended_at_s: float
    kbps: float
    plain_kbps: float
    kbit: float
    seconds: float
    fresh: bool
    by_arrival: bool
    has_tcp_info: bool


class PassiveBandwidth:
    """Estimates from the last exchanges how fast the link carries requests.

    Where the cloud tells how a request's body arrived, that is the measure: no delay at either end is part of it. Where
    the cloud does not, where too little of the body came after the first pieces, or where an exchange took over 20 ms
    longer than that explains, it is (sent + received) * 8 / (wall - server - round trip). A proxy that collects a body
    before it passes it on makes an arrival much shorter than its exchange, which is recognised by that.

    The round trip is the first of these that is known:

    1. the configured one;
    2. the shortest small exchange of the last 3 s, whose bytes are subtracted as well, and whose HTTP overhead is;
    3. telemetry's ping, which the forecast adds again;
    4. a TCP connect to `url`;
    5. the kernel's `min_rtt`. It comes late because the kernel holds it for 5 minutes: it is too short where the way
       has become longer. The kernel's `rtt` is not used, since it grows with the connection's own queue (from 20 to
       179 ms in one upload of 1 MB at 10 Mbit/s);
    6. 0, which makes the result a lower bound.

    The slow start of a connection is corrected for. Transfers on a new connection count only if there are no others.
    Transfers that the link should do within 4 ms, or within 20 ms where only the whole exchange was timed, are no
    measurement where the kernel gives its figures: they only show that the link is no slower, and a probe measures such
    a link better.

    With `decay` all of the last exchanges count, as `midcut.wire.rate_estimate.LinkRate` weighs them, and the value
    goes on changing between reads (`present`): back to the long-run mean with time, and down while an exchange takes
    longer than was estimated. With `median` and `ewma` the newest count, until they add up to `enough_s` of transfer,
    so that one long upload is enough to notice a link that became slow. A read gives a value only if an exchange was
    made since the last one, so that the value's age is true.

    Attributes:
        max_age_s: `forget_s`: a value is valid no longer than its exchanges; after that other sources are used.

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
        self._connects: deque[tuple[float, float]] = deque(maxlen=10)
        self._estimate, self._forget_s, self._enough_s = estimate, forget_s, enough_s
        self._restarts_slowly = starts_slowly(slow_start)
        self._large: deque[_Sample] = deque(maxlen=window)
        self._small: deque[_Sample] = deque(maxlen=max(window, 20))
        self._ended_at_s = -math.inf
        self._has_new = False
        self._rate, self._overhead_s = LinkRate(), 0.0
        self._lock = threading.Lock()

    def transferred(self, transfer: Transfer) -> None:
        """Record one exchange; one that took no time, or less than a round trip, is ignored."""
        ended_at_s = time.monotonic() - max(time.time() - transfer.at_s, 0.0)
        idle_s = ended_at_s - transfer.wall_s - self._ended_at_s
        self._ended_at_s = ended_at_s
        pause_s = math.inf if transfer.fresh else max(idle_s, 0.0) if self._restarts_slowly else 0.0
        sample = _Sample(transfer, ended_at_s, pause_s)
        # What a cloud reports as its own seconds may be anything, but nothing is faster than a round trip.
        if sample.seconds <= (0.0 if transfer.tcp is None else transfer.tcp.min_rtt_s):
            return
        with self._lock:
            if sample.size <= self._small_bytes:
                self._small.append(sample)
            if sample.size >= self._min_bytes:
                self._large.append(sample)
                self._has_new = True

    def read(self) -> Mapping[str, float]:
        now = time.monotonic()
        decays = self._estimate is Estimate.decay
        with self._lock:
            large = sorted(self._large, key=lambda sample: sample.ended_at_s)
            if not decays or (large and large[-1].ended_at_s < now - self._forget_s):
                large = [sample for sample in large if sample.ended_at_s >= now - self._forget_s]
            small = [sample for sample in self._small if sample.ended_at_s >= now - _RECENT_S]
            has_new, self._has_new = self._has_new, False
        if not (has_new and large):
            return {}
        known = self._rtt_s is not None or small or all(sample.transfer.ping_s is not None for sample in large)
        connect_s = None if known else self._recent_connect_s(now)
        trips = [self._round_trip(sample, small, connect_s) for sample in large]
        usable = _usable([_rate_of(sample, trip) for sample, trip in zip(large, trips, strict=True)])
        if not usable:
            return {}
        if decays:
            overhead_s = trips[-1].seconds + large[-1].transfer.server_s
            return {"bandwidth_kbps": self._estimate_from(usable, overhead_s, now)}
        kbps = [rate.kbps for rate in self._newest(usable)]
        return {"bandwidth_kbps": statistics.median(kbps) if self._estimate is Estimate.median else _ewma(kbps)}

    def present(self, running: Sequence[RunningExchange]) -> Mapping[str, float]:
        """What the last read's bandwidth is by now; empty where the estimate does not change between reads."""
        if self._estimate is not Estimate.decay:
            return {}
        with self._lock:
            return self._bandwidth(time.monotonic(), running)

    def close(self) -> None:
        """Nothing to close."""

    def _estimate_from(self, rates: Sequence[_Rate], overhead_s: float, now: float) -> float:
        with self._lock:
            self._overhead_s = overhead_s
            self._rate.clear()
            for rate in rates:
                self._rate.add(rate.ended_at_s, rate.kbps)
            return self._bandwidth(now, ())["bandwidth_kbps"]

    def _bandwidth(self, now: float, running: Sequence[RunningExchange]) -> Mapping[str, float]:
        # Round trip and cloud take their share of a running exchange too.
        sent = [
            (exchange.began_at_s + self._overhead_s, exchange.sent_bytes * 8 / 1e3)
            for exchange in running
            if exchange.sent_bytes >= self._min_bytes
        ]
        log_kbps = self._rate.log_kbps(now, sent)
        return {} if log_kbps is None else {"bandwidth_kbps": math.exp(log_kbps)}

    def _round_trip(self, sample: _Sample, small: Sequence[_Sample], connect_s: float | None) -> _RoundTrip:
        if self._rtt_s is not None:
            return _RoundTrip(self._rtt_s)
        if small:
            shortest = min(small, key=lambda exchange: exchange.seconds)
            return _RoundTrip(shortest.seconds, shortest.size)
        if (ping_s := sample.transfer.ping_s if sample.transfer.ping_s is not None else connect_s) is not None:
            return _RoundTrip(ping_s)
        return _RoundTrip(0.0 if sample.transfer.tcp is None else sample.transfer.tcp.min_rtt_s)

    def _recent_connect_s(self, now: float) -> float | None:
        """The shortest recent connect, with a new one at most every `interval_s`; None where there is none."""
        if self._ping is not None and (not self._connects or now - self._connects[-1][0] >= self.interval_s):
            with suppress(TelemetryError):  # the recent ones stay valid
                self._connects.append((now, self._ping.read()["ping_ms"] / 1e3))
        return min((seconds for at_s, seconds in self._connects if at_s >= now - _RECENT_S), default=None)

    def _newest(self, rates: Sequence[_Rate]) -> Sequence[_Rate]:
        seconds = 0.0
        for at in range(len(rates) - 1, -1, -1):
            seconds += rates[at].seconds
            if seconds >= self._enough_s:
                return rates[at:]
        return rates


def _rate_of(sample: _Sample, round_trip: _RoundTrip) -> _Rate:
    # The round trip may have been longer when it was measured: at least a tenth of the seconds must remain.
    seconds = max(sample.seconds - round_trip.seconds, 0.1 * sample.seconds)
    size = max(sample.size - round_trip.size, 1)
    by_arrival_s = None
    if sample.transfer.arrival is not None and sample.transfer.arrival.seconds <= sample.seconds:
        by_arrival_s = arrival_s(sample.transfer.arrival, size, seconds, round_trip.seconds, sample.pause_s)
    seconds = seconds if by_arrival_s is None else by_arrival_s
    plain_kbps = size * 8 / seconds / 1e3
    kbps = plain_kbps if by_arrival_s else rate_kbps(size, seconds, round_trip.seconds, sample.pause_s)
    return _Rate(
        sample.ended_at_s,
        kbps,
        plain_kbps,
        size * 8 / 1e3,
        seconds,
        sample.transfer.fresh,
        by_arrival_s is not None,
        sample.transfer.tcp is not None,
    )


def _usable(rates: Sequence[_Rate]) -> Sequence[_Rate]:
    """The rates of long transfers; of these, the ones on connections that were not new, if there are any."""
    fastest_kbps = max(rate.plain_kbps for rate in rates)
    short_s = _SHORT_S if len(rates) >= _FEW else _CLEAR_S

    def is_long(rate: _Rate) -> bool:
        # The expected time decides, not the measured one: that would select the transfers that were slow by chance.
        least_s = _SHORT_ARRIVAL_S if rate.by_arrival else short_s
        return rate.kbit / fastest_kbps >= least_s or rate.seconds >= _CLEAR_S

    long = [rate for rate in rates if is_long(rate)]
    # Without TCP_INFO (before Linux 4.9) this may be the only source, so short transfers have to do.
    usable = long or [rate for rate in rates if not rate.has_tcp_info]
    return _undelayed([rate for rate in usable if not rate.fresh] or usable)


def _undelayed(rates: Sequence[_Rate]) -> Sequence[_Rate]:
    """The same with the median of the last few short transfers for each of these: one of them may have been delayed."""
    last_kbps: deque[float] = deque(maxlen=_FEW)
    medians = []
    for rate in rates:
        if rate.seconds < _CLEAR_S:
            last_kbps.append(rate.kbps)
        medians.append(rate._replace(kbps=statistics.median(last_kbps)) if rate.seconds < _CLEAR_S else rate)
    return medians


def _ewma(rates: Sequence[float]) -> float:
    weight = 2.0 / (len(rates) + 1)
    value = rates[0]
    for rate in rates[1:]:
        value += weight * (rate - value)
    return value
