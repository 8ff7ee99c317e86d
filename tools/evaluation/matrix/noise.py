"""How much measurements under the same conditions vary at the points of a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluation.statistics import median, p95, percentage_error, repeat_error, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.matrix.results import PointResult
    from evaluation.rows import Row


@dataclass(frozen=True)
class Noise:
    """How much measurements under the same conditions vary at a model's points.

    Attributes:
        spread, spread_p95: inter-quartile range over the median of a cut's latencies; over the cuts.
        repeat: median error of one request against the median of its repetitions.
        edge_core, cloud_core: the fixed piece of work on each core, range from the 5th to the 95th percentile over
            the median, over all passes.
        observed: field -> median of |observed - set| / set over the passes.
    """

    spread: float
    spread_p95: float
    repeat: float
    edge_core: float
    cloud_core: float
    observed: Mapping[str, float]


def noise_of(points: Sequence[PointResult], payload_share: float) -> Noise:
    """The error that no prediction can be below, and the error of telemetry."""
    latencies_s = [cut.latencies_s for point in points for cut in point.cuts]
    spreads = np.array([spread(values) for values in latencies_s])
    speeds = [speed for point in points for speed in point.row["base_s"]]
    return Noise(
        spread=median(spreads),
        spread_p95=p95(spreads),
        repeat=median(np.array([repeat_error(values) for values in latencies_s])),
        edge_core=_relative_range([speed["edge"] for speed in speeds]),
        cloud_core=_relative_range([speed["cloud"] for speed in speeds]),
        observed={
            name: median(np.array([error for point in points for error in _errors(point.row, name, payload_share)]))
            for name in ("clock_mhz", "bandwidth_kbps", "ping_ms")
        },
    )


def _relative_range(values: Sequence[float]) -> float:
    low, middle, high = np.percentile(values, (5, 50, 95))
    return float((high - low) / middle)


def _errors(row: Row, name: str, payload_share: float) -> list[float]:
    """Errors of an observed field; 100 % where it was never observed."""
    true = row["conditions"][name] * (payload_share if name == "bandwidth_kbps" else 1.0)
    observed = [observation[name] for observation in row["observations"] if observation[name] is not None]
    return [percentage_error(value, true) for value in observed] or [1.0]
