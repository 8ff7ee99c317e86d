"""How long it takes until a change is followed: what the rows of continuous requests say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.rows import is_measured
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.results.evaluation import Cell

AS_GOOD = 1.05
"""A cut within 5 % of the best measured one counts as the best: medians of a few requests tell no finer."""
WITHIN = 1.1
IN_A_ROW = 3
NOTES = (
    (
        "Requests without a given cut, one after the other, while one of bandwidth and clock changes at once. The "
        "best cut before and after is measured by forced requests at rest, not forecast; a cut whose median is "
        "within 5 % of the best one counts as the best. `until the best cut`: from the change to the first of "
        "three requests in a row at such a cut; `until within 10 %`: to the first of three in a row whose median "
        "is within 10 % of the best cut's. Seconds count to the beginning of that request; what was under way "
        "before it counts as waiting."
    ),
)


@dataclass(frozen=True)
class Best:
    """What forced requests say of one set of conditions.

    Attributes:
        latency_s: cut -> median.
        cut: the fastest one.
        as_good: it, and those within 5 % of it.
    """

    latency_s: dict[int, float]
    cut: int
    as_good: frozenset[int]


def best_of(rows: Sequence[Mapping[str, Any]]) -> Best | None:
    """The fastest cut by the medians of forced requests; None without any."""
    taken: dict[int, list[float]] = {}
    for row in rows:
        if is_measured(row):
            taken.setdefault(row["asked"], []).append(row["latency_s"])
    if not taken:
        return None
    latency_s = {cut: float(np.median(values)) for cut, values in sorted(taken.items())}
    cut = min(latency_s, key=lambda one: (latency_s[one], one))
    return Best(latency_s, cut, frozenset(one for one in latency_s if latency_s[one] <= AS_GOOD * latency_s[cut]))


def first_run(values: Sequence[Any], holds: Callable[[Sequence[Any]], bool], length: int = IN_A_ROW) -> int | None:
    """Where the first `length` values in a row begin for which it holds; None where there are none such."""
    return next((at for at in range(len(values) - length + 1) if holds(values[at : at + length])), None)


def under(values: Sequence[float], bound: float) -> bool:
    """Whether the first value and the median are no higher."""
    return values[0] <= bound and float(np.median(values)) <= bound


@dataclass(frozen=True)
class Reaction:
    """From a change to having followed it; None where that was not seen.

    Attributes:
        cut_s, cut_requests: until the best cut was used.
        latency_s, latency_requests: until the latency was within 10 % of the best cut's.
    """

    cut_s: float | None
    cut_requests: int | None
    latency_s: float | None
    latency_requests: int | None


def reaction(answered: Sequence[Mapping[str, Any]], changed_s: float, best: Best) -> Reaction:
    """How a change was followed.

    Args:
        answered: dynamic requests since the change, in order.
        changed_s: when it was, seconds since the epoch.
        best: measured under the new conditions.
    """
    moved = first_run([row["cut"] for row in answered], best.as_good.issuperset)
    bound_s = WITHIN * best.latency_s[best.cut]
    fast = first_run([row["latency_s"] for row in answered], lambda some: under(some, bound_s))

    def since(at: int | None) -> float | None:
        return None if at is None else max(0.0, answered[at]["began_s"] - changed_s)

    return Reaction(since(moved), moved, since(fast), fast)


_COLUMNS = (
    "model", "step", "run", "best cut before", "best cut after", "until the best cut [s]", "requests",
    "until within 10 % [s]", "requests until then", "best before [ms]", "best after [ms]",
)  # fmt: skip


def evaluation(rows: Sequence[Mapping[str, Any]], beds: dict[str, Any], _: float = 0.0) -> Evaluation:
    """Tables, figures and values of `steps`, whole or stopped."""
    cells: list[list[Cell]] = []
    rivals: list[list[Cell]] = []
    figures: list[Figure] = []
    values: dict[str, float | None] = {"lost": sum("lost" in row for row in rows)}
    for model, case in dict.fromkeys((row["model"], row["case"]) for row in rows):
        own = [row for row in rows if (row["model"], row["case"]) == (model, case)]
        best = {side: best_of([row for row in own if row["side"] == side]) for side in ("before", "after")}
        for side, found in best.items():
            rivals += [[model, case, side, cut, s * 1e3] for cut, s in (found.latency_s if found else {}).items()]
        reactions = _reactions(own, best)
        for (name, repeat), one in reactions.items():
            cells.append([model, f"{case}{name}", repeat + 1, *_told(one, best, back=bool(name))])
        for back in ("", ", back"):
            key = f"{model} {case}{back}".replace(",", "").replace("%", "percent").replace(" ", "_")
            of = [one for (name, _), one in reactions.items() if name == back]
            values |= {
                f"{key}_until_best_cut_s": _median([one.cut_s for one in of]),
                f"{key}_until_within_10_percent_s": _median([one.latency_s for one in of]),
                f"{key}_requests_until_best_cut": _median([one.cut_requests for one in of]),
            }
        figures.append(_figure(model, case, own, best, len(figures)))
    return Evaluation(
        title="A step of bandwidth, and of clock",
        notes=NOTES,
        bed=beds,
        tables=[
            Table("How long a change takes to be followed", _COLUMNS, cells),
            Table("Cuts at rest, forced, medians", ("model", "step", "side", "cut", "latency [ms]"), rivals),
        ],
        figures=figures,
        values=values,
    )


def _reactions(rows: Sequence[Mapping[str, Any]], best: Mapping[str, Best | None]) -> dict[tuple[str, int], Reaction]:
    """By direction (`""` or `, back`) and run. The first run has nothing to come back from."""
    found: dict[tuple[str, int], Reaction] = {}
    dynamic = [row for row in rows if row["kind"] == "dynamic" and "lost" not in row]
    for side, repeat in dict.fromkeys((row["side"], row["repeat"]) for row in dynamic):
        known = best[side]
        if known is None or (side == "before" and repeat == 0):
            continue
        own = [row for row in dynamic if (row["side"], row["repeat"]) == (side, repeat)]
        found["" if side == "after" else ", back", repeat] = reaction(own, own[0]["changed_s"], known)
    return found


def _told(one: Reaction, best: Mapping[str, Best | None], *, back: bool) -> list[Cell]:
    sides = [best["after"], best["before"]] if back else [best["before"], best["after"]]
    cuts: list[Cell] = [None if side is None else side.cut for side in sides]
    rest: list[Cell] = [None if side is None else side.latency_s[side.cut] * 1e3 for side in sides]
    return [*cuts, one.cut_s, one.cut_requests, one.latency_s, one.latency_requests, *rest]


def _median(values: Sequence[float | None]) -> float | None:
    """Of what was seen; None where any was not."""
    seen = [value for value in values if value is not None]
    return float(np.median(seen)) if values and len(seen) == len(values) else None


def _figure(
    model: str, case: str, rows: Sequence[Mapping[str, Any]], best: Mapping[str, Best | None], number: int
) -> Figure:
    series = []
    for repeat in sorted({row["repeat"] for row in rows if row["kind"] == "dynamic"}):
        own = [row for row in rows if row["kind"] == "dynamic" and row["repeat"] == repeat and "lost" not in row]
        changed = [row["changed_s"] for row in own if row["side"] == "after"]
        if changed:
            x = [row["began_s"] - changed[0] for row in own]
            series.append(Series(f"{model}, run {repeat + 1}", x, [row["latency_s"] * 1e3 for row in own]))
    for side, start in (("before", -5.0), ("after", 0.0)):
        known = best[side]
        if known is not None:
            series.append(
                Series(f"best cut {side}", [start, start + 5.0], [known.latency_s[known.cut] * 1e3] * 2, kind="line")
            )
    title = f"{model}, {case}: latency of each request around the change at 0 s"
    return Figure(
        f"steps-{number}-{model}", title, Axis("since the change [s]"), Axis("latency [ms]", log=True), series
    )
