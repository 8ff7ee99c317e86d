"""What the points of a matrix say: errors, regrets, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.statistics import (
    PARTS,
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

    from midcut.types import Floats

POLICIES = ("default", "uncalibrated", "told", "paper")
MEANING = {
    "default": "the running edge's own: calibrated, from its telemetry",
    "uncalibrated": "the same predictors at the same observations, without calibration",
    "told": "the same predictors at the conditions the bed was set to: what telemetry adds is left out",
    "paper": "Equations 1 to 3 as printed, at the same observations",
}
BASELINES = ("edge only", "cloud only")
"""The last and the first cut at every point: how good a pick is that looks at nothing."""
WEIGHTS = (0.0, 0.5, 1.0)
AIMS = {"error": 0.05, "p95": 0.15, "regret": 0.02}
NEAR = 0.02
COLUMNS = (*PARTS, "latency_s", "cost_usd")


@dataclass(frozen=True)
class CutFound:
    """One cut at one point: medians over the passes.

    Attributes:
        measured: parts, latency and cost.
        predicted: policy -> the same; a policy that does not offer the cut is not in it.
        latencies_s: of all passes.
        single: policy -> percentage error of each request by itself.
    """

    cut: int
    sent_bytes: int
    measured: Mapping[str, float]
    predicted: Mapping[str, Mapping[str, float]]
    latencies_s: Sequence[float]
    single: Mapping[str, Sequence[float]]

    def error(self, policy: str) -> float:
        return percentage_error(self.predicted[policy]["latency_s"], self.measured["latency_s"])


@dataclass(frozen=True)
class PointFound:
    """One point: its cuts, and how every policy's picks stand among them.

    Attributes:
        fastest: policy or baseline -> its pick at w = 0, by latency.
        balanced: policy or baseline -> its pick at w = 0.5, by the weighted objective.
        lost: requests that the cloud should have answered and the edge did.
        planner: what Algorithm 1 picks at w = 0.5 where it knows the measurements: its own part of the regret.
    """

    row: Mapping[str, Any]
    cuts: Sequence[CutFound]
    fastest: Mapping[str, Choice]
    balanced: Mapping[str, Choice]
    lost: int
    planner: Choice | None

    def errors(self, policy: str) -> list[float]:
        return [one.error(policy) for one in self.cuts if policy in one.predicted]

    def single(self, policy: str) -> list[float]:
        return [error for one in self.cuts for error in one.single.get(policy, ())]


def point_found(row: Mapping[str, Any]) -> PointFound:
    """Take one line of `points.jsonl` apart."""
    kept = [one for one in row["requests"] if not one["fallback"]]
    cuts = [_cut_found(cut, [one for one in kept if one["cut"] == cut]) for cut in row["cuts"]]
    whole = [one for one in cuts if one is not None]
    latency_s = {one.cut: one.measured["latency_s"] for one in whole}
    cost_usd = {one.cut: one.measured["cost_usd"] for one in whole}
    fastest, balanced = {}, {}
    ends = dict(zip(BASELINES, (row["cuts"][-1], row["cuts"][0]), strict=True))
    always = {name: dict.fromkeys(("0.0", "0.5"), cut) for name, cut in ends.items()}
    for policy in (*POLICIES, *BASELINES):
        picked = always.get(policy) or row["picks"][policy]
        if picked["0.0"] in latency_s:
            fastest[policy] = latency_choice(latency_s, picked["0.0"])
        if picked["0.5"] in latency_s:
            balanced[policy] = weighted_choice(latency_s, cost_usd, 0.5, picked["0.5"])
    known = None
    if whole:
        known = weighted_choice(latency_s, cost_usd, 0.5, _algorithm1(latency_s, cost_usd, 0.5))
    return PointFound(row, whole, fastest, balanced, len(row["requests"]) - len(kept), known)


def _algorithm1(latency_s: Mapping[int, float], cost_usd: Mapping[int, float], w: float) -> int:
    """The cut that the planner takes of these figures."""
    cuts = sorted(latency_s)
    zero = np.zeros(len(cuts))
    columns = Placements(
        model="", cut=np.array(cuts), layer=np.array(cuts), payload_bytes=zero, request_bytes=zero, reply_bytes=zero,
        on_edge=zero > 0, nodes=max(cuts), layers=max(cuts),
    )  # fmt: skip
    known = np.array([latency_s[cut] for cut in cuts])
    forecast = Forecast(columns, known, zero, zero, np.array([cost_usd[cut] for cut in cuts]))
    return cuts[int(Algorithm1(w).choose(forecast, w))]


def _cut_found(cut: int, requests: Sequence[Mapping[str, Any]]) -> CutFound | None:
    if not requests:
        return None
    told = {policy: [one for one in requests if one.get(policy)] for policy in POLICIES}
    return CutFound(
        cut=cut,
        sent_bytes=int(requests[0]["sent_bytes"]),
        measured={name: float(np.median([one[name] for one in requests])) for name in COLUMNS},
        predicted={
            policy: {name: float(np.median([one[policy][name] for one in ones])) for name in COLUMNS}
            for policy, ones in told.items()
            if ones
        },
        latencies_s=[one["latency_s"] for one in requests],
        single={
            policy: [percentage_error(one[policy]["latency_s"], one["latency_s"]) for one in ones]
            for policy, ones in told.items()
        },
    )


def by_model(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[PointFound]]:
    """Points of every model, in the order they were measured."""
    found: dict[str, list[PointFound]] = {}
    for row in rows:
        found.setdefault(row["model"], []).append(point_found(row))
    return found


def progress(rows: Sequence[Mapping[str, Any]], last: Mapping[str, Any], count: int) -> str:
    """A line for the point that was just measured, with the figures so far."""
    points = by_model([row for row in rows if row["model"] == last["model"]])[last["model"]]
    conditions, settled = last["conditions"], last["settled"]
    said = []
    for policy in ("default", "paper"):
        errors = np.array([error for point in points for error in point.errors(policy)])
        choices = [point.fastest[policy] for point in points if policy in point.fastest]
        hits = sum(choice.hit for choice in choices)
        regret = mean(np.array([choice.regret for choice in choices])) if choices else float("nan")
        wrong = f"{median(errors):.1%} (p95 {p95(errors):.0%})" if len(errors) else "-"
        said.append(f"{policy}: error {wrong}, hit {hits}/{len(choices)}, regret {regret:.1%}")
    late = "" if settled["seen"] else ", telemetry NOT settled"
    return (
        f"{last['model']} {len(points)}/{count}: {conditions['clock_mhz']:g} MHz, "
        f"{conditions['bandwidth_kbps'] / 1000:.1f} Mbit/s, {conditions['ping_ms']:g} ms, {len(last['cuts'])} cuts"
        f"{late} | {' | '.join(said)} | {last['took_s']:.0f} s"
    )


def interval_of(points: Sequence[PointFound], policy: str, what: str, seed: int = 0) -> tuple[float, float, float]:
    """A figure of a policy with its 95 % interval over the points; all NaN where there is nothing.

    Args:
        what: `error` or `p95` (over cuts), `single` (over requests), `hit`, `near`, `regret`,
            `hit_half`, `regret_half`.
    """
    groups = _groups(points, policy, what)
    if not any(groups):
        return (float("nan"),) * 3
    found = _interval(tuple(map(tuple, groups)), _STATISTICS.get(what, mean), seed)
    return found.value, found.low, found.high


@lru_cache(maxsize=1000)  # a matrix is written after each point, and all models but one are as they were
def _interval(groups: Sequence[Sequence[float]], statistic: Callable[[Floats], float], seed: int) -> Interval:
    return bootstrap(groups, statistic, seed)


def value_of(points: Sequence[PointFound], policy: str, what: str) -> float:
    """The figure without its interval, which takes long."""
    values = np.array([value for group in _groups(points, policy, what) for value in group])
    return _STATISTICS.get(what, mean)(values) if len(values) else float("nan")


_STATISTICS = {"error": median, "single": median, "p95": p95}


def _groups(points: Sequence[PointFound], policy: str, what: str) -> list[list[float]]:
    """Values of each point."""
    if what in ("error", "p95"):
        return [point.errors(policy) for point in points]
    if what == "single":
        return [point.single(policy) for point in points]
    chosen = [point.balanced if what.endswith("_half") else point.fastest for point in points]
    return [[_worth(one[policy], what)] for one in chosen if policy in one]


def _worth(choice: Choice, what: str) -> float:
    if what == "near":
        return float(choice.regret <= NEAR)
    return float(choice.hit) if what.startswith("hit") else choice.regret
