"""The rows of a throttled edge as an evaluation: how wrong it was, for how long, and what that cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.statistics import percentage_error
from evaluation.steps.report import best_of, first_run, under
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.results.evaluation import Cell

RIGHT = 0.05
EARLY, LATE = 10, 20
NOTES = (
    (
        "The edge's core gives it 2.5 times less time than its telemetry says. Requests without a given cut, one "
        "after the other; the best cut of each phase is measured by forced requests at its end. Regret: mean "
        "latency of the requests over the median of the best cut, less 1. `until within 5 %`: requests before the "
        "first of three in a row whose median error of the predicted latency is under 5 %."
    ),
    "`edge held to be`: the edge's seconds in the forecast over those of its profile, before each request.",
    (
        "Where the cut in use leaves the edge alone, nothing tells that it is fast again: what was learnt is then "
        "forgotten by time (calibration.forget_s)."
    ),
)


def until_right(errors: Sequence[float], bound: float = RIGHT) -> int | None:
    """Requests before the first of three in a row that, as their median, is off by no more; None: not seen."""
    return first_run(errors, lambda some: under(some, bound))


def regret(latency_s: Sequence[float], best_s: float) -> float | None:
    """Mean latency over the best one, less 1; None without a latency."""
    return float(np.mean(latency_s)) / best_s - 1.0 if len(latency_s) else None


_COLUMNS = (
    "way", "phase", "requests", "cut in use at the end", "best cut", "best cut [ms]", "regret, first 10 [%]",
    "regret, last 20 [%]", "error, first 10 [%]", "error, last 20 [%]", "requests until within 5 %",
    "edge held to be slower by, at the end",
)  # fmt: skip


def evaluation(rows: Sequence[Mapping[str, Any]], bed: dict[str, Any], factor: float) -> Evaluation:
    """Tables, figures and values of `throttle`, whole or stopped."""
    cells: list[list[Cell]] = []
    values: dict[str, float | None] = {"factor": factor, "lost": sum("lost" in row for row in rows)}
    series: dict[str, list[Series]] = {"latency": [], "held": [], "error": []}
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        at_rest = best_of([row for row in own if row["phase"] == "before"])
        phases = dict.fromkeys(row["phase"] for row in own)
        cells += [_phase(way, one, [row for row in own if row["phase"] == one], at_rest, values) for one in phases]
        _draw(way, [row for row in own if row["kind"] == "dynamic" and "lost" not in row], series)
    model = rows[0]["model"]
    request = Axis("request")
    return Evaluation(
        title=f"{model}: the edge throttled {factor:g} times, unknown to its telemetry",
        notes=NOTES,
        bed=bed,
        tables=[Table("Before, while and after", _COLUMNS, cells)],
        figures=[
            Figure("throttle-latency", "Latency of each request", request, Axis("latency [ms]"), series["latency"]),
            Figure("throttle-held", "How much slower the edge is held to be", request, Axis("times"), series["held"]),
            Figure("throttle-error", "Error of the predicted latency", request, Axis("error [%]"), series["error"]),
        ],
        values=values,
    )


def _phase(
    way: str, phase: str, rows: Sequence[Mapping[str, Any]], at_rest: Any, values: dict[str, float | None]
) -> list[Cell]:
    answered = [row for row in rows if row["kind"] == "dynamic" and "lost" not in row]
    best = best_of(rows) or at_rest  # afterwards, the edge is as it was before
    latency_s = [row["latency_s"] for row in answered]
    errors = [percentage_error(row["predicted_s"], row["latency_s"]) for row in answered if row["predicted_s"]]
    right = until_right(errors)
    best_s = best.latency_s[best.cut] if best else float("nan")
    early, late = regret(latency_s[:EARLY], best_s), regret(latency_s[-LATE:], best_s)
    held = next((row["held"] for row in reversed(answered) if row["held"] is not None), None)
    key = f"{way}_{phase}".replace(" ", "_")
    values |= {f"{key}_regret_first_10": early, f"{key}_regret_last_20": late, f"{key}_until_right": right}
    return [
        way,
        phase,
        len(answered),
        answered[-1]["cut"] if answered else None,
        best.cut if best else None,
        best_s * 1e3,
        _percent(early),
        _percent(late),
        _percent(float(np.median(errors[:EARLY])) if errors else None),
        _percent(float(np.median(errors[-LATE:])) if errors else None),
        right,
        held,
    ]


def _draw(way: str, answered: Sequence[Mapping[str, Any]], series: dict[str, list[Series]]) -> None:
    x = list(range(len(answered)))
    series["latency"].append(Series(f"latency, {way}", x, [row["latency_s"] * 1e3 for row in answered]))
    series["held"].append(Series(f"edge, {way}", x, [row["held"] for row in answered], kind="step"))
    errors = [
        percentage_error(row["predicted_s"], row["latency_s"]) * 100 if row["predicted_s"] else None for row in answered
    ]
    series["error"].append(Series(f"error, {way}", x, errors))


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100
