"""Knobs of the cost models. Prices: AWS t3.xlarge, on demand (Luger, Aral, Brandic 2023, Table 2)."""

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
    """

    cloud_usd_per_hour: float = CLOUD_USD_PER_HOUR
    bill_transfer: BillTransfer = BillTransfer.none


@dataclass
class RentedConfig:
    """Both servers are rented, each paid by its own busy seconds (Eq. 4, second case).

    Attributes:
        edge_usd_per_hour: price of the edge server, billed by busy seconds.
        cloud_usd_per_hour: price of the cloud server, billed by busy seconds.
        bill_transfer: which servers are also billed during the transfer.
    """

    edge_usd_per_hour: float = EDGE_USD_PER_HOUR
    cloud_usd_per_hour: float = CLOUD_USD_PER_HOUR
    bill_transfer: BillTransfer = BillTransfer.none
