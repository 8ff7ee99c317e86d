"""What telemetry explains a moment later is not the predictors' fault: such samples are withdrawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from midcut.edge.calibration.sample_window import log_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.edge.calibration.sample_window import Sample
    from midcut.types import Floats, Forecast, Observation, Placement, Placements

# Prediction and measurement belong to different circumstances where telemetry has moved the prediction by more.
_MOVED: Final = 0.1
# `ping_ms` is the smallest of some seconds, so telemetry tells of a longer way that much later.
_LINK_SETTLES_S: Final = 6.0
_CLOCK_SETTLES_S: Final = 5.0


@dataclass(frozen=True)
class StaleSampleFilter:
    """Judges samples by what would be predicted now. Each is kept as it is, as final (no placement), or not: None.

    Attributes:
        forecast: of this moment, uncorrected.
        observation: what it was made on.
        now_s: on the samples' clock.
        row: where a placement stands; None where it is not on offer any more.
    """

    forecast: Forecast
    observation: Observation
    now_s: float
    row: Callable[[Placements, Placement], int | None]

    def edge(self, sample: Sample) -> Sample | None:
        """Another clock than the one it was predicted with explains whatever was measured."""
        predicted_s = self._predicted(self.forecast.edge_s, sample)
        if predicted_s is not None and _moved(sample.predicted_s, predicted_s):
            return None
        clock_read_s = self.now_s - self.observation.age_s.get("clock_mhz", 0.0)
        told = clock_read_s > sample.at_s or self.now_s - sample.at_s > _CLOCK_SETTLES_S
        return replace(sample, placement=None) if told else sample

    def link(self, sample: Sample) -> Sample | None:
        """Another link explains it where it comes nearer to what was measured."""
        predicted_s = self._predicted(self.forecast.link_s, sample)
        if predicted_s is not None and _moved(sample.predicted_s, predicted_s):
            was_off, is_off = (abs(log_ratio(sample.measured_s, one)) for one in (sample.predicted_s, predicted_s))
            if is_off < was_off:
                return None
        return replace(sample, placement=None) if self.now_s - sample.at_s > _LINK_SETTLES_S else sample

    def _predicted(self, part_s: Floats, sample: Sample) -> float | None:
        row = None if sample.placement is None else self.row(self.forecast.placements, sample.placement)
        return None if row is None else float(part_s[row])


def _moved(before_s: float, now_s: float) -> bool:
    return abs(log_ratio(now_s, before_s)) > math.log1p(_MOVED)
