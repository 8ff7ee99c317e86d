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

    def apply_to(self, part_s: Floats) -> Floats:
        corrected_s: Floats = part_s * self.ratio + self.offset_s
        return corrected_s if self.positive else np.maximum(corrected_s, 0.0)


class Corrections(NamedTuple):
    """Corrections of some placements, valid from one moment to another.

    Attributes:
        from_at_s, until_at_s: the moments, on the calibration's clock.
        parts: by name, see `Forecast.parts`; None where nothing is corrected.
    """

    placements: Placements | None
    from_at_s: float
    until_at_s: float
    parts: Mapping[str, _Columns] | None

    @classmethod
    def of(cls, lines: Mapping[str, Line], placements: Placements, from_at_s: float, until_at_s: float) -> Self:
        """Lay out the lines of `edge`, `link`, `cloud`, and of `here`, the waiting time where nothing is sent."""
        if all(line is AS_PREDICTED for line in lines.values()):
            return cls(placements, from_at_s, until_at_s, None)
        unsent = placements.on_edge
        parts = {
            "edge": _Columns.of(lines["edge"], lines["edge"], unsent),
            # Waiting time at the edge counts as link: latency has no part of its own for it.
            "link": _Columns.of(lines["link"], lines["here"], unsent),
        }
        if placements.onward is not None:
            parts["relay"] = _Columns.of(lines.get("relay", AS_PREDICTED), AS_PREDICTED, unsent)
            unsent = placements.onward.on_edge
            parts["second_link"] = _Columns.of(lines.get("second_link", AS_PREDICTED), AS_PREDICTED, unsent)
        parts["cloud"] = _Columns.of(lines["cloud"], AS_PREDICTED, unsent)
        return cls(placements, from_at_s, until_at_s, parts)

    def apply_to(self, forecast: Forecast, observation: Observation, forecaster: Forecaster) -> Forecast:
        """Return a new forecast with corrected parts, and with its latency and cost computed from them.

        Without a correction it is `forecast` itself.
        """
        if self.parts is None:
            return forecast
        corrected = {name: self.parts[name].apply_to(part_s) for name, part_s in forecast.parts.items()}
        edge_s, link_s, cloud_s = (corrected.pop(name) for name in ("edge", "link", "cloud"))
        return forecaster.complete(observation, edge_s, link_s, cloud_s, forecast, corrected)


NO_CORRECTIONS: Final = Corrections(None, 0.0, -math.inf, None)
