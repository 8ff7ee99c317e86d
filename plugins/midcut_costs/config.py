"""Knobs of the cost models. Prices: AWS t3.xlarge, on demand (Luger, Aral, Brandic 2023, Table 2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

EDGE_USD_PER_HOUR = 0.224
CLOUD_USD_PER_HOUR = 0.1664


class BillTransfer(Enum):
    """Who is paid while a payload is under way."""

    none = "none"
    edge = "edge"
    cloud = "cloud"
    both = "both"


@dataclass
class OwnedConfig:
    """The edge server is one's own: only the cloud costs (Eq. 4, first case).

    Attributes:
        cloud_usd_per_hour: price of the cloud server, billed by busy seconds.
        bill_transfer: whose price also runs during the transfer; an owned edge adds nothing.
    """

    cloud_usd_per_hour: float = CLOUD_USD_PER_HOUR
    bill_transfer: BillTransfer = BillTransfer.none


@dataclass
class RentedConfig:
    """Both servers are rented (Eq. 4, second case, each side by its own busy seconds).

    Attributes:
        edge_usd_per_hour: price of the edge server, billed by busy seconds.
        cloud_usd_per_hour: price of the cloud server, billed by busy seconds.
        bill_transfer: whose price also runs during the transfer.
    """

    edge_usd_per_hour: float = EDGE_USD_PER_HOUR
    cloud_usd_per_hour: float = CLOUD_USD_PER_HOUR
    bill_transfer: BillTransfer = BillTransfer.none
