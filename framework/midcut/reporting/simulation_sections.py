"""The report's sections about simulations and about published numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midcut.reporting.figures_compare import Dot, Panel, draw_claims, draw_dots, ratio_panel
from midcut.reporting.figures_over_trace import draw_over_trace
from midcut.reporting.figures_samples import draw_samples
from midcut.reporting.figures_weights import draw_tradeoff, draw_weights
from midcut.reporting.formatting import (
    as_interval,
    as_number,
    as_percent,
    as_signed,
    as_weight,
    in_microdollars,
    in_milliseconds,
    policy_label,
    settings_text,
    strategy_label,
)  # fmt: skip
from midcut.reporting.report_model import Column, Picture, Section, Table, objective_columns
from midcut.reporting.series_selection import (
    REFERENCES,
    middle_weight,
    planner_names,
    series_at_weight,
    series_over_weights,
)
from midcut.reporting.verdicts import MEANING, TOLERANCE, Verdict, reproduction_rows
from midcut.results.units import shown_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from midcut.profiles import Fit
    from midcut.reporting.verdicts import ReproductionRow
    from midcut.results.simulation import Interval, Series, Simulation

_CLAIMS = (
    Column("where", "where", number=False),
    Column("what", "what", number=False),
    Column("published_percent", "published [%]", as_signed),
    Column("simulated_percent", "chosen seed [%]", as_signed),
    Column("population_percent", "other seeds [%]: mean [5–95 %]", as_interval),
    Column("off_points", "difference [points]", as_signed),
    Column("verdict", "verdict", number=False),
    Column("note", "note", number=False, below=True),
)
_RULE = (
    f"A published number counts as met within {TOLERANCE:g} points. A seed can be lucky, so every random scenario is "
    "repeated with other seeds, and the verdict depends on both."
)
_LIMIT = (
    "A verdict is about the scenario as configured here. Parameters that a source does not state were chosen so that "
    "its numbers result: that a number is reproduced shows that it can come about this way, not that it did."
)
_STRATEGIES = (
    Column("strategy", "strategy", strategy_label, number=False),
    Column("w", "w", as_weight),
    Column("latency_s", "latency [ms]", in_milliseconds),
    Column("latency_p95_s", "95 % under [ms]", in_milliseconds),
    Column("cost_usd", "cost [µ$]", in_microdollars),
    Column("latency_regret", "over fastest", as_percent),
    Column("objective_regret", "regret to oracle", as_percent),
    Column("dominated", "dominated", as_percent),
    Column("distinct", "different picks"),
    Column("switches_per_100", "switches per 100", as_number),
    Column("unmet", "limit not met", as_percent),
)


def reproduction_section(
    simulations: Mapping[str, Simulation], fits: Mapping[str, Fit]
) -> tuple[Section, list[ReproductionRow]] | None:
    """Published numbers beside the simulated ones, and the rows of that table; None where nothing is published."""
    rows = reproduction_rows(simulations, fits)
    if not rows:
        return None
    table = Table(
        "claims",
        _CLAIMS,
        [
            (
                row.where, row.what, row.published, row.simulated, _interval_dict(row.population), row.difference,
                row.verdict.value, row.note or None,
            )
            for row in rows
        ],
        "Differences between means over the samples, in percent. Other seeds: the same scenario, drawn anew.",
    )  # fmt: skip
    with_number = [row for row in rows if row.published is not None]
    picture = Picture(
        "claims",
        "Published numbers (diamonds) beside the chosen seed (dots) and what other seeds give (bands: 5–95 %).",
        draw_claims(with_number),
    )
    given = {row.verdict for row in rows}
    section = Section(
        "reproduction",
        "Published numbers, reproduced",
        text=(_RULE, _LIMIT),
        tables=(table,),
        pictures=(picture,) if with_number else (),
        notes=tuple(f"{verdict.value}: {MEANING[verdict]}." for verdict in Verdict if verdict in given),
    )
    return section, rows


def simulation_sections(simulations: Mapping[str, Simulation]) -> Section:
    """A section with one subsection for each simulation."""
    parts = [
        _simulation_section(name, simulation, f"simulation-{place}")
        for place, (name, simulation) in enumerate(simulations.items(), 1)
    ]
    return Section("simulations", "Simulations", sections=tuple(parts))


def _simulation_section(name: str, simulation: Simulation, key: str) -> Section:
    w = middle_weight(simulation)
    strategies = series_at_weight(simulation, w)
    objectives = tuple(dict.fromkeys(name for series in strategies for name in series.objectives))
    rows = [
        (
            series.strategy, series.w, series.latency_s, series.latency_p95_s, series.cost_usd, series.latency_regret,
            series.objective_regret, series.dominated, series.distinct, series.switches_per_100, series.unmet,
            *(series.objectives.get(name) for name in objectives),
        )
        for series in strategies
    ]  # fmt: skip
    table = Table(
        "strategies",
        (*_STRATEGIES, *objective_columns(objectives)),
        rows,
        "Means over the samples of the chosen seed; latency and cost are the true values"
        + ("" if w is None else f"; planners at w = {w:g}")
        + ". Over fastest: mean latency over that of the fastest cut of every sample. Regret: distance to the oracle, "
        "in percent of the objective's range. Dominated: picks for which another cut is better in one objective and "
        "no worse in the other.",
        frozenset(index for index, series in enumerate(strategies) if series.planner),
    ).without_empty_columns()
    return Section(
        key,
        simulation.title,
        facts=_simulation_facts(name, simulation),
        tables=(table,),
        pictures=tuple(_simulation_pictures(simulation, key, strategies)),
        notes=tuple(f"{part}: {source}" for part, source in simulation.based_on.items()),
    )


def _simulation_facts(name: str, simulation: Simulation) -> dict[str, str]:
    weights = simulation.weights
    weights_text = ", ".join(map(as_weight, weights)) if len(weights) < 8 else (
        f"{len(weights)} from {weights[0]:g} to {weights[-1]:g}"
    )  # fmt: skip
    scenario = simulation.scenario
    settings = {name: value for name, value in scenario.items() if name not in {"kind", "samples"}}
    return {
        "model": f"{simulation.model}, {_offer_text(simulation)}",
        "samples": f"{simulation.samples:,}"
        + (f", and {simulation.population:,} repetitions with other seeds" if simulation.population else ""),
        "scenario": f"{scenario.get('kind', '')}: {settings_text(settings)}" if settings else "",
        "picked by": policy_label(simulation.policy),
        "judged by": policy_label(simulation.truth),
        "cost": simulation.cost,
        "weights": weights_text,
        "folder": name,
    }


def _offer_text(simulation: Simulation) -> str:
    cuts, codecs = len(set(simulation.cuts)), list(dict.fromkeys(simulation.codecs))
    if len(simulation.cuts) > cuts:
        return f"{cuts} cuts on offer, sent as {', '.join(codecs)}: {len(simulation.cuts)} placements"
    sent_as = f", sent as {codecs[0]}" if codecs and codecs[0] != "raw" else ""
    return f"{cuts} cuts on offer{sent_as}"


def _simulation_pictures(simulation: Simulation, key: str, strategies: Sequence[Series]) -> Iterable[Picture]:
    samples = draw_samples(simulation)
    if samples:
        yield Picture(
            f"{key}-samples", samples[1] + " Strategies that always pick the same cut are drawn once.", samples[0]
        )
    over_trace = draw_over_trace(simulation)
    if over_trace:
        yield Picture(f"{key}-over-trace", over_trace[1], over_trace[0])
    if _has_weight_curve(simulation):
        yield Picture(
            f"{key}-weights", "Mean latency and mean cost of every planner over the weight.", draw_weights(simulation)
        )
        yield Picture(
            f"{key}-tradeoff",
            "Left: every planner's means from w = 0 to w = 1, and the fixed strategies (best fixed cut and oracle at "
            f"w = {middle_weight(simulation):g}). Right: what the picks lose "
            "against the best pick of every sample.",
            draw_tradeoff(simulation),
        )
    panels = _ratio_panels(strategies)
    if panels:
        yield Picture(
            f"{key}-strategies",
            "Every strategy relative to the two optimal ones: chosen seed"
            + (", and the 5–95 % interval of other seeds as a band." if simulation.population else "."),
            draw_dots(
                [strategy_label(series.strategy) for series in strategies],
                panels,
                [series.strategy for series in strategies],
            ),
        )


def _has_weight_curve(simulation: Simulation) -> bool:
    return any(len(series_over_weights(simulation, name)) > 2 for name in planner_names(simulation))


def _ratio_panels(strategies: Sequence[Series]) -> list[Panel]:
    by_name = {series.strategy: series for series in strategies}
    if not all(name in by_name for name in REFERENCES):
        return []
    fastest, cheapest = (by_name[name] for name in REFERENCES)
    if fastest.latency_s <= 0.0 or cheapest.cost_usd <= 0.0:
        return []
    latency, cost = [], []
    for series in strategies:
        latency.append(_ratio_dot(series.latency_s / fastest.latency_s, series.latency_ratio.get(REFERENCES[0])))
        cost.append(_ratio_dot(series.cost_usd / cheapest.cost_usd, series.cost_ratio.get(REFERENCES[1])))
    objectives = dict.fromkeys(name for series in strategies for name in series.objectives)
    return [
        ratio_panel("Mean latency", "times that of latency-optimal", {"": latency}),
        ratio_panel("Mean cost", "times that of cost-optimal", {"": cost}),
        *(panel for name in objectives if (panel := _objective_panel(name, strategies)) is not None),
    ]


def _objective_panel(name: str, strategies: Sequence[Series]) -> Panel | None:
    """Means of a further column over the smallest; None where a strategy has none, or the smallest is 0."""
    values = [series.objectives.get(name) for series in strategies]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or min(known) <= 0.0:
        return None
    dots = [Dot(value / min(known)) for value in known]
    return ratio_panel(f"Mean {shown_column(name).name}", "times the smallest", {"": dots})


def _ratio_dot(value: float, interval: Interval | None) -> Dot:
    return Dot(value) if interval is None else Dot(value, interval.p5, interval.p95)


def _interval_dict(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else {"mean": interval.mean, "p5": interval.p5, "p95": interval.p95}
