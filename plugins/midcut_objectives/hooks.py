"""The objectives that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_objectives.config import EnergyConfig, PeriodConfig, SharingConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_objectives() -> Sequence[Component]:
    return (
        Component(
            name="energy",
            config=EnergyConfig,
            target="midcut_objectives.energy.Energy",
            summary="energy_j: computation by power and clock, radio by a published power model",
        ),
        Component(
            name="period",
            config=PeriodConfig,
            target="midcut_objectives.period.Period",
            summary="period_s: seconds of the slowest part, which bounds the rate of a stream",
        ),
        Component(
            name="sharing",
            config=SharingConfig,
            target="midcut_objectives.sharing.Sharing",
            summary="user_cost: delay, energy, and the load-dependent price of a cloud that others use, too",
        ),
    )
