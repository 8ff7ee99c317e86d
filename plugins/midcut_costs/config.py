"""Settings of the cost models. Prices: AWS t3.xlarge, on demand (Luger, Aral, Brandic 2023, Table 2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

EDGE_USD_PER_HOUR = 0.224
CLOUD_USD_PER_HOUR = 0.1664


class BillTransfer(Enum):
    """Which servers are billed while a payload is being transferred."""

    none = "none"
    edge = "edge"
    cloud = "cloud"
    both = "both"


@dataclass
class OwnedConfig:
    """The edge server is owned: only the cloud costs money (Eq. 4, first case).

    Attributes:
        cloud_usd_per_hour: price of the cloud server, billed by busy seconds.
        bill_transfer: which servers are also billed during the transfer; an owned edge adds nothing.
        relay_usd_per_hour: on three tiers, price of the relay, billed by busy seconds; an owned one costs nothing.
    """

    cloud_usd_per_hour: float = CLOUD_USD_PER_HOUR
    bill_transfer: BillTransfer = BillTransfer.none
    relay_usd_per_hour: float = 0.0


@dataclass
class BilledConfig:
    """Everything that providers bill for a request: seconds, machines by the hour, requests, traffic, electricity.

    Attributes:
        edge_usd_per_busy_hour, cloud_usd_per_busy_hour: of servers that are paid by busy seconds.
        edge_usd_per_hour, cloud_usd_per_hour: of machines that are paid by the hour, busy or not; divided by the rate.
        rate_hz: requests a second; null takes the observed field `rate_hz`.
        usd_per_request: for each request that the cloud answers.
        usd_per_gb_up, usd_per_gb_down: traffic to the cloud and from it, per 10^9 bytes.
        usd_per_kwh: electricity of the edge.
        edge_busy_w: power of the edge while it computes, watts, for `usd_per_kwh`.
        live_price: pay the cloud's busy seconds at the observed `cloud_price_usd_per_hour` instead.
        relay_usd_per_busy_hour: on three tiers, of a relay that is paid by busy seconds.
        second_usd_per_gb_up, second_usd_per_gb_down: on three tiers, traffic from the relay to the cloud and back.
    """

    edge_usd_per_busy_hour: float = 0.0
    cloud_usd_per_busy_hour: float = CLOUD_USD_PER_HOUR
    edge_usd_per_hour: float = 0.0
    cloud_usd_per_hour: float = 0.0
    rate_hz: float | None = None
    usd_per_request: float = 0.0
    usd_per_gb_up: float = 0.0
    usd_per_gb_down: float = 0.09
    usd_per_kwh: float = 0.0
    edge_busy_w: float = 0.0
    live_price: bool = False
    relay_usd_per_busy_hour: float = 0.0
    second_usd_per_gb_up: float = 0.0
    second_usd_per_gb_down: float = 0.0


@dataclass
class RentedConfig:
    """Both servers are rented, each paid by its own busy seconds (Eq. 4, second case).

    Attributes:
        edge_usd_per_hour: price of the edge server, billed by busy seconds.
        cloud_usd_per_hour: price of the cloud server, billed by busy seconds.
        bill_transfer: which servers are also billed during the transfer.
        relay_usd_per_hour: on three tiers, price of the relay, billed by its own busy seconds.
    """

    edge_usd_per_hour: float = EDGE_USD_PER_HOUR
    cloud_usd_per_hour: float = CLOUD_USD_PER_HOUR
    bill_transfer: BillTransfer = BillTransfer.none
    relay_usd_per_hour: float = EDGE_USD_PER_HOUR
