"""Which cut is the best under the conditions that are set, by measuring the few that can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.policies import rows_by_cut, true_observation
from evaluation.processes import SiteError
from evaluation.rows import is_measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.rows import Row, Rows
    from evaluation.site import Conditions, Site
    from midcut.planning.policy import Policy

MOST_NEAR, NEAR_SHARE = 5, 1.6
AS_GOOD = 1.05
"""A cut within 5 % of the best measured one counts as the best: medians of a few requests are no more exact."""


def candidates(policy: Policy, conditions: Conditions, slowdown: float) -> list[int]:
    """Both ends, the two fastest cuts and up to five near the fastest, by a forecast for the true conditions."""
    forecast = policy.forecast(true_observation(conditions, slowdown))
    latency_s = {cut: row["latency_s"] for cut, row in rows_by_cut(forecast).items()}
    ranked = sorted(latency_s, key=lambda cut: (latency_s[cut], cut))
    near = [cut for cut in ranked if latency_s[cut] <= NEAR_SHARE * latency_s[ranked[0]]][:MOST_NEAR]
    return sorted({*near, *ranked[:2], min(latency_s), max(latency_s)})


def measure_candidates(site: Site, policy: Policy, rows: Rows, passes: int, **labels: Any) -> None:
    """Measure the candidates and the cut in use by forced requests in turn.

    Args:
        policy: forecasts which cuts are candidates, from what was set, throttle included: the edge's own forecast is
            what the result is to judge.
        labels: of each row.
    """
    if site.conditions is None:
        raise SiteError("no conditions were set")
    cuts = sorted({*candidates(policy, site.conditions, site.bed.clock.slowdown), site.decision()["cut"]})
    for _ in range(passes):
        for cut in cuts:
            rows.ask(site, cut, **labels, kind="forced")


@dataclass(frozen=True)
class BestCut:
    """The best cut by forced requests under one set of conditions.

    Attributes:
        latencies_s: cut -> median.
        cut: the fastest one; `latency_s` is its median.
        as_good: it, and those within 5 % of it.
    """

    latencies_s: dict[int, float]
    cut: int
    latency_s: float
    as_good: frozenset[int]


def best_measured(rows: Sequence[Row]) -> BestCut | None:
    """The fastest cut by the medians of forced requests; None without any."""
    measured: dict[int, list[float]] = {}
    for row in filter(is_measured, rows):
        measured.setdefault(row["asked"], []).append(row["latency_s"])
    if not measured:
        return None
    latencies_s = {cut: float(np.median(values)) for cut, values in sorted(measured.items())}
    best = min(latencies_s, key=lambda cut: (latencies_s[cut], cut))
    limit_s = AS_GOOD * latencies_s[best]
    return BestCut(
        latencies_s, best, latencies_s[best], frozenset(cut for cut, s in latencies_s.items() if s <= limit_s)
    )
