"""The rows of a throttled edge as an evaluation: how wrong its predictions were, for how long, and the cost of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evaluation.best_cut import best_measured
from evaluation.rows import count_lost
from evaluation.statistics import is_within, percentage_error, streak_start
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.best_cut import BestCut
    from evaluation.rows import Row
    from midcut.results.evaluation import Cell

FACTOR: Final = 2.5
ACCURATE = 0.05
EARLY, LATE = 10, 20
NOTES = (
    (
        "The edge gets 2.5 times less of its core's time than its telemetry shows. Requests without a given cut, one "
        "after the other; the best cut of each phase is measured by forced requests at its end. Regret: mean latency "
        "of the requests over the median of the best cut, less 1. `until within 5 %`: requests before the first of "
        "three in a row whose median error of the predicted latency is under 5 %."
    ),
    "`edge estimated slower by`: the edge's seconds in the forecast over those of its profile, before each request.",
    (
        "Where the cut in use runs nothing on the edge, no request shows that the edge is fast again: only time makes "
        "the calibration forget (calibration.forget_s)."
    ),
)


def requests_until_accurate(errors: Sequence[float], limit: float = ACCURATE) -> int | None:
    """Requests before the first of three in a row whose median error is within the limit; None where there is none."""
    return streak_start(errors, lambda values: is_within(values, limit))


def mean_regret(latency_s: Sequence[float], best_s: float) -> float | None:
    """Mean latency over the best one, less 1; None without a latency."""
    return float(np.mean(latency_s)) / best_s - 1.0 if latency_s else None


_COLUMNS = (
    "way", "phase", "requests", "cut in use at the end", "best cut", "best cut [ms]", "regret, first 10 [%]",
    "regret, last 20 [%]", "error, first 10 [%]", "error, last 20 [%]", "requests until within 5 %",
    "edge estimated slower by, at the end",
)  # fmt: skip


def evaluation(rows: Sequence[Row], bed: dict[str, Any]) -> Evaluation:
    """Tables, figures and values of `throttle`, finished or stopped."""
    cells: list[list[Cell]] = []
    values: dict[str, float | None] = {"factor": FACTOR, "lost": count_lost(rows)}
    latency: list[Series] = []
    slower: list[Series] = []
    errors: list[Series] = []
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        at_rest = best_measured([row for row in own if row["phase"] == "before"])
        phases = dict.fromkeys(row["phase"] for row in own)
        cells += [_phase_cells([row for row in own if row["phase"] == phase], at_rest, values) for phase in phases]
        answered = _answered(own)
        x = list(range(len(answered)))
        latency.append(Series(f"latency, {way}", x, [row["latency_s"] * 1e3 for row in answered]))
        slower.append(Series(f"edge, {way}", x, [row["held"] for row in answered], kind="step"))
        errors.append(Series(f"error, {way}", x, [_percent(_error(row)) for row in answered]))
    request = Axis("request")
    return Evaluation(
        title=f"{rows[0]['model']}: the edge throttled {FACTOR:g} times, unknown to its telemetry",
        notes=NOTES,
        bed=bed,
        tables=[Table("Before, while and after", _COLUMNS, cells)],
        figures=[
            Figure("throttle-latency", "Latency of each request", request, Axis("latency [ms]"), latency),
            Figure("throttle-held", "How much slower the edge is estimated to be", request, Axis("times"), slower),
            Figure("throttle-error", "Error of the predicted latency", request, Axis("error [%]"), errors),
        ],
        values=values,
    )


def _answered(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] == "dynamic" and "lost" not in row]


def _error(row: Row) -> float | None:
    """Error of the predicted latency; None where nothing was predicted."""
    return percentage_error(row["predicted_s"], row["latency_s"]) if row["predicted_s"] else None


def _phase_cells(rows: Sequence[Row], at_rest: BestCut | None, values: dict[str, float | None]) -> list[Cell]:
    way, phase = rows[0]["way"], rows[0]["phase"]
    answered = _answered(rows)
    best = best_measured(rows) or at_rest  # afterwards, the edge is as it was before
    latency_s = [row["latency_s"] for row in answered]
    errors = [error for error in map(_error, answered) if error is not None]
    until_accurate = requests_until_accurate(errors)
    best_s = best.latency_s if best else np.nan
    early, late = mean_regret(latency_s[:EARLY], best_s), mean_regret(latency_s[-LATE:], best_s)
    key = f"{way}_{phase}".replace(" ", "_")
    values |= {
        f"{key}_regret_first_10": early,
        f"{key}_regret_last_20": late,
        f"{key}_until_right": until_accurate,
    }
    return [
        way,
        phase,
        len(answered),
        answered[-1]["cut"] if answered else None,
        best.cut if best else None,
        best_s * 1e3,
        _percent(early),
        _percent(late),
        *(_percent(float(np.median(some))) if errors else None for some in (errors[:EARLY], errors[-LATE:])),
        until_accurate,
        next((row["held"] for row in reversed(answered) if row["held"] is not None), None),
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100
