"""Measures some dozen cuts at each of several links and clocks drawn by a seed, in several passes through all cuts."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from evaluation.beds import clock_kind, core_mhz, open_bed, site_on
from evaluation.matrix.points import choose_cuts, draw
from evaluation.matrix.report import evaluation, print_table
from evaluation.matrix.results import WEIGHTS, progress_line
from evaluation.options import NATIVE
from evaluation.policies import OfflinePolicies, forecast_of, observation_of, picks, rows_by_cut, true_observation
from evaluation.rows import Rows
from evaluation.statistics import COLUMNS
from midcut.results.evaluation import FILE, Evaluation, read_evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.client import Answer
    from evaluation.options import Options
    from evaluation.rows import Row
    from evaluation.site import Conditions, Site
    from midcut.types import Forecast, Observation

SETTLE_S = 20.0
SETTLE_BYTES = 250_000  # enough to measure a bandwidth by


def run(options: Options) -> None:
    """Measure the points that are not there yet; a row is a point. Shows a table at the end."""
    folder = options.out / "matrix"

    def evaluate(rows: Sequence[Row], bed: dict[str, Any]) -> Evaluation | None:
        points = points_of(options, rows)
        return evaluation(points, bed) if points else None

    with Rows(folder / "points.jsonl", evaluate, resume=options.resume) as rows:
        if options.resume and (folder / FILE).exists():
            rows.bed |= read_evaluation(folder / FILE).bed
        groups: dict[tuple[str, float], list[str]] = {}
        for model in options.models:
            if missing_points(options, rows.all, model):
                full_mhz = core_mhz(options, model)
                groups.setdefault((clock_kind(options, model, full_mhz), full_mhz), []).append(model)
        for (_, full_mhz), models in groups.items():
            _measure_on_bed(options, models, full_mhz, rows)
    print_table(points_of(options, rows.all))


def points_of(options: Options, rows: Sequence[Row]) -> list[Row]:
    """The points measured with the core and executor that are asked for; others make another experiment."""
    asked = [row for row in rows if row.get("executor", NATIVE) == options.executor]
    return [row for row in asked if row.get("core_mhz") == core_mhz(options, row["model"])]


def missing_points(options: Options, rows: Sequence[Row], model: str) -> list[tuple[int, Conditions]]:
    """The points of a model that are still to be measured, with their numbers."""
    measured = [(row["model"], row["index"], row["conditions"]) for row in points_of(options, rows)]
    drawn = enumerate(draw(model, options.points, options.seed))
    return [point for point in drawn if (model, point[0], asdict(point[1])) not in measured]


def _measure_on_bed(options: Options, models: list[str], full_mhz: float, rows: Rows) -> None:
    """Measure the models that can share a bed."""
    with open_bed(options, models[0], full_mhz) as (bed, description):
        name = f"{bed.clock.kind} clock, core {full_mhz:g} MHz, for {', '.join(models)}"
        rows.bed[name] = description | {"models": models}
        for model in models:
            print(f"{model}: profiles and processes; clock {bed.clock.kind}, link {bed.link.kind}", flush=True)
            with site_on(bed, options, model, w=0.0) as site:
                offline = OfflinePolicies.of(site)
                for index, conditions in missing_points(options, rows.all, model):
                    rows.add(
                        model=model,
                        index=index,
                        conditions=asdict(conditions),
                        core_mhz=full_mhz,
                        clock=bed.clock.kind,
                        link=bed.link.kind,
                        executor=options.executor,
                        **_measure_point(site, offline, conditions, options),
                    )
                    print(progress_line(points_of(options, rows.all), options.points), flush=True)
                    rows.write_evaluation()  # a kill loses neither the bed nor its calibration


def _measure_point(site: Site, offline: OfflinePolicies, conditions: Conditions, options: Options) -> dict[str, Any]:
    began = time.monotonic()
    site.set(conditions)
    settled = site.settle(SETTLE_S, cut=_settling_cut(offline, conditions))
    decision = site.decision_with_forecast()
    forecasts = {
        "default": forecast_of(decision["forecast"], offline.table),
        **_forecasts(offline, observation_of(decision["observation"]), conditions),
    }
    picked = {
        name: picks(offline.paper if name == "paper" else offline.default, forecast, WEIGHTS)
        for name, forecast in forecasts.items()
    }
    all_picks = {cut for by_weight in picked.values() for cut in by_weight.values()}
    cuts, left_out = choose_cuts(forecasts["told"], conditions, options.cuts, all_picks)
    site.warm_up(cuts)
    speeds: list[dict[str, float]] = []
    requests: list[dict[str, Any]] = []
    observations: list[dict[str, Any]] = []
    cores = {"edge": site.bed.options.edge_core, "cloud": site.bed.options.cloud_core}
    for number in range(options.passes):
        speeds.append({host: fixed_work_s(core) for host, core in cores.items()})
        observations.append(site.decision()["observation"])
        forecasts = _forecasts(offline, observation_of(observations[-1]), conditions)
        predicted = {name: rows_by_cut(forecast) for name, forecast in forecasts.items()}
        # Every other pass goes backwards, so that no cut always follows the same one.
        for cut in cuts if number % 2 == 0 else cuts[::-1]:
            fields = _request_fields(site.infer(cut), number)
            requests.append(fields | {name: _parts(by_cut.get(cut)) for name, by_cut in predicted.items()})
    return {
        "settled": asdict(settled),
        "cuts": cuts,
        "left_out": left_out,
        "legal": len(decision["forecast"]),
        "picks": {name: {str(w): cut for w, cut in by_weight.items()} for name, by_weight in picked.items()},
        "observations": observations,
        "base_s": speeds,
        "requests": requests,
        "took_s": time.monotonic() - began,
    }


def _forecasts(offline: OfflinePolicies, observation: Observation, conditions: Conditions) -> dict[str, Forecast]:
    """The forecasts of all policies that need no running edge."""
    return {
        "uncalibrated": offline.default.forecast(observation),
        "told": offline.default.forecast(true_observation(conditions)),
        "paper": offline.paper.forecast(observation),
    }


def _settling_cut(offline: OfflinePolicies, conditions: Conditions) -> int:
    """The cut whose request is large enough to measure the bandwidth by, but no larger: half a second on the wire."""
    columns = offline.default.placements
    aim_bytes = min(SETTLE_BYTES, conditions.bandwidth_kbps * 1000 / 8 / 2)
    return int(columns.cut[int(np.abs(columns.request_bytes - aim_bytes).argmin())])


def _request_fields(answer: Answer, number: int) -> dict[str, Any]:
    fields = msgspec.structs.asdict(answer)
    predicted = fields.pop("predicted")
    return {"pass": number, **fields, "default": _parts(predicted or None)}


def _parts(row: Mapping[str, Any] | None) -> dict[str, float] | None:
    return None if row is None else {name: float(row[name]) for name in COLUMNS}


def fixed_work_s(core: int) -> float:
    """Seconds of a fixed piece of work on a core, outside of the bed: how fast the machine itself is now."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            np.tanh(_WORK)
            seconds.append(time.perf_counter() - start)
        return min(seconds)
    finally:
        os.sched_setaffinity(0, before)


_WORK = np.linspace(-3.0, 3.0, 50_000)
