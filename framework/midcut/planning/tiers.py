"""Predictors of the parts between link and cloud on three tiers, made of the same components as those of two tiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midcut.types import Observation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.protocols import LatencyPredictor
    from midcut.types import Floats, Placements

SECOND: Final[Mapping[str, str]] = {"bandwidth_kbps": "second_bandwidth_kbps", "ping_ms": "second_ping_ms"}
"""Field of the first hop -> the same field of the second one."""

OF_THE_CLOUD: Final = ("cloud_load", "cloud_price_usd_per_hour", "cloud_price_slope_usd_per_hour")
"""Fields that a cloud gives, and that a relay passes on."""


class MiddlePredictor:
    """A relay's seconds: a tail from its first cut, without the tail from where it stops.

    Args:
        from_start, from_stop: predictors of tails on that machine, from the first and from the second cut on.
    """

    def __init__(self, from_start: LatencyPredictor, from_stop: LatencyPredictor) -> None:
        self._from_start, self._from_stop = from_start, from_stop
        self.needs = from_start.needs | from_stop.needs
        self.based_on = str(getattr(from_start, "based_on", ""))

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`."""
        seconds: Floats = np.maximum(self._from_start.seconds(observation) - self._from_stop.seconds(observation), 0.0)
        return seconds


class SecondLinkPredictor:
    """A link's predictor that is given bandwidth and ping of the second hop.

    Args:
        predictor: made for the second hop.
        onward: its placements. Where none of them passes anything on, nothing is needed, and all seconds are 0.
    """

    def __init__(self, predictor: LatencyPredictor, onward: Placements) -> None:
        self._predictor = predictor
        self._nothing = np.zeros(len(onward)) if onward.on_edge.all() else None
        needs = frozenset[str]() if self._nothing is not None else predictor.needs
        self.needs = frozenset(SECOND.get(name, name) for name in needs)

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`."""
        if self._nothing is not None:
            return self._nothing
        return self._predictor.seconds(second_hop(observation))


def second_hop(observation: Observation) -> Observation:
    """The observation with bandwidth and ping of the second hop in place of the first hop's.

    How long that link pauses is not known.
    """
    others = observation.others
    values: dict[str, Any] = {name: others.get(second) for name, second in SECOND.items()}
    return Observation(**values, clock_mhz=observation.clock_mhz, at_s=observation.at_s, others=others)
