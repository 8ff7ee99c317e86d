"""What one of many users of a cloud weighs: delay, energy, and a price that rises with everybody's load."""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midcut.errors import ConfigError
from midcut.planning import non_negative_field
from midcut.wire.rate_estimate import RecentRate
from midcut_objectives.energy import Energy

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.types import Floats, Forecast, InferenceResult, Observation, Placement, Placements

PRICE: Final = "cloud_price_usd_per_hour"
SLOPE: Final = "cloud_price_slope_usd_per_hour"


class Sharing:
    """J = time_weight * latency_s + energy_weight * energy_j + price_weight * pay, in a column `user_cost`.

    A placement loads the cloud with x = requests a second * cloud seconds, and pays x * (price without this edge's own
    load + slope * x) dollars an hour (after Gao et al. 2021, IEEE TMC, whose equations are not public: a stand-in).
    The price that the cloud asks holds this edge's present load; it is taken out by what the requests of the last
    `window_s` took there.

    Args:
        placements: of the forecasts.
        rate_hz: requests a second; None takes the observed field, or counts.
        time_weight, energy_weight, price_weight: of a second, a joule, and a US dollar an hour.
        window_s: that of the cloud's load.
        clock: seconds that only grow.
        energy: settings of `midcut_objectives.energy.Energy`, used where energy has a weight.
    """

    column = "user_cost"

    def __init__(
        self,
        placements: Placements,
        rate_hz: float | None = None,
        time_weight: float = 1.0,
        energy_weight: float = 0.0,
        price_weight: float = 1.0,
        window_s: float = 5.0,
        clock: Callable[[], float] = monotonic,
        **energy: Any,
    ) -> None:
        weights = {"time_weight": time_weight, "energy_weight": energy_weight, "price_weight": price_weight}
        for name, weight in weights.items():
            if not 0.0 <= weight < math.inf:
                raise ConfigError(f"objective.sharing.{name} must be a finite number, 0 or more, got {weight}")
        for name, value in (("rate_hz", rate_hz), ("window_s", window_s)):
            if value is not None and not 0.0 < value < math.inf:
                raise ConfigError(f"objective.sharing.{name} must be a finite number over 0, got {value}")
        self._time_weight, self._energy_weight, self._price_weight = time_weight, energy_weight, price_weight
        self._energy = Energy(placements, **energy) if energy_weight else None
        self._rate_hz, self._clock = rate_hz, clock
        self._requests, self._busy, self._lock = RecentRate(window_s), RecentRate(window_s), threading.Lock()
        self.needs = frozenset({PRICE} if price_weight else set[str]())
        if self._energy is not None:
            self.needs |= self._energy.needs

    def answered(self, placement: Placement, observation: Observation, result: InferenceResult) -> None:  # noqa: ARG002
        """Count the request, and what it took in the cloud. See `midcut.protocols.Learner`."""
        now = self._clock()
        with self._lock:
            self._requests.add(now, 1.0)
            self._busy.add(now, result.cloud_s)

    def values(self, forecast: Forecast, observation: Observation) -> Floats:
        """See `midcut.protocols.Objective`."""
        cost: Floats = self._time_weight * forecast.latency_s
        if self._energy is not None:
            cost = cost + self._energy_weight * self._energy.values(forecast, observation)
        if self._price_weight:
            cost = cost + self._price_weight * self._pay(forecast, observation)
        return cost

    def _pay(self, forecast: Forecast, observation: Observation) -> Floats:
        """US dollars an hour of each placement."""
        with self._lock:
            now = self._clock()
            counted_hz, busy = self._requests.at(now), self._busy.at(now)
        seen = observation.others
        rate_hz = self._rate_hz
        if rate_hz is None:
            rate_hz = non_negative_field(observation, "rate_hz") if "rate_hz" in seen else counted_hz
        slope = non_negative_field(observation, SLOPE) if SLOPE in seen else 0.0
        load = rate_hz * forecast.cloud_s
        price_of_others = np.maximum(non_negative_field(observation, PRICE) - slope * busy, 0.0)
        pay: Floats = load * (price_of_others + slope * load)
        return pay
