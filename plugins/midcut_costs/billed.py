"""A cost model of what providers bill: seconds, hours, requests, gigabytes and electricity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from midcut.errors import ConfigError
from midcut.planning import non_negative_field, positive_field

if TYPE_CHECKING:
    from midcut.types import Usage

_J_PER_KWH = 3.6e6
_S_PER_HOUR = 3600.0
_BYTES_PER_GB = 1e9


class Billed:
    """US dollars of one request, from everything that is billed; see `midcut_costs.config.BilledConfig`.

    Machines that are paid by the hour, busy or not, are divided among the requests: dollars an hour over requests an
    hour. A request that sends nothing pays neither for traffic nor for the request to the cloud.
    """

    def __init__(
        self,
        edge_usd_per_busy_hour: float = 0.0,
        cloud_usd_per_busy_hour: float = 0.0,
        edge_usd_per_hour: float = 0.0,
        cloud_usd_per_hour: float = 0.0,
        rate_hz: float | None = None,
        usd_per_request: float = 0.0,
        usd_per_gb_up: float = 0.0,
        usd_per_gb_down: float = 0.0,
        usd_per_kwh: float = 0.0,
        edge_busy_w: float = 0.0,
        live_price: bool = False,
        relay_usd_per_busy_hour: float = 0.0,
        second_usd_per_gb_up: float = 0.0,
        second_usd_per_gb_down: float = 0.0,
    ) -> None:
        prices = {
            "edge_usd_per_busy_hour": edge_usd_per_busy_hour,
            "cloud_usd_per_busy_hour": cloud_usd_per_busy_hour,
            "edge_usd_per_hour": edge_usd_per_hour,
            "cloud_usd_per_hour": cloud_usd_per_hour,
            "usd_per_request": usd_per_request,
            "usd_per_gb_up": usd_per_gb_up,
            "usd_per_gb_down": usd_per_gb_down,
            "usd_per_kwh": usd_per_kwh,
            "edge_busy_w": edge_busy_w,
            "relay_usd_per_busy_hour": relay_usd_per_busy_hour,
            "second_usd_per_gb_up": second_usd_per_gb_up,
            "second_usd_per_gb_down": second_usd_per_gb_down,
        }
        for name, price in prices.items():
            if not 0.0 <= price < math.inf:
                raise ConfigError(f"cost.{name} must be a finite price, 0 or more, got {price}")
        if rate_hz is not None and not 0.0 < rate_hz < math.inf:
            raise ConfigError(f"cost.rate_hz must be over 0, or null for the observed rate, got {rate_hz}")
        self._edge_usd_per_s = edge_usd_per_busy_hour / _S_PER_HOUR + edge_busy_w * usd_per_kwh / _J_PER_KWH
        self._cloud_usd_per_s = cloud_usd_per_busy_hour / _S_PER_HOUR
        self._standing_usd_per_s = (edge_usd_per_hour + cloud_usd_per_hour) / _S_PER_HOUR
        self._usd_per_request = usd_per_request
        self._usd_per_byte_up, self._usd_per_byte_down = usd_per_gb_up / _BYTES_PER_GB, usd_per_gb_down / _BYTES_PER_GB
        self._relay_usd_per_s = relay_usd_per_busy_hour / _S_PER_HOUR
        self._second_usd_per_byte = second_usd_per_gb_up / _BYTES_PER_GB, second_usd_per_gb_down / _BYTES_PER_GB
        self._rate_hz, self._live_price = rate_hz, live_price
        observed = {"rate_hz"} if self._standing_usd_per_s and rate_hz is None else set[str]()
        self.needs = frozenset(observed | ({"cloud_price_usd_per_hour"} if live_price else set[str]()))

    def cost_usd(self, edge_s: Any, link_s: Any, cloud_s: Any) -> Any:
        """The part that is billed by busy seconds, at the configured prices."""
        return edge_s * self._edge_usd_per_s + cloud_s * self._cloud_usd_per_s + 0.0 * link_s

    def request_usd(self, usage: Usage) -> Any:
        """See `midcut.protocols.BillingCostModel`."""
        usd = self.cost_usd(usage.edge_s, usage.link_s, usage.cloud_s)
        if self._live_price:
            price = non_negative_field(usage.observation, "cloud_price_usd_per_hour") / _S_PER_HOUR
            usd = usd + usage.cloud_s * (price - self._cloud_usd_per_s)
        if self._standing_usd_per_s:
            rate_hz = positive_field(usage.observation, "rate_hz") if self._rate_hz is None else self._rate_hz
            usd = usd + self._standing_usd_per_s / rate_hz
        traffic = usage.sent_bytes * self._usd_per_byte_up + usage.received_bytes * self._usd_per_byte_down
        if usage.relay_s is not None:
            up, down = self._second_usd_per_byte
            second = usage.second_sent_bytes * up + usage.second_received_bytes * down
            traffic = traffic + usage.relay_s * self._relay_usd_per_s + second
        return usd + traffic + (usage.sent_bytes > 0) * self._usd_per_request
