"""Energy of the edge for one inference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from midcut.errors import ConfigError
from midcut.planning import bandwidth_field, positive_field
from midcut.profiles import Role, find_profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.types import Floats, Forecast, Observation, Placements


class RadioPower(NamedTuple):
    """Power of a radio while it sends or receives: alpha * throughput + beta.

    Attributes:
        up, down: milliwatts for each Mbit/s.
        base: milliwatts at any throughput.
    """

    up: float
    down: float
    base: float


RADIOS: Final = {
    "none": RadioPower(0.0, 0.0, 0.0),
    "wifi": RadioPower(283.17, 137.01, 132.86),
    "lte": RadioPower(438.39, 51.97, 1288.04),
    "3g": RadioPower(868.98, 122.12, 817.88),
}
"""Huang et al. (2012), "A close examination of performance and power characteristics of 4G LTE networks", Table 4."""


class Energy:
    """Computation at the power of the clock, bits at the power of the radio (Kang et al. 2017).

    edge_s * busy_w(clock) + (link_s + cloud_s) * wait_w + sending_s * up_w + receiving_s * down_w + tail. Sending and
    receiving are bits over bandwidth: ping and codec are part of the link's seconds, but do not occupy the radio.
    """

    column = "energy_j"

    def __init__(
        self,
        placements: Placements,
        radio: str = "wifi",
        busy_w: Sequence[float] = (5.0,),
        clocks_mhz: Sequence[float] = (),
        profile: str | None = None,
        wait_w: float = 0.0,
        tail_s: float = 0.0,
        tail_w: float = 0.0,
        downlink_kbps: float | None = None,
    ) -> None:
        if radio not in RADIOS:
            raise ConfigError(f"objective.energy.radio must be one of {', '.join(RADIOS)}, got {radio!r}")
        for name, value in (("wait_w", wait_w), ("tail_s", tail_s), ("tail_w", tail_w)):
            _check_power(name, value)
        if downlink_kbps is not None and not 0.0 < downlink_kbps < math.inf:
            raise ConfigError(f"objective.energy.downlink_kbps must be over 0 or null, got {downlink_kbps}")
        if profile is not None:
            clocks_mhz, busy_w = measured_power(profile, placements.model)
        self._clocks_mhz, self._busy_w = _power_by_clock(clocks_mhz, busy_w)
        self._radio = RADIOS[radio]
        self._wait_w, self._tail_s, self._tail_w = wait_w, tail_s, tail_w
        self._downlink_kbps = downlink_kbps
        by_clock = {"clock_mhz"} if len(self._clocks_mhz) > 1 else set[str]()
        self.needs = frozenset(by_clock | ({"bandwidth_kbps"} if radio != "none" else set[str]()))

    def values(self, forecast: Forecast, observation: Observation) -> Floats:
        """See `midcut.protocols.Objective`."""
        energy_j: Floats = forecast.edge_s * self._power_at(observation)
        if "bandwidth_kbps" in self.needs:
            energy_j = energy_j + self._radio_j(forecast.placements, observation)
        if self._wait_w:
            energy_j = energy_j + forecast.away_s * self._wait_w
        if self._tail_w:
            pause_s = observation.pause_s
            tail_s = self._tail_s if pause_s is None else min(self._tail_s, pause_s)
            energy_j = energy_j + ~forecast.placements.on_edge * (tail_s * self._tail_w)
        return energy_j

    def _power_at(self, observation: Observation) -> Any:
        """Watts at the observed clock: a number, or a column."""
        if "clock_mhz" not in self.needs:
            return self._busy_w[0]
        return np.interp(positive_field(observation, "clock_mhz"), self._clocks_mhz, self._busy_w)

    def _radio_j(self, placements: Placements, observation: Observation) -> Floats:
        """Joules for sending and receiving: megabits times (alpha + beta / throughput), in mW per Mbit/s and mW."""
        up_kbps = bandwidth_field(observation)
        down_kbps = up_kbps if self._downlink_kbps is None else self._downlink_kbps
        up_w, down_w = (
            (slope * kbps / 1000 + self._radio.base) / 1000
            for slope, kbps in ((self._radio.up, up_kbps), (self._radio.down, down_kbps))
        )
        up_s, down_s = placements.request_bytes * 8 / 1000 / up_kbps, placements.reply_bytes * 8 / 1000 / down_kbps
        joules: Floats = ~placements.on_edge * (up_s * up_w + down_s * down_w)
        return joules


def measured_power(profile: str, model: str) -> tuple[list[float], list[float]]:
    """Clocks and watts of the runs of an edge profile whose power was measured.

    Raises:
        ConfigError: none was.
        FileError: there is no such profile.
    """
    runs = [run for run in find_profile(profile, Role.edge, model).runs if run.power_w is not None]
    if not runs:
        raise ConfigError(
            f"objective.energy.profile={profile}: no run of it has a measured power; "
            f"measure it with `midcut profile model={model} power=true`, or give objective.energy.busy_w"
        )
    pairs = sorted({run.clock_mhz or 0.0: run.power_w or 0.0 for run in runs}.items())
    return ([mhz for mhz, _ in pairs] if len(pairs) > 1 else []), [watts for _, watts in pairs]


def _power_by_clock(clocks_mhz: Sequence[float], busy_w: Sequence[float]) -> tuple[Floats, Floats]:
    if len(busy_w) != max(len(clocks_mhz), 1):
        raise ConfigError(
            f"objective.energy.busy_w has {len(busy_w)} values for {len(clocks_mhz)} clocks_mhz; "
            "give one value for each clock, or a single value without clocks"
        )
    for watts in busy_w:
        _check_power("busy_w", watts)
    clocks = np.array(clocks_mhz, dtype=np.float64)
    if clocks.size and not (np.isfinite(clocks).all() and clocks[0] > 0.0 and (np.diff(clocks) > 0.0).all()):
        raise ConfigError(f"objective.energy.clocks_mhz must be over 0 and ascending, got {list(clocks_mhz)}")
    return clocks, np.array(busy_w, dtype=np.float64)


def _check_power(name: str, value: float) -> None:
    if not 0.0 <= value < math.inf:
        raise ConfigError(f"objective.energy.{name} must be a finite number, 0 or more, got {value}")
