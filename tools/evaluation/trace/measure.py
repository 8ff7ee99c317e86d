"""Runs a long random walk of link and clock, and measures midcut and fixed cuts in turn at each of its steps."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from bed.schedule import schedule

from evaluation.beds import open_site, settle
from evaluation.policies import OfflinePolicies
from evaluation.rows import Rows, print_progress
from evaluation.site import MAX_CLOCK_MHZ, Conditions
from evaluation.trace.report import evaluation
from evaluation.trace.strategies import Turns
from midcut.traces import write_trace
from midcut.types import Observation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.options import Options
    from evaluation.site import Site
    from midcut.traces import Trace

MODELS = ("alexnet", "vgg16")
CANDIDATES = 6
LONGEST_SHARE = 0.3  # of a step: a cut that takes longer is not measured in it


def run(options: Options) -> None:
    """Requests at midcut's own cut and at forced cuts in turn over a seeded random walk, for each of two models.

    Takes `minutes` a model, and about one more to start. Writes `trace-MODEL.csv` for each.
    """
    folder = options.out / "trace"
    with Rows(folder / "rows.jsonl", partial(evaluation, w=options.w)) as rows:
        for model in options.models_among(MODELS):
            print_progress(f"trace: {model} starts")
            with open_site(options, model, w=options.w) as (site, rows.bed[model]):
                count = max(1, round(options.minutes * 60 / options.step_s))
                trace = schedule(
                    "walk",
                    seed=options.seed,
                    duration_s=count * options.step_s,
                    step_s=options.step_s,
                    max_clock_mhz=MAX_CLOCK_MHZ,
                )
                write_trace(folder / f"trace-{model}.csv", trace)
                _measure_trace(site, options, trace, rows)


def _measure_trace(site: Site, options: Options, trace: Trace, rows: Rows) -> None:
    cuts = candidates(site, trace, options.w)
    for cut in cuts:  # once each, so that its code is in memory
        site.infer(cut)
    site.set(Conditions(**trace.at(0.0)))
    settle(site, options)
    counters = {name: site.counter(f"midcut_edge_{name}_total") for name in ("switches", "decisions")}
    began = time.monotonic()
    for number in range(len(trace.time_s)):
        _measure_step(site, trace, number, cuts, began + (number + 1) * options.step_s, rows)
    rows.add(
        model=site.model,
        kind="counts",
        cuts=cuts,
        w=options.w,
        seconds=time.monotonic() - began,
        **{name: site.counter(f"midcut_edge_{name}_total") - before for name, before in counters.items()},
    )


def candidates(site: Site, trace: Trace, w: float) -> list[int]:
    """Cuts worth measuring on a trace: cloud only, edge only, and those the forecasts pick most often along it."""
    policy = OfflinePolicies.of(site).default
    fields: dict[str, Any] = dict(trace.fields)
    forecast = policy.forecast(Observation(**fields, at_s=0.0))
    picked = Counter(policy.placements.cut[policy.planner.choose(forecast, w)].tolist())
    ends = [int(policy.placements.cut.min()), int(policy.placements.cut.max())]
    most_picked = [cut for cut, _ in picked.most_common() if cut not in ends][: CANDIDATES - len(ends)]
    return sorted([*ends, *most_picked])


def _measure_step(site: Site, trace: Trace, number: int, cuts: Sequence[int], until: float, rows: Rows) -> None:
    """Send dynamic and forced requests in turn until the step is over; the first one is dynamic."""
    labels: dict[str, Any] = {"model": site.model, "step": number}
    asked = trace.at(float(trace.time_s[number]))
    conditions = Conditions(**asked)
    site.set(conditions)
    turns = Turns(cuts, LONGEST_SHARE * (until - time.monotonic()))
    first = True
    while first or time.monotonic() < until:
        answer = rows.ask(site, **labels, kind="dynamic")
        if first and answer is not None:
            latency_ms = answer.latency_s * 1e3
            print_progress(f"{site.model} step {number + 1}: {conditions}; cut {answer.cut}, {latency_ms:.0f} ms")
        first = False
        decision = site.decision()
        forecast = {row["cut"]: (row["latency_s"], row["cost_usd"]) for row in decision.get("forecast", ())}
        expected_s = {cut: forecast[cut][0] for cut in cuts if cut in forecast}
        cut = turns.next(expected_s, until - time.monotonic())
        if cut is not None:
            forced = rows.ask(site, cut, **labels, kind="forced")
            turns.add(cut, forced.latency_s if forced is not None else expected_s[cut])
    rows.add(
        **labels,
        kind="state",
        asked=asked,
        observation={name: decision["observation"][name] for name in asked},
        planning_s=decision["planning_s"],
        decided=decision["cut"],
        forecast={str(cut): forecast[cut] for cut in cuts if cut in forecast},
    )
