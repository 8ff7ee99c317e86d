"""How much one and the same thing varies at the points of a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.statistics import median, p95, percentage_error, repeat_error, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.matrix.results import PointFound


@dataclass(frozen=True)
class Noise:
    """How much one and the same thing varies at a model's points.

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


def noise(points: Sequence[PointFound], payload_share: float) -> Noise:
    """What no prediction can be better than, and what telemetry is off by."""
    spreads = [spread(cut.latencies_s) for point in points for cut in point.cuts]
    repeats = [repeat_error(cut.latencies_s) for point in points for cut in point.cuts]
    base = {core: [one[core] for point in points for one in point.row["base_s"]] for core in ("edge", "cloud")}
    return Noise(
        spread=median(np.array(spreads)),
        spread_p95=p95(np.array(spreads)),
        repeat=median(np.array(repeats)),
        edge_core=_range(base["edge"]),
        cloud_core=_range(base["cloud"]),
        observed={
            name: median(np.array([error for point in points for error in _off(point.row, name, payload_share)]))
            for name in ("clock_mhz", "bandwidth_kbps", "ping_ms")
        },
    )


def _range(values: Sequence[float]) -> float:
    low, middle, high = np.percentile(values, (5, 50, 95))
    return float((high - low) / middle)


def _off(row: Mapping[str, Any], name: str, payload_share: float) -> list[float]:
    wanted = row["conditions"][name] * (payload_share if name == "bandwidth_kbps" else 1.0)
    seen = [one[name] for one in row["observations"] if one[name] is not None]
    return [percentage_error(value, wanted) for value in seen] or [1.0]
