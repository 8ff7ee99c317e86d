"""The last samples of one part of the latency, and the correction line fitted to them."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from midcut.edge.calibration.robust_fit import AS_PREDICTED, Line, Prior, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from midcut.types import Placement

# Each sample weighs this many times as much as the next newer one, so that a change shows before most samples show it.
_AGE_WEIGHT: Final = 0.92
# A correction has faded completely after this many times `forget_s`.
_FADED: Final = 6.0


class AgedSample(NamedTuple):
    """A sample as it is stored across restarts: its age in place of a moment of the calibration's clock."""

    predicted_s: float
    measured_s: float
    age_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One part of the latency of one request.

    Attributes:
        predicted_s: the predicted seconds before calibration corrects them.
        measured_s: the seconds that edge or cloud measured.
        at_s: when the request ended, on the calibration's clock.
        placement: to predict again when telemetry is newer; None once the sample is final.
    """

    predicted_s: float
    measured_s: float
    at_s: float
    placement: Placement | None = None

    def aged(self, now_s: float) -> AgedSample:
        return AgedSample(self.predicted_s, self.measured_s, max(now_s - self.at_s, 0.0))


class SampleWindow:
    """The last samples of one part. Not thread-safe.

    Args:
        window: how many samples are used.
        forget_s: without new samples, a third of the correction is left after this long, 2 % after twice that; None
            keeps it.
    """

    def __init__(self, prior: Prior, window: int, forget_s: float | None) -> None:
        self._prior = prior
        self._forget_s = forget_s
        self._samples: deque[Sample] = deque(maxlen=window)
        self._line = AS_PREDICTED
        self._newest_at_s = -math.inf

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def samples(self) -> list[Sample]:
        """Oldest first."""
        return list(self._samples)

    def extend(self, samples: Iterable[Sample]) -> None:
        self._samples.extend(samples)
        self._fit()

    def settle(self, judge: Callable[[Sample], Sample | None]) -> None:
        """Have `judge` keep each sample that is not final, return it as final, or withdraw it (None)."""
        judged = [sample if sample.placement is None else judge(sample) for sample in self._samples]
        remaining = [sample for sample in judged if sample is not None]
        withdrawn = len(remaining) < len(judged)
        self._samples = deque(remaining, self._samples.maxlen)
        if withdrawn:
            self._fit()

    def forget(self) -> None:
        self._samples.clear()
        self._fit()

    def age_s(self, now_s: float) -> float | None:
        """Seconds since the last sample; None without any."""
        return max(now_s - self._newest_at_s, 0.0) if self._samples else None

    def line(self, now_s: float) -> Line:
        """The correction of this part at a moment, faded by its age."""
        if self._line is AS_PREDICTED:
            return AS_PREDICTED
        share = self._share_left(max(now_s - self._newest_at_s, 0.0))
        return self._line.faded(share) if share > 0.0 else AS_PREDICTED

    def effect(self, now_s: float) -> float:
        """The factor by which a prediction of the median size is corrected."""
        if not self._samples:
            return 1.0
        median_s = float(np.median([sample.predicted_s for sample in self._samples])) + 1e-3
        return self.line(now_s).at(median_s) / median_s

    def _fit(self) -> None:
        if not self._samples:
            self._line, self._newest_at_s = AS_PREDICTED, -math.inf
            return
        self._newest_at_s = max(sample.at_s for sample in self._samples)
        columns = np.array([(sample.predicted_s, sample.measured_s) for sample in self._samples])
        weight = [
            _AGE_WEIGHT**back * self._share_left(self._newest_at_s - sample.at_s)
            for back, sample in enumerate(reversed(self._samples))
        ]
        line = fit(columns[:, 0], columns[:, 1], np.array(weight[::-1]), self._prior)
        # A single NaN or infinity would spoil every forecast until the sample is forgotten.
        self._line = line if all(map(math.isfinite, line)) else AS_PREDICTED

    def _share_left(self, age_s: float) -> float:
        if self._forget_s is None:
            return 1.0
        ages = age_s / self._forget_s
        return math.exp(-(ages**2)) if ages < _FADED else 0.0


def log_ratio(a_s: float, b_s: float) -> float:
    """The logarithm of the ratio of two times; times far below a microsecond count as equal."""
    return math.log((a_s + 1e-6) / (b_s + 1e-6))
