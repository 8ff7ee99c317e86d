"""The report's sections that compare simulations: planners, policies, predictors, dwell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from midcut.reporting.figures_compare import Dot, Panel, draw_dots, draw_dwell, ratio_panel
from midcut.reporting.formatting import (
    DEFAULT_POLICY,
    as_number,
    as_percent,
    as_signed,
    as_weight,
    in_microdollars,
    in_milliseconds,
    policy_label,
    strategy_label,
)  # fmt: skip
from midcut.reporting.report_model import Column, Picture, Section, Table
from midcut.reporting.series_selection import (
    REFERENCES,
    middle_weight,
    nearest_to_middle,
    planner_names,
    series_at_weight,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midcut.results.simulation import Front, Series, Simulation

_TITLE = Column("simulation", "simulation", number=False)
_PLANNER = Column("planner", "planner", strategy_label, number=False)
_FRONT_COLUMNS = (
    _TITLE,
    _PLANNER,
    Column("weights", "weights"),
    Column("hypervolume", "hypervolume", lambda value: f"{value:.3f}"),
    Column("front_share", "front reached", as_percent),
    Column("dominated", "dominated", as_percent),
    Column("distinct", "different picks", lambda value: f"{value:.1f}"),
    Column("objective_regret", "regret to oracle", as_percent),
    Column("switches_per_100", "switches per 100", as_number),
)
_ERROR_COLUMNS = (
    _TITLE,
    Column("policy", "picked by", number=False),
    Column("part", "part", number=False),
    Column("mape", "mean error", as_percent),
    Column("p95", "95 % under", as_percent),
    Column("bias", "bias", lambda value: f"{as_signed(value * 100)} %"),
)
_POLICY_COLUMNS = (
    Column("strategy", "strategy", strategy_label, number=False),
    Column("w", "w", as_weight),
    Column("policy", "picked by", number=False),
    Column("latency_s", "latency [ms]", in_milliseconds),
    Column("cost_usd", "cost [µ$]", in_microdollars),
    Column("latency_loss_percent", "latency over default [%]", as_signed),
    Column("cost_loss_percent", "cost over default [%]", as_signed),
    Column("latency_regret", "over fastest", as_percent),
    Column("objective_regret", "regret to oracle", as_percent),
)
_DWELL_COLUMNS = (
    _TITLE,
    _PLANNER,
    Column("w", "w", as_weight),
    Column("dwell", "dwell [planning steps]"),
    Column("switches_per_100", "switches per 100", as_number),
    Column("latency_s", "latency [ms]", in_milliseconds),
    Column("latency_change_percent", "latency change [%]", as_signed),
    Column("cost_usd", "cost [µ$]", in_microdollars),
    Column("cost_change_percent", "cost change [%]", as_signed),
)
_REFERENCE = policy_label(DEFAULT_POLICY)


def unique_titles(simulations: Mapping[str, Simulation]) -> dict[str, str]:
    """Folder -> title; with the folder in it where several simulations have the same title."""
    titles = [simulation.title for simulation in simulations.values()]
    return {
        folder: simulation.title if titles.count(simulation.title) == 1 else f"{simulation.title} ({folder})"
        for folder, simulation in simulations.items()
    }


def planners_section(simulations: Mapping[str, Simulation]) -> Section | None:
    """Hypervolume, front, dominated and different picks, regret and switches of every planner."""
    titles = unique_titles(simulations)
    rows = [
        (
            titles[folder], front.planner, len(simulation.weights), front.hypervolume, front.front_share,
            front.dominated, front.distinct, front.objective_regret, _planner_switches(simulation, front.planner),
        )
        for folder, simulation in simulations.items()
        for front in simulation.fronts
    ]  # fmt: skip
    if not rows:
        return None
    caption = (
        "Over all weights of a simulation. Hypervolume: area that the picks dominate, over the area that all cuts "
        "dominate. Front reached: share of Pareto-optimal cuts that some weight picks. Different picks: over the "
        "weights, per sample. Regret: percent of the objective's range. Switches at the weight nearest to 0.5."
    )
    fronts = {
        titles[folder]: simulation.fronts
        for folder, simulation in simulations.items()
        if len(simulation.weights) > 2 and simulation.fronts
    }
    pictures: tuple[Picture, ...] = ()
    if fronts:
        text = "Planners over all weights. In the two left panels larger is better, in the two right panels smaller."
        pictures = (Picture("planners", text, _draw_fronts(fronts)),)
    return Section(
        "planners", "Planners compared", tables=(Table("planners", _FRONT_COLUMNS, rows, caption),), pictures=pictures
    )


def _planner_switches(simulation: Simulation, planner: str) -> float | None:
    at_middle = {series.strategy: series for series in series_at_weight(simulation, middle_weight(simulation))}
    return at_middle[planner].switches_per_100 if planner in at_middle else None


def _draw_fronts(fronts_by_title: Mapping[str, Sequence[Front]]) -> Any:
    names = list(dict.fromkeys(front.planner for fronts in fronts_by_title.values() for front in fronts))

    def dots(field: str, factor: float) -> dict[str, list[Dot | None]]:
        by_planner = {title: {front.planner: front for front in fronts} for title, fronts in fronts_by_title.items()}
        return {
            title: [Dot(getattr(fronts[name], field) * factor) if name in fronts else None for name in names]
            for title, fronts in by_planner.items()
        }

    panels = [
        Panel("Hypervolume", "share of the best possible", dots("hypervolume", 1.0)),
        Panel("Front reached", "% of its points", dots("front_share", 100.0)),
        Panel("Dominated picks", "% of picks", dots("dominated", 100.0)),
        Panel("Regret", "% of the range", dots("objective_regret", 100.0)),
    ]
    return draw_dots([strategy_label(name) for name in names], panels, names if len(fronts_by_title) == 1 else ())


def errors_section(simulations: Mapping[str, Simulation]) -> Section | None:
    """Errors of the predictors that the strategies pick by, relative to the truth set."""
    titles = unique_titles(simulations)
    inexact = {
        folder: simulation
        for folder, simulation in simulations.items()
        if any(error.mape != 0.0 for error in simulation.errors)
    }
    exact = [titles[folder] for folder, each in simulations.items() if each.errors and folder not in inexact]
    if not inexact:
        return None
    rows = [
        (titles[folder], policy_label(simulation.policy), error.part, error.mape, error.p95, error.bias)
        for folder, simulation in inexact.items()
        for error in simulation.errors
    ]
    errors = [error for simulation in inexact.values() for error in simulation.errors]
    inexact_parts = {error.part for error in errors if error.mape != 0.0}
    panels = [
        Panel(part, "error [%]", {"": [_error_dot(simulation, part) for simulation in inexact.values()]}, reference=0.0)
        for part in dict.fromkeys(error.part for error in errors)
        if part in inexact_parts
    ]
    caption = (
        "Over samples and cuts: mean of |predicted − true| / true, its 95th percentile, and the mean with its sign."
    )
    note = f"No difference between prediction and truth in: {', '.join(exact)}." if exact else ""
    picture = Picture(
        "errors", "Mean relative error of every part (dots), up to its 95th percentile (bands).",
        draw_dots([titles[folder] for folder in inexact], panels),
    )  # fmt: skip
    return Section(
        "errors", "Predictors against the truth", tables=(Table("errors", _ERROR_COLUMNS, rows, caption),),
        pictures=(picture,), notes=(note,) if note else (),
    )  # fmt: skip


def _error_dot(simulation: Simulation, part: str) -> Dot | None:
    error = next((error for error in simulation.errors if error.part == part), None)
    if error is None or error.mape is None or error.p95 is None:
        return None
    return Dot(error.mape * 100, 0.0, error.p95 * 100)


def policies_section(simulations: Mapping[str, Simulation]) -> Section | None:
    """Compare policies on the same samples and with the same true values.

    It shows how much slower and dearer their picks are than those of the default policy.
    """
    groups: dict[bytes, list[Simulation]] = {}
    for simulation in simulations.values():
        same = (
            simulation.model, simulation.scenario, simulation.truth, simulation.cost, simulation.samples,
            sorted(set(simulation.codecs)),
        )  # fmt: skip
        groups.setdefault(msgspec.json.encode(same), []).append(simulation)
    comparable = [group for group in groups.values() if len({policy_label(each.policy) for each in group}) > 1]
    sections = [_policy_section(group, f"policies-{place}") for place, group in enumerate(comparable, start=1)]
    if not sections:
        return None
    text = (
        "The same samples, judged by the same truth, but picked by other predictors. Where the policies count cuts "
        "differently, regrets are to the best of each policy's own cuts; latency and cost compare directly."
    )
    return Section("policies", "What a policy loses", (text,), sections=tuple(sections))


def _policy_section(group: Sequence[Simulation], key: str) -> Section:
    by_policy: dict[str, Simulation] = {}
    for simulation in group:
        by_policy.setdefault(policy_label(simulation.policy), simulation)
    base = _REFERENCE if _REFERENCE in by_policy else next(iter(by_policy))
    shared = sorted(set.intersection(*(set(simulation.weights) for simulation in by_policy.values())))
    w = nearest_to_middle(shared)
    series = {
        policy: {each.strategy: each for each in series_at_weight(simulation, w)}
        for policy, simulation in by_policy.items()
    }
    wanted = (*REFERENCES, *planner_names(by_policy[base]))
    names = [name for name in wanted if all(name in strategies for strategies in series.values())]
    rows = [
        _policy_row(strategies[name], series[base][name], policy)
        for name in names
        for policy, strategies in series.items()
    ]
    columns = _POLICY_COLUMNS if base == _REFERENCE else _columns_relative_to(base)
    panels = [
        ratio_panel(title, f"times that of {base}", {
            policy: [_ratio_dot(strategies[name], series[base][name], field) for name in names]
            for policy, strategies in series.items()
        })
        for title, field in (("Mean latency", "latency_s"), ("Mean cost", "cost_usd"))
    ]  # fmt: skip
    caption = "Every strategy that picks by predictions, under every policy."
    pictures = [Picture(key, caption, draw_dots([strategy_label(name) for name in names], panels))] if names else []
    first = group[0]
    note = "" if w is None else f"At w = {w:g}; latency and cost are the true values."
    return Section(
        key,
        f"{first.model}, {first.cost}, {first.samples:,} samples",
        facts={
            "simulations": "; ".join(simulation.title for simulation in by_policy.values()),
            "judged by": policy_label(first.truth),
        },
        tables=(Table("policies", columns, rows, note),),
        pictures=tuple(pictures),
    )


def _columns_relative_to(base: str) -> tuple[Column, ...]:
    return tuple(
        replace(column, title=column.title.replace("over default", f"over {base}")) for column in _POLICY_COLUMNS
    )


def _policy_row(series: Series, base: Series, policy: str) -> tuple[Any, ...]:
    return (
        series.strategy, series.w, policy, series.latency_s, series.cost_usd,
        _change_percent(series.latency_s, base.latency_s), _change_percent(series.cost_usd, base.cost_usd),
        series.latency_regret, series.objective_regret,
    )  # fmt: skip


def _ratio_dot(series: Series, base: Series, field: str) -> Dot | None:
    divisor = getattr(base, field)
    return Dot(getattr(series, field) / divisor) if divisor > 0.0 else None


def dwell_section(simulations: Mapping[str, Simulation]) -> Section | None:
    """Switches, and what avoiding them costs, for every dwell."""
    titles = unique_titles(simulations)
    rows: list[tuple[Any, ...]] = []
    pictures = []
    for place, (folder, simulation) in enumerate(simulations.items(), start=1):
        curves = dict(_dwell_curves(simulation))
        if not curves:
            continue
        rows += [
            (titles[folder], planner, step.w, step.dwell, step.switches_per_100, step.latency_s, latency_change,
             step.cost_usd, cost_change)
            for planner, steps in curves.items()
            for step, latency_change, cost_change in steps
        ]  # fmt: skip
        points = {
            planner: [(step.dwell, step.switches_per_100, latency or 0.0, cost or 0.0) for step, latency, cost in steps]
            for planner, steps in curves.items()
        }
        caption = f"{titles[folder]}: a cut stays in use for at least the given number of planning steps."
        pictures.append(Picture(f"dwell-{place}", caption, draw_dwell(points)))
    if not rows:
        return None
    table = Table("dwell", _DWELL_COLUMNS, rows, "Changes are relative to the same planner without dwell.")
    return Section("dwell", "Fewer switches: dwell", tables=(table,), pictures=tuple(pictures))


def _dwell_curves(simulation: Simulation) -> Iterator[tuple[str, list[tuple[Series, float | None, float | None]]]]:
    """By planner: its series at every dwell, with the change of latency and cost in percent."""
    dwells = sorted({series.dwell for series in simulation.series})
    if len(dwells) < 2:
        return
    w = middle_weight(simulation)
    by_dwell = [{series.strategy: series for series in series_at_weight(simulation, w, dwell)} for dwell in dwells]
    for planner in planner_names(simulation):
        steps = [strategies[planner] for strategies in by_dwell if planner in strategies]
        if len(steps) > 1:
            latency_s, cost_usd = steps[0].latency_s, steps[0].cost_usd
            yield (
                planner,
                [
                    (step, _change_percent(step.latency_s, latency_s), _change_percent(step.cost_usd, cost_usd))
                    for step in steps
                ],
            )


def _change_percent(value: float, base: float) -> float | None:
    return (value / base - 1.0) * 100.0 if base > 0.0 else None
