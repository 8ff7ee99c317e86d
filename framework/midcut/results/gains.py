"""What cutting gains: latency and cost against running everything at the edge, at a relay, and in the cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from midcut.types import LATENCY_AND_COST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.types import Forecast

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


def mean_gains(pairs: Sequence[tuple[Mapping[str, float], Mapping[str, Mapping[str, float]]]]) -> dict[str, Gain]:
    """The gains of many requests together.

    Args:
        pairs: for each, the forecast of the placement in use, and those of the alternatives at that moment.
    """
    gains = {}
    for name in (EDGE_ONLY, RELAY_ONLY, CLOUD_ONLY):
        both = [(used, others[name]) for used, others in pairs if name in others]
        if both:
            used, other = (_sum(side) for side in zip(*both, strict=True))
            gains[name] = Gain(_less(used["latency_s"], other["latency_s"]), _less(used["cost_usd"], other["cost_usd"]))
    return gains


def gains_text(gains: Mapping[str, Gain]) -> str:
    """The gains in one line, `""` where there are none."""
    return "; ".join(f"{gain} than {name}" for name, gain in gains.items())


def _sum(forecasts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(forecast[name] for forecast in forecasts) for name in LATENCY_AND_COST}


def _less(value: float, other: float) -> float:
    return 1.0 - value / other if other > 0.0 else 0.0


def _words(share: float, less: str, more: str) -> str:
    if abs(share) < 0.0005:
        return f"not {less}"
    # Against half as much, `100 % slower` says more than `-1.0`.
    return f"{share:.1%} {less}" if share > 0.0 else f"{-share:.1%} {more}"
