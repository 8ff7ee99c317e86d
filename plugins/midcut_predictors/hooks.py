"""The predictors that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_predictors.config import (
    CloudLayersConfig,
    CloudLinearConfig,
    CloudProfileConfig,
    EdgeLayersConfig,
    EdgeProfileConfig,
    Eq3Config,
    PowerLawConfig,
    RoundTripConfig,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@hookimpl
def midcut_latency_predictors() -> Mapping[str, Sequence[Component]]:
    return {
        "edge": (
            Component(
                name="profile",
                config=EdgeProfileConfig,
                target="midcut_predictors.profiled.EdgeProfile",
                summary="measured seconds per node, each with its clock law",
            ),
            Component(
                name="layers",
                config=EdgeLayersConfig,
                target="midcut_predictors.layers.EdgeLayers",
                summary="regression per kind of node, for models never profiled (Neurosurgeon)",
            ),
            Component(
                name="power_law",
                config=PowerLawConfig,
                target="midcut_predictors.paper.PowerLaw",
                summary="power law of the clock, linear in the layer (Eq. 1 and 2)",
            ),
        ),
        "link": (
            Component(
                name="round_trip",
                config=RoundTripConfig,
                target="midcut_predictors.link.RoundTrip",
                summary="request, reply and a whole ping; 0 if nothing is sent",
            ),
            Component(
                name="eq3",
                config=Eq3Config,
                target="midcut_predictors.link.Eq3",
                summary="unencoded payload and half a ping (Eq. 3)",
            ),
        ),
        "cloud": (
            Component(
                name="profile",
                config=CloudProfileConfig,
                target="midcut_predictors.profiled.CloudProfile",
                summary="measured seconds per node",
            ),
            Component(
                name="layers",
                config=CloudLayersConfig,
                target="midcut_predictors.layers.CloudLayers",
                summary="regression per kind of node, for models never profiled (Neurosurgeon)",
            ),
            Component(
                name="linear",
                config=CloudLinearConfig,
                target="midcut_predictors.paper.CloudLinear",
                summary="a slope times the remaining layers (section 3.1)",
            ),
        ),
    }
