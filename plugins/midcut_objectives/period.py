"""Period of a stream: the seconds of its slowest part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.planning import bandwidth_field

if TYPE_CHECKING:
    from midcut.types import Floats, Forecast, Observation, Placements


class Period:
    """The largest of edge seconds, request bits over bandwidth, and cloud seconds (Hu et al. 2019, DADS, heavy load).

    On three tiers also the relay's seconds, and the second hop's bits over its bandwidth. The reply is left out, as it
    is there: most links carry both directions at once.
    """

    column = "period_s"
    needs = frozenset({"bandwidth_kbps"})

    def __init__(self, placements: Placements) -> None:
        if placements.onward is not None and placements.onward.request_bytes.any():
            self.needs = self.needs | {"second_bandwidth_kbps"}

    def values(self, forecast: Forecast, observation: Observation) -> Floats:
        """See `midcut.protocols.Objective`."""
        placements = forecast.placements  # their bytes are those of the request: of larger inputs they are more
        sending_s = placements.request_bytes * 8 / 1000 / bandwidth_field(observation)
        slowest: Floats = np.maximum(np.maximum(forecast.edge_s, forecast.cloud_s), sending_s)
        if placements.onward is not None:
            slowest = np.maximum(slowest, forecast.between["relay"])
            if "second_bandwidth_kbps" in self.needs:
                second_kbps = bandwidth_field(observation, "second_bandwidth_kbps")
                slowest = np.maximum(slowest, placements.onward.request_bytes * 8 / 1000 / second_kbps)
        return slowest
