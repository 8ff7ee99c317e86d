"""The rows of `steps` as an evaluation: how long it takes until midcut follows a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.best_cut import best_measured
from evaluation.rows import count_lost
from evaluation.statistics import is_within, streak_start
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.best_cut import BestCut
    from evaluation.rows import Row
    from midcut.results.evaluation import Cell

    Best = Mapping[str, BestCut | None]
WITHIN = 1.1
NOTES = (
    (
        "Requests without a given cut, one after the other, while either bandwidth or clock changes at once. The best "
        "cut before and after is measured by forced requests at rest, not forecast; a cut whose median is within 5 % "
        "of the best one counts as the best. `until the best cut`: from the change to the first of three requests in "
        "a row at such a cut; `until within 10 %`: to the first of three in a row whose median is within 10 % of the "
        "best cut's. Seconds count to the beginning of that request; a request that was under way at the change counts "
        "as waiting."
    ),
)


@dataclass(frozen=True)
class Reaction:
    """How long it took until a change was followed; None where that was not observed.

    Attributes:
        cut_s, cut_requests: until the best cut was used.
        latency_s, latency_requests: until the latency was within 10 % of the best cut's.
    """

    cut_s: float | None
    cut_requests: int | None
    latency_s: float | None
    latency_requests: int | None


def reaction_to_change(answered: Sequence[Row], changed_s: float, best: BestCut) -> Reaction:
    """How a change was followed.

    Args:
        answered: dynamic requests since the change, in order.
        changed_s: when it was, seconds since the epoch.
        best: measured under the new conditions.
    """
    cut_at = streak_start([row["cut"] for row in answered], best.as_good.issuperset)
    limit_s = WITHIN * best.latency_s
    latency_at = streak_start([row["latency_s"] for row in answered], lambda values: is_within(values, limit_s))

    def seconds_until(at: int | None) -> float | None:
        return None if at is None else max(0.0, answered[at]["began_s"] - changed_s)

    return Reaction(seconds_until(cut_at), cut_at, seconds_until(latency_at), latency_at)


_COLUMNS = (
    "model", "step", "run", "best cut before", "best cut after", "until the best cut [s]", "requests",
    "until within 10 % [s]", "requests until then", "best before [ms]", "best after [ms]",
)  # fmt: skip


def evaluation(rows: Sequence[Row], beds: dict[str, Any]) -> Evaluation:
    """Tables, figures and values of `steps`, finished or stopped."""
    cells: list[list[Cell]] = []
    at_rest: list[list[Cell]] = []
    figures: list[Figure] = []
    values: dict[str, float | None] = {"lost": count_lost(rows)}
    for model, case in dict.fromkeys((row["model"], row["case"]) for row in rows):
        own = [row for row in rows if (row["model"], row["case"]) == (model, case)]
        best = {side: best_measured([row for row in own if row["side"] == side]) for side in ("before", "after")}
        for side, cut in best.items():
            latencies_s = cut.latencies_s if cut else {}
            at_rest += [[model, case, side, number, s * 1e3] for number, s in latencies_s.items()]
        dynamic = [row for row in own if row["kind"] == "dynamic" and "lost" not in row]
        reactions = _reactions(dynamic, best)
        for (direction, repeat), reaction in reactions.items():
            row = _reaction_cells(reaction, best, back=bool(direction))
            cells.append([model, f"{case}{direction}", repeat + 1, *row])
        for direction in ("", ", back"):
            key = f"{model} {case}{direction}".replace(",", "").replace("%", "percent").replace(" ", "_")
            same = [reaction for (name, _), reaction in reactions.items() if name == direction]
            values |= {
                f"{key}_until_best_cut_s": _median([reaction.cut_s for reaction in same]),
                f"{key}_until_within_10_percent_s": _median([reaction.latency_s for reaction in same]),
                f"{key}_requests_until_best_cut": _median([reaction.cut_requests for reaction in same]),
            }
        figures.append(_figure(model, case, dynamic, best, len(figures)))
    return Evaluation(
        title="A step of bandwidth, and of clock",
        notes=NOTES,
        bed=beds,
        tables=[
            Table("How long it takes until a change is followed", _COLUMNS, cells),
            Table("Cuts at rest, forced, medians", ("model", "step", "side", "cut", "latency [ms]"), at_rest),
        ],
        figures=figures,
        values=values,
    )


def _reactions(dynamic: Sequence[Row], best: Best) -> dict[tuple[str, int], Reaction]:
    """By direction (`""` or `, back`) and run. The first run has nothing to come back from."""
    reactions: dict[tuple[str, int], Reaction] = {}
    for side, repeat in dict.fromkeys((row["side"], row["repeat"]) for row in dynamic):
        known = best[side]
        if known is None or (side == "before" and repeat == 0):
            continue
        own = [row for row in dynamic if (row["side"], row["repeat"]) == (side, repeat)]
        reactions["" if side == "after" else ", back", repeat] = reaction_to_change(own, own[0]["changed_s"], known)
    return reactions


def _reaction_cells(reaction: Reaction, best: Best, *, back: bool) -> list[Cell]:
    sides = [best["after"], best["before"]] if back else [best["before"], best["after"]]
    cuts: list[Cell] = [None if side is None else side.cut for side in sides]
    at_rest: list[Cell] = [None if side is None else side.latency_s * 1e3 for side in sides]
    until = (reaction.cut_s, reaction.cut_requests, reaction.latency_s, reaction.latency_requests)
    return [*cuts, *until, *at_rest]


def _median(values: Sequence[float | None]) -> float | None:
    """The median; None where there are no values, or one was not observed."""
    observed = [value for value in values if value is not None]
    return float(np.median(observed)) if values and len(observed) == len(values) else None


def _figure(model: str, case: str, dynamic: Sequence[Row], best: Best, number: int) -> Figure:
    series = []
    for repeat in sorted({row["repeat"] for row in dynamic}):
        own = [row for row in dynamic if row["repeat"] == repeat]
        changed = [row["changed_s"] for row in own if row["side"] == "after"]
        if changed:
            x = [row["began_s"] - changed[0] for row in own]
            series.append(Series(f"{model}, run {repeat + 1}", x, [row["latency_s"] * 1e3 for row in own]))
    for side, start in (("before", -5.0), ("after", 0.0)):
        known = best[side]
        if known is not None:
            y = [known.latency_s * 1e3] * 2
            series.append(Series(f"best cut {side}", [start, start + 5.0], y, kind="line"))
    title = f"{model}, {case}: latency of each request around the change at 0 s"
    return Figure(
        f"steps-{number}-{model}", title, Axis("since the change [s]"), Axis("latency [ms]", log=True), series
    )
