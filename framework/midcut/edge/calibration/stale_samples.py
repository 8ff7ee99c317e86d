"""Withdraws samples that newer telemetry explains: predicted from stale telemetry, they show no predictor error."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from midcut.edge.calibration.sample_window import log_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.edge.calibration.sample_window import Sample
    from midcut.types import Floats, Forecast, Observation, Placement, Placements

# A sample is stale where newer telemetry changes its prediction by more than this share.
_MOVED: Final = 0.1
# `ping_ms` is the minimum of some seconds, so telemetry shows a longer path that much later.
_LINK_SETTLES_S: Final = 6.0
_CLOCK_SETTLES_S: Final = 5.0


@dataclass(frozen=True)
class StaleSampleFilter:
    """Judges samples by a new prediction.

    Its methods return a sample unchanged, or without placement (it is not judged again), or None if it is stale.

    Attributes:
        forecast: the present forecast, before calibration corrects it.
        observation: the observation from which the forecast was made.
        now_s: the present time on the samples' clock.
        row: returns the row of a placement; None where it is no longer on offer.
    """

    forecast: Forecast
    observation: Observation
    now_s: float
    row: Callable[[Placements, Placement], int | None]

    def edge(self, sample: Sample) -> Sample | None:
        """Judge a sample of the edge: it is stale if the clock has changed since its prediction."""
        predicted_s = self._predict(self.forecast.edge_s, sample)
        if predicted_s is not None and _has_moved(sample.predicted_s, predicted_s):
            return None
        clock_read_at_s = self.now_s - self.observation.age_s.get("clock_mhz", 0.0)
        is_final = clock_read_at_s > sample.at_s or self.now_s - sample.at_s > _CLOCK_SETTLES_S
        return replace(sample, placement=None) if is_final else sample

    def link(self, sample: Sample) -> Sample | None:
        """Judge a sample of the link: it is stale if the link has changed and now predicts the measured time better."""
        predicted_s = self._predict(self.forecast.link_s, sample)
        if predicted_s is not None and _has_moved(sample.predicted_s, predicted_s):
            error_before = abs(log_ratio(sample.measured_s, sample.predicted_s))
            error_now = abs(log_ratio(sample.measured_s, predicted_s))
            if error_now < error_before:
                return None
        return replace(sample, placement=None) if self.now_s - sample.at_s > _LINK_SETTLES_S else sample

    def _predict(self, part_s: Floats, sample: Sample) -> float | None:
        row = None if sample.placement is None else self.row(self.forecast.placements, sample.placement)
        return None if row is None else float(part_s[row])


def _has_moved(before_s: float, now_s: float) -> bool:
    return abs(log_ratio(now_s, before_s)) > math.log1p(_MOVED)
