"""The points of a matrix as an `Evaluation`, and the closing table on the terminal."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from bed.links import PAYLOAD_SHARE
from rich.console import Console
from rich.table import Table as RichTable

from evaluation.matrix.noise import noise_of
from evaluation.matrix.results import BASELINES, POLICIES, PointResult, points_by_model, statistic, with_interval
from evaluation.statistics import mean, median, p95, part_errors
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from evaluation.matrix.results import CutResult
    from evaluation.rows import Row
    from midcut.results.evaluation import Cell

Models = dict[str, list[PointResult]]
LABELS = {"told": "exact telemetry"}
"""What a policy is called in tables and figures, where not by its name."""
FROM_MEASUREMENTS = "Algorithm 1, from the measurements"
AIMS = {"error": ("median error", 0.05), "p95": ("p95 error", 0.15), "regret": ("mean regret", 0.02)}
PICK_METRICS = ("hit", "near", "regret", "hit_half", "regret_half")
NOTES = (
    (
        "Real midcut processes on two hosts of the test bed; the latency is the edge engine's own. At every point the "
        "cuts take turns; a cut counts with the median of its passes, and the best of the measured cuts is the oracle. "
        "Intervals are 95 % by bootstrap over the points. One edge answers for all points of its model one after the "
        "other, as in use; before the first point it has answered each cut once."
    ),
    (
        "The clock is a share of the core's time, or for short models and small shares the edge itself stretches each "
        "run: latency goes with 1 / f by construction. This tests the system, not the clock law. The other clocks of "
        "the edge's profile are scaled likewise."
    ),
    (
        "The paper's policy picks among cuts at which a module ends; its picks are measured on uncompressed payloads, "
        "though it would send base64, a third more, which favours it. Its clock law is fitted to the same profiles."
    ),
    (
        "`edge only` and `cloud only` take the last and the first cut at every point, whatever the conditions: a "
        "policy's picks are worth as much as they are better than the better of the two."
    ),
    (
        "Regret at w = 0.5 is of J = (1 - w) latency + w cost, both min-max scaled over the measured cuts, as in "
        "midcut simulate: 1 is the whole span. Algorithm 1 does not minimise J; the regret that it has from the "
        "measurements themselves is its own part."
    ),
)


def evaluation(rows: Sequence[Row], beds: dict[str, Any]) -> Evaluation:
    """Tables, figures and values of a matrix, finished or stopped."""
    models = points_by_model(rows)
    lost = sum(point.lost for points in models.values() for point in points)
    unsettled = sum(not row["settled"]["seen"] for row in rows)
    notes = [*NOTES, *(f"Policy {_label(name)}: {meaning}." for name, meaning in POLICIES.items())]
    if unsettled:
        notes.append(
            f"At {unsettled} of {len(rows)} points telemetry did not settle near what was set before measuring."
        )
    return Evaluation(
        title="Predicted against measured, over links and clocks",
        notes=notes,
        bed=beds,
        tables=[table(models) for table in (_aims, _errors, _picks, _parts, _noise, _errors_by_condition)],
        figures=[*(_scatter(model, points) for model, points in models.items()), _regrets(models)],
        values={**dict(_values(models)), "lost": lost, "unsettled": unsettled, "points": len(rows)},
    )


def _label(policy: str) -> str:
    return LABELS.get(policy, policy)


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else round(100 * value, 2)


def _cells_with_interval(points: Sequence[PointResult], policy: str, metric: str) -> list[Cell]:
    value, low, high = with_interval(points, policy, metric)
    return [_percent(value), "" if np.isnan(value) else f"{100 * low:.1f} to {100 * high:.1f}"]


def _each(models: Models, names: Sequence[str] = tuple(POLICIES)) -> Iterator[tuple[str, list[PointResult], str]]:
    for model, points in models.items():
        for policy in names:
            yield model, points, policy


def _cuts_of(points: Sequence[PointResult], policy: str) -> list[CutResult]:
    """The measured cuts that the policy offers."""
    return [cut for point in points for cut in point.cuts if policy in cut.predicted]


def _part_errors(cuts: Sequence[CutResult], policy: str) -> dict[str, tuple[float, float, float]]:
    return part_errors([cut.predicted[policy] for cut in cuts], [cut.measured for cut in cuts])


def _errors(models: Models) -> Table:
    rows = []
    for model, points, policy in _each(models):
        figures = [cell for metric in ("error", "p95") for cell in _cells_with_interval(points, policy, metric)]
        request = _percent(statistic(points, policy, "single"))
        rows.append([model, _label(policy), len(points), len(_cuts_of(points, policy)), *figures, request])
    columns = ["model", "policy", "points", "cuts", "median error [%]", "95 % interval", "p95 error [%]"]
    return Table(
        "Error of the predicted latency", [*columns, "p95's interval", "median error of one request [%]"], rows
    )


def _picks(models: Models) -> Table:
    rows: list[list[Cell]] = []
    for model, points, policy in _each(models, (*POLICIES, *BASELINES)):
        value = partial(statistic, points, policy)
        worst = max((point.fastest[policy].regret for point in points if policy in point.fastest), default=np.nan)
        fastest: list[Cell] = [_percent(value("hit")), _percent(value("near"))]
        fastest += [*_cells_with_interval(points, policy, "regret"), _percent(worst)]
        balanced = [_percent(value("hit_half")), *_cells_with_interval(points, policy, "regret_half")]
        rows.append([model, _label(policy), *fastest, *balanced])
    for model, points in models.items():
        choices = [point.planner for point in points if point.planner is not None]
        figures = [np.array([getattr(choice, name) for choice in choices], dtype=float) for name in ("hit", "regret")]
        balanced = [_percent(mean(values)) if choices else None for values in figures]
        rows.append([model, FROM_MEASUREMENTS, *[None] * 5, *balanced, ""])
    columns = ["model", "policy", "hit [%]", "within 2 % [%]", "mean regret [%]", "95 % interval", "worst regret [%]"]
    more = ["hit at w=0.5 [%]", "objective regret at w=0.5 [%]", "its interval"]
    return Table("Picks against the best measured cut", [*columns, *more], rows)


def _parts(models: Models) -> Table:
    rows: list[list[Cell]] = []
    for model, points, policy in _each(models):
        cuts = _cuts_of(points, policy)
        errors = _part_errors(cuts, policy) if cuts else {}
        rows += [[model, _label(policy), part, *map(_percent, values)] for part, values in errors.items()]
    columns = ["model", "policy", "part", "bias [% of latency]", "size [% of latency]", "share of all error [%]"]
    return Table("Error of each part", columns, rows)


def _noise(models: Models) -> Table:
    rows = []
    for model, points in models.items():
        noise = noise_of(points, PAYLOAD_SHARE)
        latency = (noise.spread, noise.spread_p95, noise.repeat)
        rows.append([model, *map(_percent, (*latency, noise.edge_core, noise.cloud_core, *noise.observed.values()))])
    columns = ["model", "IQR / median of a cut [%]", "its p95 [%]", "a request against its repetitions [%]"]
    cores = ["edge core's own range [%]", "cloud core's own range [%]"]
    observed = ["error of the observed clock [%]", "of the bandwidth [%]", "of the ping [%]"]
    return Table("Variation without any change, and the error of telemetry", [*columns, *cores, *observed], rows)


def _conditions() -> dict[str, Callable[[PointResult, CutResult], bool]]:
    """Name of a group of measured cuts -> whether a cut of a point belongs to it."""

    def set_to(name: str, low: float, high: float = np.inf) -> Callable[[PointResult, CutResult], bool]:
        return lambda point, _: low <= point.row["conditions"][name] < high

    def sent(low: float, high: float = np.inf) -> Callable[[PointResult, CutResult], bool]:
        return lambda _, cut: low <= cut.sent_bytes < high

    return {
        "clock under 900 MHz": set_to("clock_mhz", 0, 900),
        "clock 900 to 1200 MHz": set_to("clock_mhz", 900, 1200),
        "clock over 1200 MHz": set_to("clock_mhz", 1200),
        "under 5 Mbit/s": set_to("bandwidth_kbps", 0, 5000),
        "5 to 15 Mbit/s": set_to("bandwidth_kbps", 5000, 15_000),
        "over 15 Mbit/s": set_to("bandwidth_kbps", 15_000),
        "ping under 20 ms": set_to("ping_ms", 0, 20),
        "ping over 20 ms": set_to("ping_ms", 20),
        "nothing sent": sent(0, 1),
        "under 20 kB sent": sent(1, 20_000),
        "20 to 200 kB sent": sent(20_000, 200_000),
        "over 200 kB sent": sent(200_000),
    }


def _errors_by_condition(models: Models) -> Table:
    """The default policy's error by conditions and by the bytes that are sent."""
    rows: list[list[Cell]] = []
    for model, points in models.items():
        for name, belongs in _conditions().items():
            cuts = [cut for point in points for cut in _cuts_of([point], "default") if belongs(point, cut)]
            if not cuts:
                continue
            errors = np.array([cut.error("default") for cut in cuts])
            bias = [cut.predicted["default"]["latency_s"] / cut.measured["latency_s"] - 1.0 for cut in cuts]
            rows.append([model, name, len(cuts), *map(_percent, (median(errors), p95(errors), median(np.array(bias))))])
    columns = ["model", "conditions", "cuts", "median error [%]", "p95 [%]", "bias [%]"]
    return Table("Error of the default policy by conditions", columns, rows)


def _aims(models: Models) -> Table:
    """Each aim, and for a missed one the part with most of the error."""
    rows: list[list[Cell]] = []
    for model, points in models.items():
        cuts = _cuts_of(points, "default")
        if not cuts:
            continue
        errors = _part_errors(cuts, "default")
        most = max(errors, key=lambda part: errors[part][2])
        cause = f"{most}: {errors[most][2]:.0%} of all error, bias {errors[most][0]:+.1%} of latency"
        for metric, (name, aim) in AIMS.items():
            value = statistic(points, "default", metric)
            verdict = ("met", "") if value <= aim else ("missed", cause)
            rows.append([model, name, _percent(aim), _percent(value), *verdict])
    columns = ["model", "aim", "at most [%]", "measured [%]", "", "largest part of the error"]
    return Table("Aims of the default policy", columns, rows)


def _scatter(model: str, points: Sequence[PointResult]) -> Figure:
    series = []
    for policy in ("default", "paper"):
        cuts = _cuts_of(points, policy)
        measured_ms = [cut.measured["latency_s"] * 1000 for cut in cuts]
        series.append(Series(policy, measured_ms, [cut.predicted[policy]["latency_s"] * 1000 for cut in cuts]))
    return Figure(
        f"predicted-{model.replace('_', '-')}",
        f"{model}: predicted against measured latency, every measured cut at {len(points)} points",
        Axis("measured [ms]", log=True),
        Axis("predicted [ms]", log=True),
        series,
        diagonal=True,
    )


def _regrets(models: Models) -> Figure:
    series = []
    for policy in POLICIES:
        intervals = [with_interval(points, policy, "regret") for points in models.values()]
        y, low, high = ([_percent(interval[at]) for interval in intervals] for at in range(3))
        series.append(Series(_label(policy), list(models), y, low, high, kind="bars"))
    return Figure("regret", "Mean regret of the pick at w = 0", Axis("model"), Axis("regret [%]"), series)


def _values(models: Models) -> Iterator[tuple[str, float | None]]:
    errors = ("error", "p95", "single")
    for names, metrics in ((tuple(POLICIES), (*errors, *PICK_METRICS)), (BASELINES, PICK_METRICS)):
        for model, points, policy in _each(models, names):
            for metric in metrics:
                value = statistic(points, policy, metric)
                yield f"{model}.{policy.replace(' ', '_')}.{metric}", None if np.isnan(value) else value


def print_table(rows: Sequence[Row]) -> None:
    """Print the closing table."""
    columns = ("model", "policy", "error", "p95", "hit", "within 2 %", "regret", "regret w=0.5")
    table = RichTable(*columns, title="predicted against measured, and picks", title_justify="left")
    for model, points, policy in _each(points_by_model(rows), (*POLICIES, *BASELINES)):
        metrics = ("error", "p95", "hit", "near", "regret", "regret_half")
        values = [statistic(points, policy, metric) for metric in metrics]
        table.add_row(model, _label(policy), *("-" if np.isnan(value) else f"{value:.1%}" for value in values))
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)
