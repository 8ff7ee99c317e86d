"""What answered requests say about one part of the latency: a window of them, and the line through it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from midcut.edge.calibration.robust_fit import AS_PREDICTED, Line, Prior, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from midcut.types import Placement

# Each further back counts that much less, so that what is new is believed a little before it is the majority.
_OLDER: Final = 0.92
# Nothing of a correction is left after that many times `forget_s`.
_FORGOTTEN: Final = 6.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One request's part.

    Attributes:
        predicted_s, measured_s: the first without correction.
        at_s: when it ended, on the calibration's clock.
        placement: what was predicted, to ask telemetry once more; None where telemetry has had its say.
    """

    predicted_s: float
    measured_s: float
    at_s: float
    placement: Placement | None = None


class SampleWindow:
    """The last samples of one part. Not thread-safe.

    Args:
        window: how many count.
        forget_s: without new samples a third is left of the correction after that long, 2 % after twice that; None
            keeps it.
    """

    def __init__(self, prior: Prior, window: int, forget_s: float | None) -> None:
        self._prior = prior
        self._forget_s = forget_s
        self._samples: deque[Sample] = deque(maxlen=window)
        self._line = AS_PREDICTED
        self._newest_s = -math.inf

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
        """Have samples judged that telemetry may still explain: kept as they are, as final, or (None) withdrawn."""
        judged = [sample if sample.placement is None else judge(sample) for sample in self._samples]
        kept = [sample for sample in judged if sample is not None]
        withdrawn = len(kept) < len(judged)
        self._samples = deque(kept, self._samples.maxlen)
        if withdrawn:
            self._fit()

    def forget(self) -> None:
        self._samples.clear()
        self._fit()

    def age_s(self, now_s: float) -> float | None:
        """Since the last sample; None without any."""
        return max(now_s - self._newest_s, 0.0) if self._samples else None

    def line(self, now_s: float) -> Line:
        """How predictions of this part are to be corrected."""
        if self._line is AS_PREDICTED:
            return AS_PREDICTED
        share = self._remembered(max(now_s - self._newest_s, 0.0))
        return self._line.faded(share) if share > 0.0 else AS_PREDICTED

    def effect(self, now_s: float) -> float:
        """By what factor predictions are corrected, at the sizes measured."""
        if not self._samples:
            return 1.0
        usual_s = float(np.median([sample.predicted_s for sample in self._samples])) + 1e-3
        return self.line(now_s).at(usual_s) / usual_s

    def _fit(self) -> None:
        if not self._samples:
            self._line, self._newest_s = AS_PREDICTED, -math.inf
            return
        self._newest_s = max(sample.at_s for sample in self._samples)
        columns = np.array([(sample.predicted_s, sample.measured_s) for sample in self._samples])
        weight = [
            _OLDER**back * self._remembered(self._newest_s - sample.at_s)
            for back, sample in enumerate(reversed(self._samples))
        ]
        self._line = fit(columns[:, 0], columns[:, 1], np.array(weight[::-1]), self._prior)

    def _remembered(self, age_s: float) -> float:
        if self._forget_s is None:
            return 1.0
        ages = age_s / self._forget_s
        return math.exp(-(ages**2)) if ages < _FORGOTTEN else 0.0


def log_ratio(one_s: float, other_s: float) -> float:
    """How far apart two times are, as a factor; a microsecond is none."""
    return math.log((one_s + 1e-6) / (other_s + 1e-6))
