"""Cost models that price busy seconds (Luger, Aral, Brandic 2023, Eq. 4 and Table 2)."""

from __future__ import annotations

import math
from typing import Any

from midcut.errors import ConfigError
from midcut_costs.config import EDGE_USD_PER_HOUR, BillTransfer


class Rented:
    """Edge and cloud are both paid, each for the seconds it is busy.

    Eq. 4 prices the cloud by "the runtime". The paper's numbers can only be reproduced with the cloud's own runtime, so
    that is what is priced here.
    """

    def __init__(
        self,
        edge_usd_per_hour: float,
        cloud_usd_per_hour: float,
        bill_transfer: BillTransfer | str = BillTransfer.none,
        relay_usd_per_hour: float = EDGE_USD_PER_HOUR,
    ) -> None:
        bill = BillTransfer(bill_transfer)
        self._edge_usd_per_s = _usd_per_second(edge_usd_per_hour, "edge_usd_per_hour")
        self._cloud_usd_per_s = _usd_per_second(cloud_usd_per_hour, "cloud_usd_per_hour")
        edge_is_billed = bill in (BillTransfer.edge, BillTransfer.both)
        cloud_is_billed = bill in (BillTransfer.cloud, BillTransfer.both)
        self._relay_usd_per_s = _usd_per_second(relay_usd_per_hour, "relay_usd_per_hour")
        self._link_usd_per_s, self._second_link_usd_per_s = (
            (sender_usd_per_s if edge_is_billed else 0.0) + (self._cloud_usd_per_s if cloud_is_billed else 0.0)
            for sender_usd_per_s in (self._edge_usd_per_s, self._relay_usd_per_s)
        )

    def cost_usd(self, edge_s: Any, link_s: Any, cloud_s: Any) -> Any:
        """US dollars. All three parts enter the sum even at price 0, so that the result has their broadcast shape."""
        return edge_s * self._edge_usd_per_s + cloud_s * self._cloud_usd_per_s + link_s * self._link_usd_per_s

    def relay_usd(self, relay_s: Any, second_link_s: Any) -> Any:
        """US dollars of a relay that is rented. The transfer from there on is billed like the first one."""
        return relay_s * self._relay_usd_per_s + second_link_s * self._second_link_usd_per_s


class Owned(Rented):
    """Only the cloud is paid, and on three tiers a relay that has a price."""

    def __init__(
        self,
        cloud_usd_per_hour: float,
        bill_transfer: BillTransfer | str = BillTransfer.none,
        relay_usd_per_hour: float = 0.0,
    ) -> None:
        super().__init__(0.0, cloud_usd_per_hour, bill_transfer, relay_usd_per_hour)


def _usd_per_second(usd_per_hour: float, setting: str) -> float:
    if not (math.isfinite(usd_per_hour) and usd_per_hour >= 0.0):
        raise ConfigError(f"cost.{setting} must be a finite price, 0 or more, got {usd_per_hour}")
    return usd_per_hour / 3600.0
