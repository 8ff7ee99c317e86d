"""How midcut follows a link and a clock that change: a long random walk, and single steps."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from bed.schedule import schedule

from evaluation.beds import LOW_MHZ, TOP_MHZ, counted, opened, settle
from evaluation.policies import Offline, true
from evaluation.policies import rows as by_cut
from evaluation.rows import Rows, say
from evaluation.site import Conditions, SiteError
from evaluation.steps import report as reacting
from evaluation.trace import report as walking
from evaluation.trace.strategies import Turns
from midcut.results.evaluation import write_evaluation
from midcut.traces import write_trace
from midcut.types import Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from evaluation.options import Options
    from evaluation.site import Site
    from midcut.planning.policy import Policy
    from midcut.results.evaluation import Evaluation
    from midcut.traces import Trace

TRACE_MODELS, STEP_MODELS = ("alexnet", "vgg16"), ("alexnet",)
CANDIDATES = 6
LONGEST = 0.3  # of a step: a cut that takes longer is not measured in it
AFTER_S, QUICK_AFTER_S = 10.0, 4.0
REPEATS, PASSES, RIVALS = 3, 5, 5
RIVAL_SHARE = 1.6
_FAST = Conditions(clock_mhz=LOW_MHZ, bandwidth_kbps=10_000, ping_ms=10)
STEPS = {
    "bandwidth 10 to 1 Mbit/s": (_FAST, Conditions(clock_mhz=LOW_MHZ, bandwidth_kbps=1_000, ping_ms=10)),
    "clock 100 to 40 %": (Conditions(clock_mhz=TOP_MHZ, bandwidth_kbps=10_000, ping_ms=10), _FAST),
}


def run_trace(options: Options) -> Path:
    """Dynamic requests and forced ones in turn over a seeded random walk, for each of two models.

    Takes `minutes` a model, and about one more to start. Writes `rows.jsonl`, a `trace-MODEL.csv` each, and
    `evaluation.json` also where it is stopped.
    """
    folder = options.out / "trace"
    return _run(folder, options, TRACE_MODELS, walking.evaluation, _walk)


def run_steps(options: Options) -> Path:
    """Continuous dynamic requests while the bandwidth or the clock changes at once, forth and back."""
    return _run(options.out / "steps", options, STEP_MODELS, reacting.evaluation, _steps)


def _run(
    folder: Path,
    options: Options,
    defaults: Sequence[str],
    evaluate: Callable[[Sequence[Mapping[str, Any]], dict[str, Any], float], Evaluation],
    measure: Callable[[Site, Options, Rows, Path], None],
) -> Path:
    chosen = [model for model in defaults if model in options.models] or list(options.models[:1])
    described: dict[str, Any] = {}
    with Rows(folder) as rows:
        try:
            for model in chosen:
                say(f"{folder.name}: {model} starts")
                with opened(options, model) as site:
                    described[model] = site.describe()
                    measure(site, options, rows, folder)
        finally:  # also where somebody stops it: what there is, is written
            if any("cut" in row for row in rows.all):
                write_evaluation(folder, evaluate(rows.all, described, options.w))
    return folder


def _walk(site: Site, options: Options, rows: Rows, folder: Path) -> None:
    step_s = options.step_s
    count = max(1, round(options.minutes * 60 / step_s))
    trace = schedule("walk", seed=options.seed, duration_s=count * step_s, step_s=step_s, max_clock_mhz=TOP_MHZ)
    write_trace(folder / f"trace-{site.model}.csv", trace)
    cuts = candidates(site, trace, options.w)
    _warm(site, options, _conditions(trace.at(0.0)), cuts)
    switches, decisions = (counted(site, f"midcut_edge_{name}_total") for name in ("switches", "decisions"))
    began = time.monotonic()
    for number in range(count):
        _walk_step(site, trace, number, cuts, began + (number + 1) * step_s, rows)
    rows.add(
        model=site.model,
        kind="counts",
        cuts=list(cuts),
        w=options.w,
        seconds=time.monotonic() - began,
        switches=counted(site, "midcut_edge_switches_total") - switches,
        decisions=counted(site, "midcut_edge_decisions_total") - decisions,
    )


def candidates(site: Site, trace: Trace, w: float) -> list[int]:
    """Cuts worth measuring on a trace: cloud only, edge only, and those the forecasts pick most often along it."""
    policy = Offline.of(site).default
    fields: dict[str, Any] = dict(trace.fields)
    forecast = policy.forecast(Observation(**fields, at_s=0.0))
    chosen = Counter(policy.placements.cut[policy.planner.choose(forecast, w)].tolist())
    ends = [int(policy.placements.cut.min()), int(policy.placements.cut.max())]
    often = [cut for cut, _ in chosen.most_common() if cut not in ends][: CANDIDATES - len(ends)]
    return sorted([*ends, *often])


def _walk_step(site: Site, trace: Trace, number: int, cuts: Sequence[int], until: float, rows: Rows) -> None:
    """One step: dynamic and forced requests in turn until it is over. The first one is dynamic."""
    about: dict[str, Any] = {"model": site.model, "step": number}
    asked = trace.at(float(trace.time_s[number]))
    site.set(_conditions(asked))
    turns = Turns(cuts, LONGEST * (until - time.monotonic()))
    first = True
    while first or time.monotonic() < until:
        answer = rows.ask(site, **about, kind="dynamic")
        if first and answer is not None:
            say(f"{site.model} step {number + 1}: {_told(asked)}; cut {answer.cut}, {answer.latency_s * 1e3:.0f} ms")
        first = False
        decision = site.decision()
        forecast = {row["cut"]: (row["latency_s"], row["cost_usd"]) for row in decision.get("forecast", ())}
        expected_s = {cut: forecast[cut][0] for cut in cuts if cut in forecast}
        cut = turns.next(expected_s, until - time.monotonic())
        if cut is not None:
            taken = rows.ask(site, cut, **about, kind="forced")
            turns.took(cut, taken.latency_s if taken is not None else expected_s[cut])
    rows.add(
        **about,
        kind="state",
        asked=asked,
        observation={name: decision["observation"][name] for name in asked},
        planning_s=decision["planning_s"],
        decided=decision["cut"],
        forecast={str(cut): forecast[cut] for cut in cuts if cut in forecast},
    )


def _steps(site: Site, options: Options, rows: Rows, _: Path) -> None:
    after_s, passes = (QUICK_AFTER_S, 2) if options.quick else (AFTER_S, PASSES)
    policy = Offline.of(site).default
    for name, (before, after) in STEPS.items():
        if options.quick and name != next(iter(STEPS)):
            continue
        about: dict[str, Any] = {"model": site.model, "case": name}
        _warm(site, options, before, ())
        measure_rivals(site, policy, rows, about | {"side": "before"}, passes)
        for repeat in range(1 if options.quick else REPEATS):
            for side, conditions in (("before", before), ("after", after)):
                site.set(conditions)
                changed_s = time.time()
                start = time.monotonic()
                while time.monotonic() - start < after_s:
                    rows.ask(site, **about, kind="dynamic", side=side, repeat=repeat, changed_s=changed_s)
                say(f"{site.model}: {name}, run {repeat + 1}, {side} the step: at cut {rows.all[-1].get('cut')}")
        measure_rivals(site, policy, rows, about | {"side": "after"}, passes)


def measure_rivals(site: Site, policy: Policy, rows: Rows, about: dict[str, Any], passes: int) -> list[int]:
    """Measure the cuts that may be the fastest here, by forced requests in turn: what picks are judged by.

    Args:
        policy: tells them from what was set, throttle included: the edge's own forecast is what is judged. Both ends
            and the cut in use are measured in any case.
    """
    if site.conditions is None:
        raise SiteError("no conditions were set")
    cuts = sorted({*rivals(policy, site.conditions, site.bed.clock.slowdown), site.decision()["cut"]})
    for _ in range(passes):
        for cut in cuts:
            rows.ask(site, cut, **about, kind="forced")
    return cuts


def rivals(policy: Policy, conditions: Conditions, slowdown: float) -> list[int]:
    """Both ends, the two fastest cuts and up to five near the fastest, by a forecast of the true conditions."""
    latency_s = {cut: row["latency_s"] for cut, row in by_cut(policy.forecast(true(conditions, slowdown))).items()}
    ranked = sorted(latency_s, key=lambda cut: (latency_s[cut], cut))
    near = [cut for cut in ranked if latency_s[cut] <= RIVAL_SHARE * latency_s[ranked[0]]][:RIVALS]
    return sorted({*near, *ranked[:2], min(latency_s), max(latency_s)})


def _warm(site: Site, options: Options, conditions: Conditions, cuts: Sequence[int]) -> None:
    """The first conditions, until the telemetry shows them; every candidate once, so that its code is in memory."""
    for cut in cuts:
        site.infer(cut)
    site.set(conditions)
    settle(site, options)


def _conditions(asked: Mapping[str, float]) -> Conditions:
    return Conditions(**asked)


def _told(asked: Mapping[str, float]) -> str:
    bandwidth_mbps = asked["bandwidth_kbps"] / 1e3
    return f"{asked['clock_mhz']:.0f} MHz, {bandwidth_mbps:.1f} Mbit/s, {asked['ping_ms']:.0f} ms"
