"""The report's sections: what is said about simulations, in tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midcut.reporting.document import Column, Picture, Section, Table
from midcut.reporting.figures_compare import Dot, Panel, draw_claims, draw_dots, ratio_panel
from midcut.reporting.figures_samples import draw_samples
from midcut.reporting.figures_weights import draw_tradeoff, draw_weights
from midcut.reporting.selection import REFERENCES, at_weight, middle, planners
from midcut.reporting.texts import (
    interval,
    knobs,
    label,
    microdollars,
    milliseconds,
    number,
    percent,
    policy_label,
    signed,
    weight,
)  # fmt: skip
from midcut.reporting.verdicts import MEANING, TOLERANCE, Verdict, over_weights, reproduction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from midcut.profiles import Fit
    from midcut.reporting.verdicts import Row
    from midcut.results.simulation import Interval, Series, Simulation

_CLAIMS = (
    Column("where", "where", number=False),
    Column("what", "what", number=False),
    Column("published_percent", "published [%]", signed),
    Column("simulated_percent", "chosen seed [%]", signed),
    Column("population_percent", "other seeds [%]: mean [5–95 %]", interval),
    Column("off_points", "off by [points]", signed),
    Column("verdict", "verdict", number=False),
    Column("note", "note", number=False, below=True),
)
_RULE = (
    f"A number counts as met within {TOLERANCE:g} points. One seed can be lucky, so every drawn scenario is repeated "
    "with other seeds, and the verdict looks at both."
)
_LIMIT = (
    "A verdict is about the scenario as configured here. Parameters that a source does not print were chosen so that "
    "its numbers come out: a number that is reproduced can come about this way, which does not show that it did."
)
_STRATEGIES = (
    Column("strategy", "strategy", label, number=False),
    Column("w", "w", weight),
    Column("latency_s", "latency [ms]", milliseconds),
    Column("latency_p95_s", "95 % under [ms]", milliseconds),
    Column("cost_usd", "cost [µ$]", microdollars),
    Column("latency_regret", "over fastest", percent),
    Column("objective_regret", "regret to oracle", percent),
    Column("dominated", "dominated", percent),
    Column("distinct", "different picks"),
    Column("switches_per_100", "switches per 100", number),
    Column("unmet", "limit unmet", percent),
)


def reproduction_section(
    simulations: Mapping[str, Simulation], fits: Mapping[str, Fit]
) -> tuple[Section, list[Row]] | None:
    """Published numbers and what came out; None where nothing published is compared."""
    rows = reproduction(simulations, fits)
    if not rows:
        return None
    table = Table(
        "claims",
        _CLAIMS,
        [
            (
                row.where, row.what, row.published, row.simulated, _plain(row.population), row.off,
                row.verdict.value, row.note or None,
            )
            for row in rows
        ],
        "Differences between means over the samples, in percent. Other seeds: the same scenario, drawn anew.",
    )  # fmt: skip
    printed = [row for row in rows if row.published is not None]
    picture = Picture(
        "claims",
        "Published numbers (diamonds) beside the chosen seed (dots) and what other seeds give (bands: 5–95 %).",
        draw_claims(printed),
    )
    used = {row.verdict for row in rows}
    section = Section(
        "reproduction",
        "Published numbers, reproduced",
        text=(_RULE, _LIMIT),
        tables=(table,),
        pictures=(picture,) if printed else (),
        notes=tuple(f"{verdict.value}: {MEANING[verdict]}." for verdict in Verdict if verdict in used),
    )
    return section, rows


def simulation_sections(simulations: Mapping[str, Simulation]) -> Section:
    """One section a simulation."""
    parts = [_simulation(name, one, f"simulation-{place}") for place, (name, one) in enumerate(simulations.items(), 1)]
    return Section("simulations", "Simulations", sections=tuple(parts))


def _simulation(name: str, simulation: Simulation, key: str) -> Section:
    w = middle(simulation)
    shown = at_weight(simulation, w)
    rows = [
        (
            one.strategy, one.w, one.latency_s, one.latency_p95_s, one.cost_usd, one.latency_regret,
            one.objective_regret, one.dominated, one.distinct, one.switches_per_100, one.unmet,
        )
        for one in shown
    ]  # fmt: skip
    columns = _without_empty(_STRATEGIES, rows)
    table = Table(
        "strategies",
        tuple(_STRATEGIES[index] for index in columns),
        [tuple(row[index] for index in columns) for row in rows],
        "Means over the samples of the chosen seed, as the truth set has them"
        + ("" if w is None else f"; planners at w = {w:g}")
        + ". Over fastest: mean latency over that of the fastest cut of every sample. Regret: distance to the oracle, "
        "in percent of the objective's range. Dominated: picks for which another cut is better in one objective and "
        "no worse in the other.",
        frozenset(index for index, one in enumerate(shown) if one.planner),
    )
    return Section(
        key,
        simulation.title,
        facts=_facts(name, simulation),
        tables=(table,),
        pictures=tuple(_pictures(simulation, key, shown)),
        notes=tuple(f"{part}: {source}" for part, source in simulation.based_on.items()),
    )


def _facts(name: str, simulation: Simulation) -> dict[str, str]:
    weights = simulation.weights
    asked = ", ".join(map(weight, weights)) if len(weights) < 8 else (
        f"{len(weights)} from {weights[0]:g} to {weights[-1]:g}"
    )  # fmt: skip
    scenario = simulation.scenario
    drawn = {knob: value for knob, value in scenario.items() if knob not in {"kind", "samples"}}
    return {
        "model": f"{simulation.model}, {_on_offer(simulation)}",
        "samples": f"{simulation.samples:,}"
        + (f", and {simulation.population:,} repetitions with other seeds" if simulation.population else ""),
        "scenario": f"{scenario.get('kind', '')}: {knobs(drawn)}" if drawn else "",
        "picked by": policy_label(simulation.policy),
        "judged by": policy_label(simulation.truth),
        "cost": simulation.cost,
        "weights": asked,
        "folder": name,
    }


def _on_offer(simulation: Simulation) -> str:
    cuts, codecs = len(set(simulation.cuts)), list(dict.fromkeys(simulation.codecs))
    if len(simulation.cuts) > cuts:
        return f"{cuts} cuts on offer, sent as {', '.join(codecs)}: {len(simulation.cuts)} placements"
    sent_as = f", sent as {codecs[0]}" if codecs and codecs[0] != "raw" else ""
    return f"{cuts} cuts on offer{sent_as}"


def _pictures(simulation: Simulation, key: str, shown: Sequence[Series]) -> Iterable[Picture]:
    samples = draw_samples(simulation)
    if samples:
        yield Picture(
            f"{key}-samples", samples[1] + " Strategies that always pick the same cut are drawn once.", samples[0]
        )
    if _is_swept(simulation):
        yield Picture(
            f"{key}-weights", "Mean latency and mean cost of every planner over the weight.", draw_weights(simulation)
        )
        yield Picture(
            f"{key}-tradeoff",
            "Left: every planner's means from w = 0 to w = 1, and the fixed strategies (best fixed cut and oracle at "
            f"w = {middle(simulation):g}). Right: what the picks lose "
            "against the best pick of every sample.",
            draw_tradeoff(simulation),
        )
    ratios = _ratios(shown)
    if ratios:
        yield Picture(
            f"{key}-strategies",
            "Every strategy relative to the two optimal ones: chosen seed"
            + (", and the 5–95 % interval of other seeds as a band." if simulation.population else "."),
            draw_dots([label(one.strategy) for one in shown], ratios, [one.strategy for one in shown]),
        )


def _is_swept(simulation: Simulation) -> bool:
    return any(len(over_weights(simulation, name)) > 2 for name in planners(simulation))


def _ratios(shown: Sequence[Series]) -> list[Panel]:
    by_name = {one.strategy: one for one in shown}
    if not all(name in by_name for name in REFERENCES):
        return []
    fastest, cheapest = (by_name[name] for name in REFERENCES)
    if fastest.latency_s <= 0.0 or cheapest.cost_usd <= 0.0:
        return []
    latency = [_dot(one.latency_s / fastest.latency_s, one.latency_ratio.get(REFERENCES[0])) for one in shown]
    cost = [_dot(one.cost_usd / cheapest.cost_usd, one.cost_ratio.get(REFERENCES[1])) for one in shown]
    return [
        ratio_panel("Mean latency", "times that of latency-optimal", {"": latency}),
        ratio_panel("Mean cost", "times that of cost-optimal", {"": cost}),
    ]


def _dot(value: float, spread: Interval | None) -> Dot:
    return Dot(value) if spread is None else Dot(value, spread.p5, spread.p95)


def _plain(spread: Interval | None) -> dict[str, Any] | None:
    return None if spread is None else {"mean": spread.mean, "p5": spread.p5, "p95": spread.p95}


def _without_empty(columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> list[int]:
    """Columns in which anything stands."""
    return [index for index in range(len(columns)) if any(row[index] is not None for row in rows)]
