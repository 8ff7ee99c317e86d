"""What cutting gains: latency and cost against running everything at the edge, at a relay, and in the cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from midcut.types import LATENCY_AND_COST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.types import Floats, Forecast

EDGE_ONLY, RELAY_ONLY, CLOUD_ONLY = "edge-only", "relay-only", "cloud-only"


class Gain(Struct, frozen=True):
    """How much faster and cheaper something is than an alternative: 0.25 is a quarter less, negative is more."""

    latency: float
    cost: float

    def __str__(self) -> str:
        return f"{_words(self.latency, 'faster', 'slower')} and {_words(self.cost, 'cheaper', 'costlier')}"


def alternatives(forecast: Forecast) -> dict[str, dict[str, float]]:
    """Latency and cost forecast for all on one tier, by the fastest codecs; of the tiers that are on offer for that.

    A cloud behind a relay runs everything where the relay passes the input on as it came.
    """
    placements = forecast.placements
    ends = {EDGE_ONLY: placements.on_edge, CLOUD_ONLY: placements.cut == 0}
    if placements.onward is not None:
        ends[RELAY_ONLY] = ends[CLOUD_ONLY] & placements.onward.on_edge
        ends[CLOUD_ONLY] = ends[CLOUD_ONLY] & (placements.onward.cut == 0)
    found = {}
    for name, places in ends.items():
        if places.any():
            index = int(np.where(places, forecast.latency_s, np.inf).argmin())
            found[name] = {"latency_s": float(forecast.latency_s[index]), "cost_usd": float(forecast.cost_usd[index])}
    return found


class MeanGains:
    """The gains of many requests together, in little memory however many they are."""

    def __init__(self) -> None:
        self._sums: dict[str, Floats] = {}

    def add(self, used: Mapping[str, float], others: Mapping[str, Mapping[str, float]]) -> None:
        """Count one request.

        Args:
            used: the forecast of the placement in use, `latency_s` and `cost_usd`.
            others: those of the alternatives at that moment, by name.
        """
        for name, other in others.items():
            both = np.array([[forecast[column] for column in LATENCY_AND_COST] for forecast in (used, other)])
            self._sums[name] = self._sums.get(name, 0.0) + both

    def gains(self) -> dict[str, Gain]:
        """The gain over each alternative that there was."""
        names = [name for name in (EDGE_ONLY, RELAY_ONLY, CLOUD_ONLY) if name in self._sums]
        return {name: Gain(*map(_less, *self._sums[name].tolist())) for name in names}


def gains_text(gains: Mapping[str, Gain]) -> str:
    """The gains in one line, `""` where there are none."""
    return "; ".join(f"{gain} than {name}" for name, gain in gains.items())


def _less(value: float, other: float) -> float:
    return 1.0 - value / other if other > 0.0 else 0.0


def _words(share: float, less: str, more: str) -> str:
    if abs(share) < 0.0005:
        return f"not {less}"
    # Against half as much, `100 % slower` says more than `-1.0`.
    return f"{share:.1%} {less}" if share > 0.0 else f"{-share:.1%} {more}"
