"""The rows of a trace run as an evaluation: strategies side by side, and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.rows import count_lost, is_measured
from evaluation.statistics import relative_difference
from evaluation.trace.strategies import (
    CLOUD,
    DYNAMIC,
    EDGE,
    ORACLE,
    STATIC,
    Comparison,
    Step,
    compare_strategies,
)
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.rows import Row
    from midcut.results.evaluation import Cell

_OTHERS = (EDGE, CLOUD, STATIC, ORACLE)
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
        "forecast is used instead, and `predicted` gives the share of the steps."
    ),
    (
        "Forced requests also inform the telemetry and the live calibration: here the dynamic requests are based on a "
        "little more knowledge than they would have alone. The experiment `steps` has no forced requests meanwhile."
    ),
    ("Intervals resample steps; neighbouring steps of a walk are alike, so that they are somewhat too narrow."),
)


def read_steps(rows: Sequence[Row]) -> tuple[list[Step], list[int], list[Row]]:
    """A model's rows as steps, with the candidates and each step's state.

    A step that was cut short, without its closing row or without a dynamic answer, is left out.
    """
    steps: dict[int, Step] = {}
    states: dict[int, Row] = {}
    for row in rows:
        if "step" not in row or "lost" in row:
            continue
        step = steps.setdefault(row["step"], Step())
        if row["kind"] == "state":
            states[row["step"]] = row
            step.forecast = {int(cut): (pair[0], pair[1]) for cut, pair in row["forecast"].items()}
        elif row["kind"] == "dynamic":
            step.dynamic.append((row["cut"], row["latency_s"], row["cost_usd"]))
        elif is_measured(row):
            step.forced.setdefault(row["asked"], []).append((row["latency_s"], row["cost_usd"]))
    finished = [number for number in sorted(states) if steps[number].dynamic]
    cuts = sorted({cut for number in finished for cut in (*steps[number].forced, *steps[number].forecast)})
    return [steps[number] for number in finished], cuts, [states[number] for number in finished]


def evaluation(rows: Sequence[Row], beds: dict[str, Any], w: float) -> Evaluation:
    """Tables, figures and values of a trace run, finished or stopped."""
    comparisons: list[list[Cell]] = []
    counts: list[list[Cell]] = []
    notes = list(NOTES)
    figures: list[Figure] = []
    values: dict[str, float | None] = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        steps, cuts, states = read_steps(own)
        if not steps:
            continue
        comparison = compare_strategies(steps, cuts, w)
        comparisons += _comparison_cells(model, comparison, values)
        notes.append(
            f"{model}: at {comparison.predicted_share[CLOUD]:.0%} of the steps `cloud only` is predicted, not "
            f"measured; at {comparison.thin_share:.0%} the oracle picks a cut that was measured less than twice, and "
            "is judged by the same measurement."
        )
        counts.append(_count_cells(model, own, steps, states, comparison, values))
        figures += _figures(model, comparison, states, steps)
    return Evaluation(
        title=f"A random walk of link and clock, w = {w:g}",
        notes=notes,
        bed=beds,
        tables=[
            Table("Dynamic against fixed cuts and the best cut of each step", _COLUMNS, comparisons),
            Table("Requests, switches and planning", _COUNT_COLUMNS, counts),
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


def _comparison_cells(model: str, comparison: Comparison, values: dict[str, float | None]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    cuts = {STATIC: str(comparison.static_cut), DYNAMIC: "its own", ORACLE: "best of each step"}
    for name in (DYNAMIC, *_OTHERS):
        mean_s, mean_usd = float(np.nanmean(comparison.latency_s[name])), float(np.nanmean(comparison.cost_usd[name]))
        key = f"{model} {name}".replace(" ", "_")
        values |= {f"{key}_latency_s": mean_s, f"{key}_cost_usd": mean_usd}
        differences: list[Cell] = [None] * 5
        if name != DYNAMIC:
            latency, (cost, *_), (objective, *_) = (
                relative_difference(strategies[DYNAMIC], strategies[name])
                for strategies in (comparison.latency_s, comparison.cost_usd, comparison.objective)
            )
            values |= {f"{key}_dynamic_latency_against": latency.value, f"{key}_dynamic_cost_against": cost}
            differences = [share * 100 for share in (*latency, cost, objective)]
        predicted = comparison.predicted_share[name] * 100 if name in comparison.predicted_share else None
        thin = comparison.thin_share * 100 if name == ORACLE else None
        rows.append([model, name, cuts.get(name, ""), mean_s * 1e3, mean_usd * 1e6, *differences, predicted, thin])
    values |= {
        f"{model}_cloud_only_predicted": comparison.predicted_share[CLOUD],
        f"{model}_oracle_thin": comparison.thin_share,
    }
    return rows


def _count_cells(
    model: str,
    rows: Sequence[Row],
    steps: Sequence[Step],
    states: Sequence[Row],
    comparison: Comparison,
    values: dict[str, float | None],
) -> list[Cell]:
    counts = next((row for row in rows if row["kind"] == "counts"), {})
    lost, switches = count_lost(rows), counts.get("switches")
    middle_s, high_s = np.percentile([state["planning_s"] for state in states], (50, 95)).tolist()
    values |= {f"{model}_lost": lost, f"{model}_planning_s": middle_s, f"{model}_hits": comparison.hits}
    values |= {f"{model}_switches": switches, f"{model}_steps": len(steps)}
    return [
        model,
        len(steps),
        sum(len(step.dynamic) for step in steps),
        sum(len(requests) for step in steps for requests in step.forced.values()),
        lost,
        sum(bool(row.get("fallback")) for row in rows),
        switches,
        counts.get("decisions"),
        middle_s * 1e6,
        high_s * 1e6,
        comparison.hits * 100,
    ]


def _figures(model: str, comparison: Comparison, states: Sequence[Row], steps: Sequence[Step]) -> list[Figure]:
    numbers = [state["step"] + 1 for state in states]
    time = Axis("step of the walk")

    def lines(values: Mapping[str, Any], scale: float) -> list[Series]:
        return [Series(f"{model}, {name}", numbers, values[name] * scale, kind="line") for name in (*_OTHERS, DYNAMIC)]

    used = [max(cuts := [request[0] for request in step.dynamic], key=cuts.count) for step in steps]
    asked = {name: np.array([state["asked"][name] for state in states]) for name in states[0]["asked"]}
    walks = [Series(f"{name} / highest", numbers, values / values.max(), kind="step") for name, values in asked.items()]
    return [
        Figure(
            f"trace-latency-{model}", f"{model}: mean latency of each step", time, Axis("latency [ms]", log=True),
            lines(comparison.latency_s, 1e3),
        ),
        Figure(
            f"trace-cost-{model}", f"{model}: mean cost of each step", time, Axis("cost [µ$]", log=True),
            lines(comparison.cost_usd, 1e6),
        ),
        Figure(
            f"trace-cut-{model}", f"{model}: the cut of most dynamic requests, and the best cut", time,
            Axis("cut"),
            [
                Series(f"{model}, oracle", numbers, comparison.best_cuts, kind="step"),
                Series(f"{model}, dynamic", numbers, used, kind="step"),
            ],
        ),
        Figure(
            f"trace-walk-{model}", f"{model}: the walk of clock, bandwidth and ping", time,
            Axis("of the highest", log=True), walks,
        ),
    ]  # fmt: skip
