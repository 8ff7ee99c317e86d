"""The findings of a matrix as an `Evaluation`, and the closing table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from evaluation.matrix.noise import noise
from evaluation.matrix.results import AIMS, BASELINES, MEANING, POLICIES, PointFound, by_model, interval_of, value_of
from evaluation.site import PAYLOAD_SHARE
from evaluation.statistics import mean, median, p95, part_errors
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from evaluation.matrix.results import CutFound

KNOWING = "Algorithm 1, knowing the measurements"
Found = dict[str, list[PointFound]]
NOTES = (
    (
        "Real midcut processes on two hosts of the test bed; the latency is the edge engine's own. At every point the "
        "cuts take turns; a cut counts with the median of its passes, and the best of the measured cuts is the oracle. "
        "Intervals are 95 % by bootstrap over the points. An edge answers for all points of its model one after the "
        "other, as in use; before the first point it has answered each cut once."
    ),
    (
        "The clock is a share of the core's time, or for short models and small shares a stretch by the edge itself: "
        "latency goes with 1 / f by construction. This tests the system, not the clock law. The edge profile's other "
        "clocks are scaled likewise."
    ),
    (
        "The paper's policy picks among cuts at which a module ends; its picks are measured on bare bytes, though it "
        "would send base64, a third more, which favours it. Its clock law is fitted to the same profiles."
    ),
    (
        "`edge only` and `cloud only` take the last and the first cut at every point and look at nothing: a policy's "
        "picks are worth what they are better than the better of the two."
    ),
    (
        "Regret at w = 0.5 is of J = (1 - w) latency + w cost, both min-max scaled over the measured cuts, as in "
        "midcut simulate: 1 is the whole span. Algorithm 1 does not minimise J; what it reaches with the measurements "
        "themselves is its own part of that regret."
    ),
)


def as_evaluation(rows: Sequence[Mapping[str, Any]], beds: Mapping[str, Any]) -> Evaluation:
    """Everything that the points of all models say."""
    found = by_model(rows)
    lost = sum(point.lost for points in found.values() for point in points)
    unsettled = sum(not row["settled"]["seen"] for row in rows)
    notes = [*NOTES, *(f"Policy {name}: {MEANING[name]}." for name in POLICIES)]
    if unsettled:
        notes.append(f"At {unsettled} of {len(rows)} points telemetry did not come near what was set before measuring.")
    return Evaluation(
        title="Predicted against measured, over links and clocks",
        notes=notes,
        bed=dict(beds),
        tables=[_aims(found), _errors(found), _picks(found), _parts(found), _noise(found), _where(found)],
        figures=[*(_scatter(model, points) for model, points in found.items()), _regrets(found)],
        values={**dict(_values(found)), "lost": lost, "unsettled": unsettled, "points": len(rows)},
    )


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else round(100 * value, 2)


def _with_interval(points: Sequence[PointFound], policy: str, what: str) -> list[str | float | None]:
    value, low, high = interval_of(points, policy, what)
    return [_percent(value), "" if np.isnan(value) else f"{100 * low:.1f} to {100 * high:.1f}"]


def _each(found: Found, names: Sequence[str] = POLICIES) -> Iterator[tuple[str, list[PointFound], str]]:
    for model, points in found.items():
        for policy in names:
            yield model, points, policy


def _errors(found: Found) -> Table:
    rows = []
    for model, points, policy in _each(found):
        counted = sum(len(point.errors(policy)) for point in points)
        figures = [cell for what in ("error", "p95") for cell in _with_interval(points, policy, what)]
        single = _percent(value_of(points, policy, "single"))
        rows.append([model, policy, len(points), counted, *figures, single])
    columns = ["model", "policy", "points", "cuts", "median error [%]", "95 % interval", "p95 error [%]"]
    return Table(
        "Error of the predicted latency", [*columns, "p95's interval", "median error of one request [%]"], rows
    )


def _picks(found: Found) -> Table:
    rows = []
    for model, points, policy in _each(found, (*POLICIES, *BASELINES)):
        cells = [_percent(value_of(points, policy, what)) for what in ("hit", "near")]
        choices = [point.fastest[policy].regret for point in points if policy in point.fastest]
        worst = _percent(max(choices, default=float("nan")))
        half = [_percent(value_of(points, policy, "hit_half")), *_with_interval(points, policy, "regret_half")]
        rows.append([model, policy, *cells, *_with_interval(points, policy, "regret"), worst, *half])
    for model, points in found.items():
        known = [point.planner for point in points if point.planner is not None]
        hit, regret = ([float(getattr(one, name)) for one in known] for name in ("hit", "regret"))
        nothing: list[str | float | None] = [None] * 5
        rows.append([model, KNOWING, *nothing, _mean(hit), _mean(regret), ""])
    columns = ["model", "policy", "hit [%]", "within 2 % [%]", "mean regret [%]", "95 % interval", "worst regret [%]"]
    more = ["hit at w=0.5 [%]", "objective regret at w=0.5 [%]", "its interval"]
    return Table("Picks against the best measured cut", [*columns, *more], rows)


def _mean(values: Sequence[float]) -> float | None:
    return _percent(mean(np.array(values))) if values else None


def _parts(found: Found) -> Table:
    rows: list[list[str | float | None]] = []
    for model, points, policy in _each(found):
        cuts = [one for point in points for one in point.cuts if policy in one.predicted]
        if not cuts:
            continue
        off = part_errors([one.predicted[policy] for one in cuts], [one.measured for one in cuts])
        rows.extend([model, policy, part, *(_percent(value) for value in values)] for part, values in off.items())
    columns = ["model", "policy", "part", "bias [% of latency]", "size [% of latency]", "share of all error [%]"]
    return Table("Which part is off", columns, rows)


def _noise(found: Found) -> Table:
    rows = []
    for model, points in found.items():
        one = noise(points, PAYLOAD_SHARE)
        own = (one.spread, one.spread_p95, one.repeat, one.edge_core, one.cloud_core)
        rows.append([model, *(_percent(value) for value in (*own, *one.observed.values()))])
    columns = ["model", "IQR / median of a cut [%]", "its p95 [%]", "a request against its repetitions [%]"]
    cores = ["edge core's own range [%]", "cloud core's own range [%]"]
    off = ["clock observed off by [%]", "bandwidth off by [%]", "ping off by [%]"]
    return Table("What varies by itself, and what telemetry is off by", [*columns, *cores, *off], rows)


Group = tuple[str, "Callable[[PointFound, CutFound], bool]"]


def _groups() -> list[Group]:
    def conditions(name: str, low: float, high: float) -> Callable[[PointFound, CutFound], bool]:
        return lambda point, _: low <= point.row["conditions"][name] < high

    def sent(low: float, high: float) -> Callable[[PointFound, CutFound], bool]:
        return lambda _, cut: low <= cut.sent_bytes < high

    inf = float("inf")
    return [
        ("clock under 900 MHz", conditions("clock_mhz", 0, 900)),
        ("clock 900 to 1200 MHz", conditions("clock_mhz", 900, 1200)),
        ("clock over 1200 MHz", conditions("clock_mhz", 1200, inf)),
        ("under 5 Mbit/s", conditions("bandwidth_kbps", 0, 5000)),
        ("5 to 15 Mbit/s", conditions("bandwidth_kbps", 5000, 15_000)),
        ("over 15 Mbit/s", conditions("bandwidth_kbps", 15_000, inf)),
        ("ping under 20 ms", conditions("ping_ms", 0, 20)),
        ("ping over 20 ms", conditions("ping_ms", 20, inf)),
        ("nothing sent", sent(0, 1)),
        ("under 20 kB sent", sent(1, 20_000)),
        ("20 to 200 kB sent", sent(20_000, 200_000)),
        ("over 200 kB sent", sent(200_000, inf)),
    ]


def _where(found: Found) -> Table:
    """The default policy's error by conditions and by what is sent."""
    rows: list[list[str | float | None]] = []
    for model, points in found.items():
        for name, belongs in _groups():
            kept = [cut for point in points for cut in point.cuts if "default" in cut.predicted and belongs(point, cut)]
            if not kept:
                continue
            errors = np.array([cut.error("default") for cut in kept])
            bias = [cut.predicted["default"]["latency_s"] / cut.measured["latency_s"] - 1.0 for cut in kept]
            figures = (median(errors), p95(errors), median(np.array(bias)))
            rows.append([model, name, len(kept), *(_percent(value) for value in figures)])
    return Table(
        "Where the default policy is off", ["model", "where", "cuts", "median error [%]", "p95 [%]", "bias [%]"], rows
    )


def _aims(found: Found) -> Table:
    """Each aim, and for one that was missed which part has most of the error."""
    rows: list[list[str | float | None]] = []
    for model, points in found.items():
        cuts = [one for point in points for one in point.cuts if "default" in one.predicted]
        if not cuts:
            continue
        off = part_errors([one.predicted["default"] for one in cuts], [one.measured for one in cuts])
        most = max(off, key=lambda part: off[part][2])
        why = f"{most}: {off[most][2]:.0%} of all error, bias {off[most][0]:+.1%} of latency"
        for what, said in (("error", "median error"), ("p95", "p95 error"), ("regret", "mean regret")):
            value = value_of(points, "default", what)
            met = value <= AIMS[what]
            rows.append(
                [model, said, _percent(AIMS[what]), _percent(value), "met" if met else "missed", "" if met else why]
            )
    return Table(
        "Aims of the default policy", ["model", "aim", "at most [%]", "found [%]", "", "most of it is from"], rows
    )


def _scatter(model: str, points: Sequence[PointFound]) -> Figure:
    series = []
    for policy in ("default", "paper"):
        cuts = [one for point in points for one in point.cuts if policy in one.predicted]
        measured = [one.measured["latency_s"] * 1000 for one in cuts]
        series.append(Series(policy, measured, [one.predicted[policy]["latency_s"] * 1000 for one in cuts]))
    return Figure(
        f"predicted-{model.replace('_', '-')}",
        f"{model}: predicted against measured latency, every measured cut at {len(points)} points",
        Axis("measured [ms]", log=True),
        Axis("predicted [ms]", log=True),
        series,
        diagonal=True,
    )


def _regrets(found: Found) -> Figure:
    series = []
    for policy in POLICIES:
        whole = {model: interval_of(points, policy, "regret") for model, points in found.items()}
        y, low, high = ([_percent(values[at]) for values in whole.values()] for at in range(3))
        series.append(Series(policy, list(whole), y, low, high, kind="bars"))
    return Figure("regret", "Mean regret of the pick at w = 0", Axis("model"), Axis("regret [%]"), series)


def _values(found: Found) -> Iterator[tuple[str, float | None]]:
    for model, points, policy in _each(found):
        for what in ("error", "p95", "single", "hit", "near", "regret", "hit_half", "regret_half"):
            value = value_of(points, policy, what)
            yield f"{model}.{policy}.{what}", None if np.isnan(value) else value
    for model, points, policy in _each(found, BASELINES):
        for what in ("hit", "near", "regret", "hit_half", "regret_half"):
            value = value_of(points, policy, what)
            yield f"{model}.{policy.replace(' ', '_')}.{what}", None if np.isnan(value) else value


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """The closing table on the terminal."""
    columns = ("model", "policy", "error", "p95", "hit", "within 2 %", "regret", "regret w=0.5")
    table = RichTable(*columns, title="predicted against measured, and picks", title_justify="left")
    for model, points, policy in _each(by_model(rows), (*POLICIES, *BASELINES)):
        what = ("error", "p95", "hit", "near", "regret", "regret_half")
        values = [value_of(points, policy, one) for one in what]
        table.add_row(model, policy, *("-" if np.isnan(value) else f"{value:.1%}" for value in values))
    Console(highlight=False).print(table)
