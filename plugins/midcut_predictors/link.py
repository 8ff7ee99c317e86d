"""Predictors of the seconds between edge and cloud."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ConfigError
from midcut.planning import bandwidth_field, non_negative_field, positive_field
from midcut.terms import SlowStart
from midcut.wire.tcp import INITIAL_WINDOW, SEGMENT_BYTES, starts_slowly, window_bytes

if TYPE_CHECKING:
    from midcut.types import Floats, Observation, Placements

NEEDS = frozenset({"bandwidth_kbps", "ping_ms"})


class Eq3:
    """Link latency OS(SP) * 8 / (1000 * BW) + PL / (2 * 1000) (Luger, Aral, Brandic 2023, Eq. 3)."""

    needs = NEEDS

    def __init__(self, placements: Placements, *, all_edge_pays_link: bool = True) -> None:
        pays = np.ones(len(placements)) if all_edge_pays_link else (~placements.on_edge).astype(np.float64)
        self._bits = placements.payload_bytes * 8 * pays
        self._pays = pays

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`."""
        bandwidth_kbps, ping_ms = (
            bandwidth_field(observation),
            non_negative_field(observation, "ping_ms"),
        )
        seconds: Floats = self._bits / (1000 * bandwidth_kbps) + self._pays * (ping_ms / (2 * 1000))
        return seconds


class RoundTrip:
    """Link latency (request * 8) / (1000 * BW) + (reply * 8) / (1000 * downlink) + PL / 1000 + overhead.

    Request and reply are the bytes really sent, with encoding and headers; the codec's own seconds are added, those of
    encoding at the observed clock where it and the clock of their measurement are known. A placement that sends nothing
    takes 0 s. With slow start, `midcut.wire.tcp.slow_start_s` of the request is added;
    with `auto` it depends on the pause in the observation.
    """

    needs = NEEDS

    def __init__(
        self,
        placements: Placements,
        downlink_kbps: float | None = None,
        overhead_s: float = 0.0,
        slow_start: SlowStart = SlowStart.never,
        initial_window: int = INITIAL_WINDOW,
    ) -> None:
        if downlink_kbps is not None and not 0.0 < downlink_kbps < math.inf:
            raise ConfigError(f"predictor.link.downlink_kbps must be greater than 0 or null, got {downlink_kbps}")
        if not 0.0 <= overhead_s < math.inf:
            raise ConfigError(f"predictor.link.overhead_s must be 0 or more, got {overhead_s}")
        if initial_window < 1:
            raise ConfigError(f"predictor.link.initial_window must be 1 or more, got {initial_window}")
        sends = (~placements.on_edge).astype(np.float64)
        up, down = (sends * size * 8 / 1000 for size in (placements.request_bytes, placements.reply_bytes))
        self._sends = sends
        self._kbit = up + down if downlink_kbps is None else up
        self._fixed_s = sends * (placements.codec_s + overhead_s)
        self._encode_s, self._encode_mhz_s = sends * placements.encode_s, sends * placements.encode_mhz_s
        self._encodes = bool(self._encode_mhz_s.any())
        self._reply_s = None if downlink_kbps is None else down / downlink_kbps
        self._request_bytes = sends * placements.request_bytes
        self._initial_bytes = initial_window * SEGMENT_BYTES
        self._depends_on_pause = slow_start is SlowStart.auto
        self._rounds = _SlowStartRounds(self._request_bytes, self._initial_bytes) if starts_slowly(slow_start) else None

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`."""
        bandwidth_kbps, ping_ms = (
            bandwidth_field(observation),
            non_negative_field(observation, "ping_ms"),
        )
        seconds: Floats = self._kbit / bandwidth_kbps + self._sends * (ping_ms / 1000) + self._fixed_s
        if self._encodes and observation.clock_mhz is not None:
            seconds = seconds + (self._encode_mhz_s / positive_field(observation, "clock_mhz") - self._encode_s)
        if self._reply_s is not None:
            seconds = seconds + self._reply_s
        if self._rounds is None:
            return seconds
        rounds: _SlowStartRounds | None = self._rounds
        if self._depends_on_pause and observation.pause_s is not None and isinstance(bandwidth_kbps, float):
            rounds = self._rounds_after(observation.pause_s, bandwidth_kbps, float(ping_ms) / 1000)
        return seconds if rounds is None else seconds + rounds.seconds(bandwidth_kbps, ping_ms / 1000)

    def _rounds_after(self, pause_s: float, bandwidth_kbps: float, rtt_s: float) -> _SlowStartRounds | None:
        window = window_bytes(pause_s, bandwidth_kbps, rtt_s, self._initial_bytes)
        if window == math.inf:
            return None
        return self._rounds if window == self._initial_bytes else _SlowStartRounds(self._request_bytes, window)


class _SlowStartRounds:
    """`midcut.wire.tcp.slow_start_s` for many bodies at once.

    Args:
        size_bytes: shape (P,).
        window_bytes: the bytes that are sent in the first round trip.
    """

    def __init__(self, size_bytes: Floats, window_bytes: float) -> None:
        rounds = math.ceil(math.log2(float(size_bytes.max(initial=0.0)) / window_bytes + 1))
        window = window_bytes * 2.0 ** np.arange(rounds)
        self._window_kbit = window * 8 / 1000
        # Before round i, window_bytes * (2**i - 1) have been sent. A round waits if more is left than its window.
        self._more = (size_bytes > (2 * window - window_bytes)[:, None]).astype(np.float64)

    def seconds(self, bandwidth_kbps: Any, rtt_s: Any) -> Floats:
        """Seconds of waiting, shape (..., P), for numbers or columns of shape (..., 1)."""
        waits_s = np.maximum(rtt_s - self._window_kbit / bandwidth_kbps, 0.0)
        waited_s: Floats = waits_s @ self._more
        return waited_s
