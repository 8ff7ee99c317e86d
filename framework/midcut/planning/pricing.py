"""The price of one inference, by either kind of cost model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from midcut.protocols import BillingCostModel, CostModel, TieredCostModel
    from midcut.types import Usage


def bills_more(cost: CostModel) -> bool:
    """Whether a cost model prices more than seconds. Not `isinstance`: on a protocol that takes microseconds."""
    return hasattr(cost, "request_usd")


def request_usd(cost: CostModel, usage: Usage) -> Any:
    """US dollars of one inference, or of every placement of a forecast."""
    if bills_more(cost):
        return cast("BillingCostModel", cost).request_usd(usage)
    if usage.relay_s is None:
        return cost.cost_usd(usage.edge_s, usage.link_s, usage.cloud_s)
    if hasattr(cost, "relay_usd"):
        seconds_usd = cost.cost_usd(usage.edge_s, usage.link_s, usage.cloud_s)
        return seconds_usd + cast("TieredCostModel", cost).relay_usd(usage.relay_s, usage.second_link_s)
    # A model of two prices: what leaves the edge is the cloud's.
    return cost.cost_usd(usage.edge_s, usage.link_s + usage.second_link_s, usage.relay_s + usage.cloud_s)
