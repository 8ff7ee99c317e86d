"""What the points of a matrix show: prediction errors, regrets of the picks, and their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.site import Conditions
from evaluation.statistics import (
    COLUMNS,
    Choice,
    Interval,
    bootstrap,
    latency_choice,
    mean,
    median,
    p95,
    percentage_error,
    weighted_choice,
)
from midcut.types import Forecast, Placements
from midcut_planners.algorithm1 import Algorithm1

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from evaluation.rows import Row
    from midcut.types import Floats

POLICIES = {
    "default": "the running edge's own: calibrated, from its telemetry",
    "uncalibrated": "the same predictors at the same observations, without calibration",
    "told": "the same predictors at the conditions the bed was set to, so without the errors of telemetry",
    "paper": "Equations 1 to 3 as printed, at the same observations",
}
"""Name in rows and values -> what the policy is."""
BASELINES = ("edge only", "cloud only")
"""The last and the first cut at every point: how good a pick is that ignores the conditions."""
WEIGHTS = (0.0, 0.5, 1.0)
NEAR = 0.02


@dataclass(frozen=True)
class CutResult:
    """One cut at one point: medians over the passes.

    Attributes:
        measured: parts, latency and cost.
        predicted: policy -> the same; a policy that does not offer the cut is not in it.
        latencies_s: of all passes.
        request_errors: policy -> percentage error of each single request.
    """

    cut: int
    sent_bytes: int
    measured: Mapping[str, float]
    predicted: Mapping[str, Mapping[str, float]]
    latencies_s: Sequence[float]
    request_errors: Mapping[str, Sequence[float]]

    def error(self, policy: str) -> float:
        """Percentage error of the predicted latency."""
        return percentage_error(self.predicted[policy]["latency_s"], self.measured["latency_s"])


@dataclass(frozen=True)
class PointResult:
    """One point: its cuts, and how every policy's picks compare with the best of them.

    Attributes:
        fastest: policy or baseline -> its pick at w = 0, by latency.
        balanced: policy or baseline -> its pick at w = 0.5, by the weighted objective.
        lost: requests that the cloud should have answered and the edge did.
        planner: what Algorithm 1 picks at w = 0.5 from the measurements: its own part of the regret.
    """

    row: Row
    cuts: Sequence[CutResult]
    fastest: Mapping[str, Choice]
    balanced: Mapping[str, Choice]
    lost: int
    planner: Choice | None

    def errors(self, policy: str) -> list[float]:
        """Prediction error of every cut that the policy offers."""
        return [cut.error(policy) for cut in self.cuts if policy in cut.predicted]


def point_result(row: Row) -> PointResult:
    """Evaluate one row of `points.jsonl`."""
    answered = [request for request in row["requests"] if not request["fallback"]]
    by_cut = {cut: [request for request in answered if request["cut"] == cut] for cut in row["cuts"]}
    cuts = [_cut_result(cut, requests) for cut, requests in by_cut.items() if requests]
    latency_s = {cut.cut: cut.measured["latency_s"] for cut in cuts}
    cost_usd = {cut.cut: cut.measured["cost_usd"] for cut in cuts}
    ends = dict(zip(BASELINES, (row["cuts"][-1], row["cuts"][0]), strict=True))
    picks = row["picks"] | {name: {"0.0": cut, "0.5": cut} for name, cut in ends.items()}
    return PointResult(
        row,
        cuts,
        fastest={
            name: latency_choice(latency_s, picked["0.0"])
            for name, picked in picks.items()
            if picked["0.0"] in latency_s
        },
        balanced={
            name: weighted_choice(latency_s, cost_usd, 0.5, picked["0.5"])
            for name, picked in picks.items()
            if picked["0.5"] in latency_s
        },
        lost=len(row["requests"]) - len(answered),
        planner=_planner_choice(latency_s, cost_usd, 0.5) if cuts else None,
    )


def _planner_choice(latency_s: Mapping[int, float], cost_usd: Mapping[int, float], w: float) -> Choice:
    """What Algorithm 1 picks where the forecast is the measurements themselves."""
    cuts = sorted(latency_s)
    zero = np.zeros(len(cuts))
    columns = Placements(
        model="", cut=np.array(cuts), layer=np.array(cuts), payload_bytes=zero, request_bytes=zero, reply_bytes=zero,
        on_edge=zero > 0, nodes=max(cuts), layers=max(cuts),
    )  # fmt: skip
    latency, cost = (np.array([values[cut] for cut in cuts]) for values in (latency_s, cost_usd))
    pick = cuts[int(Algorithm1(w).choose(Forecast(columns, latency, zero, zero, cost), w))]
    return weighted_choice(latency_s, cost_usd, w, pick)


def _cut_result(cut: int, requests: Sequence[Mapping[str, Any]]) -> CutResult:
    predicted = {policy: [request for request in requests if request.get(policy)] for policy in POLICIES}
    return CutResult(
        cut=cut,
        sent_bytes=int(requests[0]["sent_bytes"]),
        measured=_medians(requests),
        predicted={
            policy: _medians([request[policy] for request in some]) for policy, some in predicted.items() if some
        },
        latencies_s=[request["latency_s"] for request in requests],
        request_errors={
            policy: [percentage_error(request[policy]["latency_s"], request["latency_s"]) for request in some]
            for policy, some in predicted.items()
        },
    )


def _medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.median([row[name] for row in rows])) for name in COLUMNS}


def points_by_model(rows: Sequence[Row]) -> dict[str, list[PointResult]]:
    """Points of every model, in the order they were measured."""
    points: dict[str, list[PointResult]] = {}
    for row in rows:
        points.setdefault(row["model"], []).append(point_result(row))
    return points


def progress_line(rows: Sequence[Row], count: int) -> str:
    """A line for the point that was just measured, the last of the rows, with its model's figures so far."""
    last = rows[-1]
    points = [point_result(row) for row in rows if row["model"] == last["model"]]
    texts = [f"{last['model']} {len(points)}/{count}: {Conditions(**last['conditions'])}, {len(last['cuts'])} cuts"]
    if not last["settled"]["seen"]:
        texts[0] += ", telemetry NOT settled"
    for policy in ("default", "paper"):
        error, high, regret = (statistic(points, policy, metric) for metric in ("error", "p95", "regret"))
        choices = [point.fastest[policy] for point in points if policy in point.fastest]
        hits = f"hit {sum(choice.hit for choice in choices)}/{len(choices)}"
        texts.append(f"{policy}: error {error:.1%} (p95 {high:.0%}), {hits}, regret {regret:.1%}")
    return " | ".join([*texts, f"{last['took_s']:.0f} s"])


def with_interval(points: Sequence[PointResult], policy: str, metric: str, seed: int = 0) -> Interval:
    """A statistic of a policy with its 95 % interval over the points; all NaN where there is nothing.

    Args:
        metric: `error` or `p95` (over cuts), `single` (over requests), `hit`, `near`, `regret`,
            `hit_half`, `regret_half`.
    """
    groups = _values_by_point(points, policy, metric)
    if not any(groups):
        return Interval(float("nan"), float("nan"), float("nan"))
    return _bootstrap(tuple(map(tuple, groups)), _STATISTICS.get(metric, mean), seed)


@lru_cache(maxsize=1000)  # a matrix is written after each point, and all models but one are as they were
def _bootstrap(groups: Sequence[Sequence[float]], function: Callable[[Floats], float], seed: int) -> Interval:
    return bootstrap(groups, function, seed)


def statistic(points: Sequence[PointResult], policy: str, metric: str) -> float:
    """The same statistic without its interval, which takes long."""
    values = np.array([value for group in _values_by_point(points, policy, metric) for value in group])
    return _STATISTICS.get(metric, mean)(values) if len(values) else float("nan")


_STATISTICS = {"error": median, "single": median, "p95": p95}


def _values_by_point(points: Sequence[PointResult], policy: str, metric: str) -> list[list[float]]:
    if metric in ("error", "p95"):
        return [point.errors(policy) for point in points]
    if metric == "single":
        return [[error for cut in point.cuts for error in cut.request_errors.get(policy, ())] for point in points]
    choices = [point.balanced if metric.endswith("_half") else point.fastest for point in points]
    return [[_value(choice[policy], metric)] for choice in choices if policy in choice]


def _value(choice: Choice, metric: str) -> float:
    if metric == "near":
        return float(choice.regret <= NEAR)
    return float(choice.hit) if metric.startswith("hit") else choice.regret
