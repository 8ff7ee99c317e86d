"""Predicted against measured, and picks against the best cut, at links and clocks drawn by a seed.

At each point some dozen cuts are run in turns, each pass once through all of them. `points.jsonl` has a line a point.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from bed import Bed, BedOptions

from evaluation.beds import clock_kind, core_mhz, repeats, site_folder
from evaluation.calibrating import calibrated, plan
from evaluation.lines import append_line, drop_unfinished, read_lines
from evaluation.matrix.points import choose_cuts, draw
from evaluation.matrix.report import as_evaluation, show
from evaluation.matrix.results import POLICIES, WEIGHTS, progress
from evaluation.policies import Offline, forecast_of, observed, picks, rows, true
from evaluation.site import Conditions, Site
from midcut.results.evaluation import FILE, read_evaluation, write_evaluation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from evaluation.client import Answer
    from evaluation.options import Options
    from midcut.types import Forecast, Observation

ROWS = "points.jsonl"
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
    beds = _known_beds(folder / FILE) if options.resume else {}
    try:
        for settings, models in _beds(options):
            _on_a_bed(options, folder, settings, models, beds)
    finally:
        _write(options, folder, beds)
    show(_measured(options, path))
    return folder / FILE


def _measured(options: Options, path: Path) -> list[dict[str, Any]]:
    """What is there of the cores that are asked for; with another one it is another experiment."""
    return [row for row in read_lines(path) if row.get("core_mhz") == core_mhz(options, row["model"])]


def _write(options: Options, folder: Path, beds: dict[str, Any]) -> None:
    found = _measured(options, folder / ROWS)
    if found:
        write_evaluation(folder, as_evaluation(found, beds))


def _beds(options: Options) -> Iterator[tuple[BedOptions, list[str]]]:
    """The models that share a bed; one whose points are all there needs none."""
    kinds: dict[tuple[str, float], list[str]] = {}
    for model in options.models:
        if _missing(options, model):
            full_mhz = core_mhz(options, model)
            kinds.setdefault((clock_kind(options.clock, model, full_mhz), full_mhz), []).append(model)
    for (clock, full_mhz), models in kinds.items():
        yield BedOptions(link=options.link, clock=clock, max_clock_mhz=full_mhz), models


def _known_beds(written: Path) -> dict[str, Any]:
    return dict(read_evaluation(written).bed) if written.exists() else {}


def _missing(options: Options, model: str) -> list[tuple[int, Conditions]]:
    there = {
        (one["model"], one["index"], Conditions(**one["conditions"]))
        for one in _measured(options, options.out / "matrix" / ROWS)
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
            full_mhz = settings.max_clock_mhz
            with Site(
                bed,
                site_folder(options, full_mhz),
                model,
                max_clock_mhz=full_mhz,
                repeats=repeats(options),
                seed=options.seed,
            ) as site:
                _all_points(options, folder, site, settings, beds)


def _all_points(options: Options, folder: Path, site: Site, settings: BedOptions, beds: dict[str, Any]) -> None:
    path = folder / ROWS
    offline = Offline.of(site)
    fresh = True
    for index, conditions in _missing(options, site.model):
        point = {
            "model": site.model,
            "index": index,
            "conditions": asdict(conditions),
            "core_mhz": settings.max_clock_mhz,
            "clock": site.bed.clock.kind,
            "link": site.bed.link.kind,
            **_measure(site, offline, conditions, options, settings, fresh=fresh),
        }
        fresh = False
        append_line(path, point)
        print(progress(_measured(options, path), point, options.points), flush=True)
        _write(options, folder, beds)  # a kill loses neither the bed nor its calibration


def _measure(
    site: Site, offline: Offline, conditions: Conditions, options: Options, settings: BedOptions, *, fresh: bool
) -> dict[str, Any]:
    began = time.monotonic()
    site.set(conditions)
    settled = site.settle(SETTLE_S, cut=_telling_cut(offline, conditions))
    decision = site.planned()
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
    made = {
        "uncalibrated": offline.default.forecast(observation),
        "told": offline.default.forecast(true(conditions)),
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
