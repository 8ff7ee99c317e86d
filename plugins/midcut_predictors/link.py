"""Seconds between edge and cloud."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ConfigError
from midcut.terms import SlowStart
from midcut.wire.tcp import INITIAL_WINDOW, SEGMENT_BYTES, starts_slowly, window_bytes
from midcut_predictors.fields import not_negative, positive

if TYPE_CHECKING:
    from midcut.types import Floats, Observation, Placements

NEEDS = frozenset({"bandwidth_kbps", "ping_ms"})


class Eq3:
    """OS(SP) * 8 / (1000 * BW) + PL / (2 * 1000) (Luger, Aral, Brandic 2023, Eq. 3)."""

    needs = NEEDS

    def __init__(self, placements: Placements, *, all_edge_pays_link: bool = True) -> None:
        pays = np.ones(len(placements)) if all_edge_pays_link else (~placements.on_edge).astype(np.float64)
        self._bits = placements.payload_bytes * 8 * pays
        self._pays = pays

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`."""
        bandwidth_kbps, ping_ms = positive(observation, "bandwidth_kbps"), not_negative(observation, "ping_ms")
        seconds: Floats = self._bits / (1000 * bandwidth_kbps) + self._pays * (ping_ms / (2 * 1000))
        return seconds


class RoundTrip:
    """What is really sent: (request * 8) / (1000 * BW) + (reply * 8) / (1000 * downlink) + PL / 1000 + overhead.

    Encoding and headers are in the bytes; the codec's own seconds are added. A placement that sends nothing takes none.
    Where TCP starts slowly, what `midcut.wire.tcp.slow_start_s` says of the request comes on top; with `auto` by
    how long the observation says that requests pause.
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
        self._reply_s = None if downlink_kbps is None else down / downlink_kbps
        self._request_bytes = sends * placements.request_bytes
        self._initial_bytes = initial_window * SEGMENT_BYTES
        self._by_pause = slow_start is SlowStart.auto
        self._rounds = _Rounds(self._request_bytes, self._initial_bytes) if starts_slowly(slow_start) else None

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`."""
        bandwidth_kbps, ping_ms = positive(observation, "bandwidth_kbps"), not_negative(observation, "ping_ms")
        seconds: Floats = self._kbit / bandwidth_kbps + self._sends * (ping_ms / 1000) + self._fixed_s
        if self._reply_s is not None:
            seconds = seconds + self._reply_s
        if self._rounds is None:
            return seconds
        rounds: _Rounds | None = self._rounds
        if self._by_pause and observation.pause_s is not None and isinstance(bandwidth_kbps, float):
            rounds = self._after_pause(observation.pause_s, bandwidth_kbps, float(ping_ms) / 1000)
        return seconds if rounds is None else seconds + rounds.seconds(bandwidth_kbps, ping_ms / 1000)

    def _after_pause(self, pause_s: float, bandwidth_kbps: float, rtt_s: float) -> _Rounds | None:
        window = window_bytes(pause_s, bandwidth_kbps, rtt_s, self._initial_bytes)
        if window == math.inf:
            return None
        return self._rounds if window == self._initial_bytes else _Rounds(self._request_bytes, window)


class _Rounds:
    """Slow start of many bodies at once: `midcut.wire.tcp.slow_start_s`.

    Args:
        size_bytes: shape (P,).
        window_bytes: what the first round trip takes.
    """

    def __init__(self, size_bytes: Floats, window_bytes: float) -> None:
        rounds = math.ceil(math.log2(float(size_bytes.max(initial=0.0)) / window_bytes + 1))
        window = window_bytes * 2.0 ** np.arange(rounds)
        self._window_kbit = window * 8 / 1000
        # Before round i window_bytes * (2**i - 1) are sent; it waits where more is left than it takes.
        self._more = (size_bytes > (2 * window - window_bytes)[:, None]).astype(np.float64)

    def seconds(self, bandwidth_kbps: Any, rtt_s: Any) -> Floats:
        """Shape (..., P), for numbers or columns of shape (..., 1)."""
        waits_s = np.maximum(rtt_s - self._window_kbit / bandwidth_kbps, 0.0)
        waited_s: Floats = waits_s @ self._more
        return waited_s
