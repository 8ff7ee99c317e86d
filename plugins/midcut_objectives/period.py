"""Period of a stream: the seconds of its slowest part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.planning import bandwidth_field

if TYPE_CHECKING:
    from midcut.types import Floats, Forecast, Observation, Placements


class Period:
    """The largest of edge seconds, request bits over bandwidth, and cloud seconds (Hu et al. 2019, DADS, heavy load).

    The reply is left out, as it is there: most links carry both directions at once.
    """

    column = "period_s"
    needs = frozenset({"bandwidth_kbps"})

    def __init__(self, placements: Placements) -> None:
        self._kbit = placements.request_bytes * 8 / 1000

    def values(self, forecast: Forecast, observation: Observation) -> Floats:
        """See `midcut.protocols.Objective`."""
        sending_s = self._kbit / bandwidth_field(observation)
        slowest: Floats = np.maximum(np.maximum(forecast.edge_s, forecast.cloud_s), sending_s)
        return slowest
