"""A straight line through a few measurements of which some are wrong: measured = ratio * predicted + offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from midcut.types import Floats

# Weight of the prior "it is as predicted": one measurement (weight 1) alone moves nothing, two that agree do.
_PRIOR_WEIGHT: Final = 1.5
_ROUNDS: Final = 3
# Of Tukey's biweight: 95 % efficient where there are no outliers.
_CUTOFF: Final = 4.685
_MAD_TO_SD: Final = 1.4826
# Upper bound of the scale, times the prior's noise: a wider scatter is two groups of measurements, not noise.
_MAX_SCALE: Final = 3.0


class Line(NamedTuple):
    """How measured seconds follow from predicted ones."""

    ratio: float = 1.0
    offset_s: float = 0.0

    def at(self, predicted_s: float) -> float:
        return max(self.ratio * predicted_s + self.offset_s, 0.0)

    def faded(self, share: float) -> Line:
        """Interpolate between the identity, measured = predicted (share 0), and this line (share 1)."""
        return Line(1.0 + (self.ratio - 1.0) * share, self.offset_s * share)


AS_PREDICTED: Final = Line()


@dataclass(frozen=True)
class Prior:
    """The belief before any measurement: as predicted, with these uncertainties.

    Attributes:
        ratio_sd: standard deviation of the ratio from 1.
        offset_sd_s: standard deviation of the offset from 0, seconds. Where all predictions have the same size, an
            error is mostly offset below `offset_sd_s / ratio_sd` predicted seconds, and mostly ratio above it.
        lowest, highest: bounds of the ratio.
        slack: share of an offset added to its standard deviation, so that a large offset is not pulled back to 0; with
            slack 0 the prior is a normal distribution.
        noise: standard deviation of a measurement, as a share of the prediction; `noise_s` seconds are added to it.
    """

    ratio_sd: float
    offset_sd_s: float
    lowest: float
    highest: float
    slack: float = 0.0
    noise: float = 0.05
    noise_s: float = 0.0003

    def offset_pull(self, offset_s: float) -> float:
        """The weight that pulls an offset to 0, 1/s^2."""
        return 1.0 / (self.offset_sd_s**2 + (self.slack * offset_s) ** 2)


def fit(predicted_s: Floats, measured_s: Floats, weight: Floats, prior: Prior) -> Line:
    """Return the line that most of the measurements agree on, by weight; outliers do not count.

    The first estimate is one of these lines: measured = predicted, or a line through one measurement. The one with the
    smallest weighted sum of absolute residuals is taken (for measurements of one size: the weighted median). A few
    rounds of reweighted least squares then improve it.

    Args:
        predicted_s, measured_s: seconds, shape (N,).
        weight: of each pair of seconds, from 0 to 1, shape (N,).
    """
    if not len(predicted_s):
        return AS_PREDICTED
    problem = _RobustFit(predicted_s, measured_s - predicted_s, weight, prior)
    line = problem.start()
    for _ in range(_ROUNDS):
        line = problem.reweight(*line)
    return Line(1.0 + line[0], line[1])


class _RobustFit:
    """Residuals `measured - predicted` to be explained by `excess * predicted + offset`."""

    def __init__(self, predicted: Floats, residual: Floats, weight: Floats, prior: Prior) -> None:
        self._predicted, self._residual, self._prior = predicted, residual, prior
        self._noise = prior.noise * predicted + prior.noise_s
        self._variance = self._noise**2
        self._weight = weight
        self._middle = weighted_median(predicted, weight)
        self._middle_noise = prior.noise * self._middle + prior.noise_s
        self._all_weights = np.append(weight, _PRIOR_WEIGHT)

    def start(self) -> tuple[float, float]:
        prior, predicted = self._prior, self._predicted
        certain = prior.ratio_sd**2 * predicted**2 + prior.offset_sd_s**2
        excess = self._residual * prior.ratio_sd**2 * predicted / certain
        excess = np.minimum(np.maximum(excess, prior.lowest - 1.0), prior.highest - 1.0)
        excesses = np.append(excess, 0.0)
        offsets = np.append(self._residual - excess * predicted, 0.0)
        left = np.abs(self._residual - excesses[:, None] * predicted - offsets[:, None]) / self._noise
        moved = np.abs(excesses * self._middle + offsets) / self._middle_noise
        best = int(np.argmin(left @ self._weight + _PRIOR_WEIGHT * moved))
        return float(excesses[best]), float(offsets[best])

    def reweight(self, excess: float, offset: float) -> tuple[float, float]:
        prior, predicted = self._prior, self._predicted
        left = np.abs(self._residual - excess * predicted - offset) / self._noise
        moved = abs(excess * self._middle + offset) / self._middle_noise
        scale = _MAD_TO_SD * weighted_median(np.append(left, moved), self._all_weights)
        cutoff = _CUTOFF * min(max(scale, 1.0), _MAX_SCALE)
        counts = self._weight * np.maximum(1.0 - (left / cutoff) ** 2, 0.0) ** 2 / self._variance
        along = counts * predicted
        both, offsets = float(along.sum()), float(counts.sum()) + prior.offset_pull(offset)
        ratios = float(along @ predicted) + prior.ratio_sd**-2
        residuals, weighted_residuals = float(counts @ self._residual), float(along @ self._residual)
        unbounded = (weighted_residuals * offsets - residuals * both) / (ratios * offsets - both * both)
        bounded = min(max(unbounded, prior.lowest - 1.0), prior.highest - 1.0)
        return bounded, (residuals - both * bounded) / offsets


def weighted_median(values: Floats, weight: Floats) -> float:
    """The value at which half of the weight is reached."""
    order = np.argsort(values)
    reached = np.cumsum(weight[order])
    return float(values[order[int(np.searchsorted(reached, 0.5 * reached[-1]))]])
