"""The rows of a trace run as an evaluation: strategies side by side, and how it went over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.rows import is_measured
from evaluation.trace.strategies import CLOUD, DYNAMIC, EDGE, ORACLE, STATIC, Step, Walked, relative, walked
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.results.evaluation import Cell

_AGAINST = (EDGE, CLOUD, STATIC, ORACLE)
NOTES = (
    (
        "Requests without a given cut (dynamic) and requests forced to candidate cuts take turns in every step of "
        "a seeded random walk of clock, bandwidth and ping, so that all strategies are measured in one run under "
        "the same conditions. Each step counts the same. Conditions change between requests, never within one."
    ),
    (
        "The oracle of a step picks among the candidates by one half of their measurements and is judged by the "
        "other half, and the other way round. The static best is the one candidate with the best mean over the "
        "whole run, known only afterwards. A cut that would take more than 0.3 of a step is not measured; its "
        "forecast stands in, and `predicted` says at which share of the steps."
    ),
    (
        "Forced requests tell the telemetry and the live calibration something too: the dynamic ones know a little "
        "more here than they would alone. The experiment `steps` has none while it looks."
    ),
    ("Intervals draw steps again; in a walk, neighbours resemble each other, so that they are somewhat too narrow."),
)


def gather(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Step], list[int], list[Mapping[str, Any]]]:
    """A model's rows as steps, with the candidates and each step's state.

    A step that was cut short, without its closing row or without a dynamic answer, is left out.
    """
    steps: dict[int, Step] = {}
    states: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        if "step" not in row:
            continue
        step = steps.setdefault(row["step"], Step())
        if row["kind"] == "state":
            states[row["step"]] = row
            step.forecast = {int(cut): (pair[0], pair[1]) for cut, pair in row["forecast"].items()}
        elif "lost" in row:
            continue
        elif row["kind"] == "dynamic":
            step.dynamic.append((row["cut"], row["latency_s"], row["cost_usd"]))
        elif is_measured(row):
            step.forced.setdefault(row["asked"], []).append((row["latency_s"], row["cost_usd"]))
    kept = [number for number in sorted(states) if steps[number].dynamic]
    cuts = sorted({cut for number in kept for cut in (*steps[number].forced, *steps[number].forecast)})
    return [steps[number] for number in kept], cuts, [states[number] for number in kept]


def evaluation(rows: Sequence[Mapping[str, Any]], beds: dict[str, Any], w: float) -> Evaluation:
    """Tables, figures and values of a trace run, whole or stopped."""
    tables: list[list[Cell]] = []
    counts: list[list[Cell]] = []
    notes = list(NOTES)
    figures: list[Figure] = []
    values: dict[str, float | None] = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        steps, cuts, states = gather(own)
        if not steps:
            continue
        found = walked(steps, cuts, w)
        tables += _compared(model, found, values)
        notes.append(
            f"{model}: at {found.imputed[CLOUD]:.0%} of the steps `cloud only` is forecast, not measured; at "
            f"{found.thin:.0%} the oracle picks a cut that was measured less than twice, and is judged by the same."
        )
        counts.append(_counted(model, own, steps, states, found, values))
        figures += _figures(model, found, states, steps)
    return Evaluation(
        title=f"A random walk of link and clock, w = {w:g}",
        notes=notes,
        bed=beds,
        tables=[
            Table("Dynamic against fixed cuts and the best cut of each step", _COLUMNS, tables),
            Table("What following took", _COUNT_COLUMNS, counts),
        ],
        figures=figures,
        values=values,
    )


_COLUMNS = (
    "model", "strategy", "cut", "mean latency [ms]", "mean cost [µ$]", "dynamic's latency against it [%]", "low [%]",
    "high [%]", "dynamic's cost against it [%]", "dynamic's objective against it [%]", "predicted [% of steps]",
    "picked by fewer than 2 measurements [% of steps]",
)  # fmt: skip
_COUNT_COLUMNS = (
    "model", "steps", "dynamic requests", "forced requests", "lost", "answered by the edge in the cloud's place",
    "switches", "planning steps", "planning, median [µs]", "planning, p95 [µs]", "at the best cut [%]",
)  # fmt: skip


def _compared(model: str, found: Walked, values: dict[str, float | None]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for name in (DYNAMIC, *_AGAINST):
        latency = relative(found.latency_s[DYNAMIC], found.latency_s[name])
        cost = relative(found.cost_usd[DYNAMIC], found.cost_usd[name])[0]
        objective = relative(found.objective[DYNAMIC], found.objective[name])[0]
        mean_s, mean_usd = float(np.nanmean(found.latency_s[name])), float(np.nanmean(found.cost_usd[name]))
        key = f"{model} {name}".replace(" ", "_")
        values |= {f"{key}_latency_s": mean_s, f"{key}_cost_usd": mean_usd}
        against: list[Cell] = [None] * 5
        if name != DYNAMIC:
            values |= {f"{key}_dynamic_latency_against": latency[0], f"{key}_dynamic_cost_against": cost}
            against = [*(share * 100 for share in (*latency, cost, objective))]
        shown = found.imputed.get(name)
        cut = {STATIC: str(found.static), DYNAMIC: "its own", ORACLE: "best of each step"}.get(name, "")
        shares: list[Cell] = [None if shown is None else shown * 100, found.thin * 100 if name == ORACLE else None]
        rows.append([model, name, cut, mean_s * 1e3, mean_usd * 1e6, *against, *shares])
    values |= {f"{model}_cloud_only_predicted": found.imputed[CLOUD], f"{model}_oracle_thin": found.thin}
    return rows


def _counted(
    model: str,
    rows: Sequence[Mapping[str, Any]],
    steps: Sequence[Step],
    states: Sequence[Mapping[str, Any]],
    found: Walked,
    values: dict[str, float | None],
) -> list[Cell]:
    counts = next((row for row in rows if row["kind"] == "counts"), {})
    lost = sum("lost" in row for row in rows)
    planning_s = np.array([state["planning_s"] for state in states])
    middle, high = (float(value) for value in np.percentile(planning_s, (50, 95)))
    values |= {f"{model}_lost": lost, f"{model}_planning_s": middle, f"{model}_hits": found.hits}
    values |= {f"{model}_switches": counts.get("switches"), f"{model}_steps": len(steps)}
    return [
        model,
        len(steps),
        sum(len(step.dynamic) for step in steps),
        sum(len(taken) for step in steps for taken in step.forced.values()),
        lost,
        sum(bool(row.get("fallback")) for row in rows),
        counts.get("switches"),
        counts.get("decisions"),
        middle * 1e6,
        high * 1e6,
        found.hits * 100,
    ]


def _figures(model: str, found: Walked, states: Sequence[Mapping[str, Any]], steps: Sequence[Step]) -> list[Figure]:
    numbers = [state["step"] + 1 for state in states]
    time = Axis("step of the walk")

    def over(what: Mapping[str, Any], scale: float) -> list[Series]:
        return [
            Series(f"{model}, {name}", numbers, what[name] * scale, kind="line")
            for name in (EDGE, CLOUD, STATIC, ORACLE, DYNAMIC)
        ]

    used = [max(ran := [row[0] for row in step.dynamic], key=ran.count) for step in steps]
    asked = {name: np.array([state["asked"][name] for state in states]) for name in states[0]["asked"]}
    walks = [Series(f"{name} / highest", numbers, values / values.max(), kind="step") for name, values in asked.items()]
    return [
        Figure(
            f"trace-latency-{model}", f"{model}: mean latency of each step", time, Axis("latency [ms]", log=True),
            over(found.latency_s, 1e3),
        ),
        Figure(
            f"trace-cost-{model}", f"{model}: mean cost of each step", time, Axis("cost [µ$]", log=True),
            over(found.cost_usd, 1e6),
        ),
        Figure(
            f"trace-cut-{model}", f"{model}: the cut most dynamic requests ran at, and the best one", time,
            Axis("cut"),
            [
                Series(f"{model}, oracle", numbers, found.best, kind="step"),
                Series(f"{model}, dynamic", numbers, used, kind="step"),
            ],
        ),
        Figure(
            f"trace-walk-{model}", f"{model}: the walk of clock, bandwidth and ping", time,
            Axis("of the highest", log=True), walks,
        ),
    ]  # fmt: skip
