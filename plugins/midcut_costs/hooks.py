"""The cost models that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_costs.config import BilledConfig, OwnedConfig, RentedConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_cost_models() -> Sequence[Component]:
    return (
        Component(
            name="billed",
            config=BilledConfig,
            target="midcut_costs.billed.Billed",
            summary="seconds, machines by the hour, requests, traffic and electricity",
        ),
        Component(
            name="owned",
            config=OwnedConfig,
            target="midcut_costs.busy_seconds.Owned",
            summary="the edge is free, the cloud is paid by busy seconds (Eq. 4)",
        ),
        Component(
            name="rented",
            config=RentedConfig,
            target="midcut_costs.busy_seconds.Rented",
            summary="edge and cloud are paid by busy seconds (Eq. 4)",
        ),
    )
