"""How busy a cloud is, and the price that it asks for that, for `GET /v1/conditions`."""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.config.settings import PriceSettings


class CloudLoad:
    """Measures load by what tails take and how long they wait, and prices a busy hour by it.

    Args:
        price: its `window_s` says how long the past counts.
        clock: seconds that only grow.
    """

    def __init__(self, price: PriceSettings, clock: Callable[[], float] = monotonic) -> None:
        self._price, self._clock = price, clock
        self._busy_s = self._waited_s = 0.0  # of recent tails, older ones faded, at the time of the newest
        self._newest_at_s = clock()

    def computed(self, compute_s: float, queue_s: float) -> None:
        """Take in that a worker was busy with a request or a batch, whose requests waited that long in all."""
        now = self._clock()
        faded = self._faded(now)
        self._busy_s = self._busy_s * faded + compute_s
        self._waited_s = self._waited_s * faded + queue_s
        self._newest_at_s = now

    def conditions(self) -> dict[str, float]:
        """The load, and the price where there is one, as fields of an observation."""
        # Both sums fade alike, so that their ratio alone would stay as it is in an idle cloud.
        faded = self._faded(self._clock())
        busy = self._busy_s * faded / self._price.window_s
        fields = {"cloud_load": faded * self._waited_s / self._busy_s if busy > 0.0 else 0.0}
        base, slope = self._price.base_usd_per_hour, self._price.slope_usd_per_hour
        if base is not None:
            fields |= {"cloud_price_usd_per_hour": base + slope * busy, "cloud_price_slope_usd_per_hour": slope}
        return fields

    def _faded(self, now: float) -> float:
        """What is left at a time of what was newest."""
        return math.exp(-max(now - self._newest_at_s, 0.0) / self._price.window_s)
