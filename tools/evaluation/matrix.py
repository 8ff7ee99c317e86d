"""Predicted against measured, and picks against the best cut, at links and clocks drawn by a seed.

At each point some dozen cuts are run in turns, each pass once through all of them. `points.jsonl` has a line a point.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from bed import Bed, BedOptions, Plan
from bed.calibration import LIMIT, measure, require_within

from evaluation.findings import POLICIES, WEIGHTS, progress
from evaluation.harness import MAX_CLOCK_MHZ, PAYLOAD_SHARE, Conditions, Site
from evaluation.lines import append_line, drop_unfinished, read_lines
from evaluation.points import CLOCK_SHARE, choose_cuts, draw
from evaluation.policies import Offline, forecast_of, observed, picks, rows
from evaluation.report import as_evaluation, show
from midcut.evaluations import FILE, read_evaluation, write_evaluation
from midcut.types import Observation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bed import Row

    from evaluation.client import Answer
    from evaluation.options import Options
    from midcut.types import Forecast

ROWS = "points.jsonl"
# A run shorter than the quota of a time share escapes it: these are stretched by the edge itself.
SHORT = ("mnist", "mobilenet_v2")
CORE_MHZ = {"vgg16": 1500.0}  # seconds a request otherwise; it has a choice to make already at the cloud's own speed
ANY_CORE_MHZ = 3000.0  # at 600 to 1500 MHz the edge has 20 to 50 % of the cloud's speed
SETTLE_S = 20.0
SETTLE_BYTES = 250_000  # enough to tell a bandwidth by
WARM_UP = 2


def run(options: Options) -> Path:
    """Measure what is not there yet, write `evaluation.json`, show it; returns its path."""
    folder = options.out / "matrix"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ROWS
    if options.resume:
        drop_unfinished(path)
    else:
        path.unlink(missing_ok=True)
    written = folder / FILE
    beds = _known_beds(written) if options.resume else {}
    try:
        for settings, models in _beds(options):
            _on_a_bed(options, folder, settings, models, beds)
    finally:
        found = read_lines(path)
        if found:
            write_evaluation(folder, as_evaluation(found, beds))
    show(found)
    return written


def _beds(options: Options) -> Iterator[tuple[BedOptions, list[str]]]:
    """The models that share a bed; one whose points are all there needs none."""
    kinds: dict[tuple[str, float], list[str]] = {}
    for model in options.models:
        clock = options.clock if options.clock != "auto" else "cooperative" if model in SHORT else "auto"
        if _missing(options, model):
            core_mhz = options.core_mhz or CORE_MHZ.get(model, ANY_CORE_MHZ)
            kinds.setdefault((clock, core_mhz), []).append(model)
    for (clock, core_mhz), models in kinds.items():
        yield BedOptions(link=options.link, clock=clock, max_clock_mhz=core_mhz), models


def _known_beds(written: Path) -> dict[str, Any]:
    return dict(read_evaluation(written).bed) if written.exists() else {}


def _missing(options: Options, model: str) -> list[tuple[int, Conditions]]:
    there = {
        (one["model"], one["index"], Conditions(**one["conditions"]))
        for one in read_lines(options.out / "matrix" / ROWS)
    }
    drawn = enumerate(draw(model, options.points, options.seed))
    return [(index, conditions) for index, conditions in drawn if (model, index, conditions) not in there]


def _on_a_bed(options: Options, folder: Path, settings: BedOptions, models: list[str], beds: dict[str, Any]) -> None:
    with Bed(settings) as bed:
        about = bed.describe() | {"models": models}
        beds[f"{bed.clock.kind} clock, core {settings.max_clock_mhz:g} MHz, for {', '.join(models)}"] = about
        if not options.quick:
            rows = calibrated(bed, plan(settings.max_clock_mhz), strict=not options.off_bed)
            about["calibration"] = [row.told() for row in rows]
        for model in models:
            print(f"{model}: profiles and processes; clock {bed.clock.kind}, link {bed.link.kind}", flush=True)
            core_mhz, repeats = settings.max_clock_mhz, 5 if options.quick else 20
            with Site(bed, folder, model, max_clock_mhz=core_mhz, repeats=repeats, seed=options.seed) as site:
                _all_points(options, folder / ROWS, site, settings)


def plan(core_mhz: float) -> Plan:
    """What the points ask of a bed: their links, and the lowest, middle and highest share of its core."""
    shares = [share * MAX_CLOCK_MHZ / core_mhz for share in (*CLOCK_SHARE, sum(CLOCK_SHARE) / 2)]
    return Plan((2_000, 10_000, 50_000), (5, 20, 100), shares, body_s=0.4, bodies=5, pings=15, works=5)


def calibrated(bed: Bed, wanted: Plan, *, strict: bool) -> list[Row]:
    """What the bed obtains of what is asked for; where that is to be within 3 %, it may try twice.

    Raises:
        BedError: it is off by more than 3 % twice, and `strict`.
    """
    rows = measure(bed, wanted)
    if strict and not all(row.within() for row in rows):
        rows = measure(bed, wanted)
        require_within(rows, LIMIT)
    return rows


def _all_points(options: Options, path: Path, site: Site, settings: BedOptions) -> None:
    offline = Offline.of(site)
    fresh = True
    for index, conditions in _missing(options, site.model):
        point = {
            "model": site.model,
            "index": index,
            "conditions": asdict(conditions),
            "clock": site.bed.clock.kind,
            "link": site.bed.link.kind,
            **_measure(site, offline, conditions, options, settings, fresh=fresh),
        }
        fresh = False
        append_line(path, point)
        print(progress(read_lines(path), point, options.points), flush=True)


def _measure(
    site: Site, offline: Offline, conditions: Conditions, options: Options, settings: BedOptions, *, fresh: bool
) -> dict[str, Any]:
    began = time.monotonic()
    site.set(conditions)
    settled = site.settle(SETTLE_S, cut=_telling_cut(offline, conditions))
    decision = site.decision()
    live = forecast_of(decision["forecast"], offline.table)
    said = _forecasts(offline, observed(decision["observation"]), conditions)
    picked = {
        name: picks(offline.paper if name == "paper" else offline.default, forecast, WEIGHTS)
        for name, forecast in {"default": live, **said}.items()
    }
    wanted = {cut for by_weight in picked.values() for cut in by_weight.values()}
    cuts, left_out = choose_cuts(said["told"], conditions, options.cuts, wanted)
    for cut in cuts if fresh else cuts[-WARM_UP:]:  # an edge that has just started has answered each cut once
        site.infer(cut)
    speeds: list[dict[str, float]] = []
    requests: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []
    for number in range(options.passes):
        speeds.append({"edge": base_speed(settings.edge_core), "cloud": base_speed(settings.cloud_core)})
        observation = site.decision()["observation"]
        seen.append(observation)
        by_policy = {name: rows(of) for name, of in _forecasts(offline, observed(observation), conditions).items()}
        # Every other pass goes backwards, so that no cut always follows the same one.
        for cut in cuts if number % 2 == 0 else cuts[::-1]:
            answer = site.infer(cut)
            requests.append(_record(answer, number) | {name: _parts(by_policy[name].get(cut)) for name in by_policy})
    return {
        "settled": asdict(settled),
        "cuts": cuts,
        "left_out": left_out,
        "legal": len(live),
        "picks": {name: {str(w): cut for w, cut in by_weight.items()} for name, by_weight in picked.items()},
        "observations": seen,
        "base_s": speeds,
        "requests": requests,
        "took_s": time.monotonic() - began,
    }


def _forecasts(offline: Offline, observation: Observation, conditions: Conditions) -> dict[str, Forecast]:
    """By every policy that needs no running edge; `told` is the default one on what was set, not observed."""
    told = Observation(
        clock_mhz=conditions.clock_mhz,
        bandwidth_kbps=conditions.bandwidth_kbps * PAYLOAD_SHARE,
        ping_ms=conditions.ping_ms,
    )
    made = {
        "uncalibrated": offline.default.forecast(observation),
        "told": offline.default.forecast(told),
        "paper": offline.paper.forecast(observation),
    }
    return {name: made[name] for name in POLICIES if name in made}


def _telling_cut(offline: Offline, conditions: Conditions) -> int:
    """The cut whose request is large enough to tell the bandwidth, but no larger: half a second on the wire."""
    columns = offline.default.placements
    aim = min(SETTLE_BYTES, conditions.bandwidth_kbps * 1000 / 8 / 2)
    return int(columns.cut[int(np.abs(columns.request_bytes - aim).argmin())])


def _record(answer: Answer, number: int) -> dict[str, Any]:
    names = ("cut", "finished_by", "fallback", "latency_s", "edge_s", "link_s", "cloud_s", "cost_usd", "sent_bytes")
    measured = {name: getattr(answer, name) for name in names}
    return {"pass": number, **measured, "default": _parts(answer.predicted or None)}


def _parts(row: dict[str, Any] | None) -> dict[str, float] | None:
    if row is None:
        return None
    return {name: float(row[name]) for name in ("latency_s", "edge_s", "link_s", "cloud_s", "cost_usd")}


def base_speed(core: int) -> float:
    """Seconds of a fixed piece of work on a core, outside of the bed: what the machine itself does at its best."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            np.tanh(_WORK)
            taken.append(time.perf_counter() - start)
        return min(taken)
    finally:
        os.sched_setaffinity(0, before)


_WORK = np.linspace(-3.0, 3.0, 50_000)
