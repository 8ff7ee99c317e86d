"""Corrections laid out as columns, so that applying them to a forecast takes microseconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from midcut.edge.calibration.robust_fit import AS_PREDICTED, Line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from midcut.planning.policy import Forecaster
    from midcut.types import Floats, Forecast, Observation, Placements


class _Columns(NamedTuple):
    """The correction of one part, per placement, shape (P,). `positive`: no offset is negative."""

    ratio: Floats
    offset_s: Floats
    positive: bool

    @classmethod
    def of(cls, sent: Line, unsent: Line, on_edge: NDArray[np.bool_]) -> Self:
        ratio, offset_s = (
            np.where(on_edge, at_edge, elsewhere) for at_edge, elsewhere in zip(unsent, sent, strict=True)
        )
        return cls(ratio, offset_s, bool((offset_s >= 0.0).all()))


class Corrections(NamedTuple):
    """Corrections of some placements, valid from one moment to another.

    Attributes:
        parts: edge, link and cloud; None where nothing is corrected.
    """

    placements: Placements | None
    from_s: float
    until_s: float
    parts: tuple[_Columns, _Columns, _Columns] | None

    @classmethod
    def of(cls, lines: Mapping[str, Line], placements: Placements, from_s: float, until_s: float) -> Self:
        """Lay out the lines of `edge`, `link`, `cloud`, and of `here`, the waiting time where nothing is sent."""
        if all(line is AS_PREDICTED for line in lines.values()):
            return cls(placements, from_s, until_s, None)
        unsent = placements.on_edge
        parts = (
            _Columns.of(lines["edge"], lines["edge"], unsent),
            # Waiting time at the edge counts as link: latency has no part of its own for it.
            _Columns.of(lines["link"], lines["here"], unsent),
            _Columns.of(lines["cloud"], AS_PREDICTED, unsent),
        )
        return cls(placements, from_s, until_s, parts)

    def apply_to(self, forecast: Forecast, observation: Observation, forecaster: Forecaster) -> Forecast:
        """Return the corrected forecast, completed anew, or the same object if nothing is to be corrected."""
        if self.parts is None:
            return forecast
        edge_s, link_s, cloud_s = (
            part_s * ratio + offset_s if positive else np.maximum(part_s * ratio + offset_s, 0.0)
            for part_s, (ratio, offset_s, positive) in zip(
                (forecast.edge_s, forecast.link_s, forecast.cloud_s), self.parts, strict=True
            )
        )
        return forecaster.complete(observation, edge_s, link_s, cloud_s, forecast)


NO_CORRECTIONS: Final = Corrections(None, 0.0, -math.inf, None)
