"""The report's sections across simulations: planners, policies, predictors, dwell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from midcut.reporting.document import Column, Picture, Section, Table
from midcut.reporting.figures_compare import Dot, Panel, draw_dots, draw_dwell, ratio_panel
from midcut.reporting.selection import REFERENCES, at_weight, middle, planners
from midcut.reporting.texts import (
    DEFAULT_POLICY,
    label,
    microdollars,
    milliseconds,
    number,
    percent,
    policy_label,
    signed,
    weight,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midcut.results.simulation import Front, Series, Simulation

_TITLE = Column("simulation", "simulation", number=False)
_PLANNER = Column("planner", "planner", label, number=False)
_FRONTS = (
    _TITLE,
    _PLANNER,
    Column("weights", "weights"),
    Column("hypervolume", "hypervolume", lambda value: f"{value:.3f}"),
    Column("front_share", "front reached", percent),
    Column("dominated", "dominated", percent),
    Column("distinct", "picks over w", lambda value: f"{value:.1f}"),
    Column("objective_regret", "regret to oracle", percent),
    Column("switches_per_100", "switches per 100", number),
)
_ERRORS = (
    _TITLE,
    Column("policy", "picked by", number=False),
    Column("part", "part", number=False),
    Column("mape", "mean error", percent),
    Column("p95", "95 % under", percent),
    Column("bias", "bias", lambda value: f"{signed(value * 100)} %"),
)
_POLICIES = (
    Column("strategy", "strategy", label, number=False),
    Column("w", "w", weight),
    Column("policy", "picked by", number=False),
    Column("latency_s", "latency [ms]", milliseconds),
    Column("cost_usd", "cost [µ$]", microdollars),
    Column("latency_loss_percent", "latency over default [%]", signed),
    Column("cost_loss_percent", "cost over default [%]", signed),
    Column("latency_regret", "over fastest", percent),
    Column("objective_regret", "regret to oracle", percent),
)
_DWELL = (
    _TITLE,
    _PLANNER,
    Column("w", "w", weight),
    Column("dwell", "dwell [samples]"),
    Column("switches_per_100", "switches per 100", number),
    Column("latency_s", "latency [ms]", milliseconds),
    Column("latency_change_percent", "latency [% over none]", signed),
    Column("cost_usd", "cost [µ$]", microdollars),
    Column("cost_change_percent", "cost [% over none]", signed),
)
_REFERENCE = policy_label(DEFAULT_POLICY)


def titles(simulations: Mapping[str, Simulation]) -> dict[str, str]:
    """Folder -> title, with the folder where two have the same title."""
    known = [one.title for one in simulations.values()]
    return {
        name: one.title if known.count(one.title) == 1 else f"{one.title} ({name})" for name, one in simulations.items()
    }


def planners_section(simulations: Mapping[str, Simulation]) -> Section | None:
    """Hypervolume, front, dominated and distinct picks, regret and switches of every planner."""
    named = titles(simulations)
    rows = [
        (
            named[name], front.planner, len(one.weights), front.hypervolume, front.front_share, front.dominated,
            front.distinct, front.objective_regret, _switches(one, front.planner),
        )
        for name, one in simulations.items()
        for front in one.fronts
    ]  # fmt: skip
    if not rows:
        return None
    caption = (
        "Over all weights of a simulation. Hypervolume: area that the picks dominate, over the area that all cuts "
        "dominate. Front reached: share of Pareto-optimal cuts that some weight picks. Picks over w: different ones "
        "per sample. Regret: percent of the objective's range. Switches at the weight nearest to 0.5."
    )
    swept = {named[name]: one.fronts for name, one in simulations.items() if len(one.weights) > 2 and one.fronts}
    pictures: tuple[Picture, ...] = ()
    if swept:
        text = "Planners over all weights. Right is better on the left half, left is better on the right half."
        pictures = (Picture("planners", text, _draw_fronts(swept)),)
    return Section(
        "planners", "Planners compared", tables=(Table("planners", _FRONTS, rows, caption),), pictures=pictures
    )


def _switches(simulation: Simulation, planner: str) -> float | None:
    found = [one for one in at_weight(simulation, middle(simulation)) if one.strategy == planner]
    return found[0].switches_per_100 if found else None


def _draw_fronts(swept: Mapping[str, Sequence[Front]]) -> Any:
    names = list(dict.fromkeys(front.planner for fronts in swept.values() for front in fronts))

    def dots(field: str, factor: float) -> dict[str, list[Dot | None]]:
        by_name = {title: {front.planner: front for front in fronts} for title, fronts in swept.items()}
        return {
            title: [Dot(getattr(fronts[name], field) * factor) if name in fronts else None for name in names]
            for title, fronts in by_name.items()
        }

    shown = [
        Panel("Hypervolume", "share of the best possible", dots("hypervolume", 1.0)),
        Panel("Front reached", "% of its points", dots("front_share", 100.0)),
        Panel("Dominated picks", "% of picks", dots("dominated", 100.0)),
        Panel("Regret", "% of the range", dots("objective_regret", 100.0)),
    ]
    return draw_dots([label(name) for name in names], shown, names if len(swept) == 1 else ())


def errors_section(simulations: Mapping[str, Simulation]) -> Section | None:
    """How far the picking predictors are from the truth."""
    named = titles(simulations)
    judged = {name: one for name, one in simulations.items() if any(error.mape != 0.0 for error in one.errors)}
    exact = [named[name] for name, one in simulations.items() if one.errors and name not in judged]
    if not judged:
        return None
    rows = [
        (named[name], policy_label(one.policy), error.part, error.mape, error.p95, error.bias)
        for name, one in judged.items()
        for error in one.errors
    ]
    parts = list(dict.fromkeys(error.part for one in judged.values() for error in one.errors))
    inexact = {error.part for one in judged.values() for error in one.errors if error.mape != 0.0}
    shown = [
        Panel(part, "error [%]", {"": [_error(one, part) for one in judged.values()]}, one=0.0)
        for part in parts
        if part in inexact
    ]
    caption = (
        "Over samples and cuts: mean of |predicted − true| / true, its 95th percentile, and the mean with its sign."
    )
    note = f"No difference between prediction and truth in: {', '.join(exact)}." if exact else ""
    picture = Picture(
        "errors", "Mean relative error of every part (dots), up to its 95th percentile (bands).",
        draw_dots([named[name] for name in judged], shown),
    )  # fmt: skip
    return Section(
        "errors", "Predictors against the truth", tables=(Table("errors", _ERRORS, rows, caption),),
        pictures=(picture,), notes=(note,) if note else (),
    )  # fmt: skip


def _error(simulation: Simulation, part: str) -> Dot | None:
    error = next((error for error in simulation.errors if error.part == part), None)
    if error is None or error.mape is None or error.p95 is None:
        return None
    return Dot(error.mape * 100, 0.0, error.p95 * 100)


def policies_section(simulations: Mapping[str, Simulation]) -> Section | None:
    """The same samples and truth, other picking predictors: what a policy loses to the default one."""
    groups: dict[bytes, list[Simulation]] = {}
    for one in simulations.values():
        same = (one.model, one.scenario, one.truth, one.cost, one.samples, sorted(set(one.codecs)))
        groups.setdefault(msgspec.json.encode(same), []).append(one)
    differing = [group for group in groups.values() if len({policy_label(one.policy) for one in group}) > 1]
    parts = [_policies(group, f"policies-{place}") for place, group in enumerate(differing, start=1)]
    if not parts:
        return None
    text = (
        "The same samples, judged by the same truth, but picked by other predictors. Where the policies count cuts "
        "differently, regrets are to the best of each policy's own cuts; latency and cost compare directly."
    )
    return Section("policies", "What a policy loses", (text,), sections=tuple(parts))


def _policies(group: Sequence[Simulation], key: str) -> Section:
    by_label: dict[str, Simulation] = {}
    for one in group:
        by_label.setdefault(policy_label(one.policy), one)
    base = _REFERENCE if _REFERENCE in by_label else next(iter(by_label))
    shared = sorted(set.intersection(*(set(one.weights) for one in by_label.values())))
    w = min(shared, key=lambda one: (abs(one - 0.5), one), default=None)
    series = {name: {one.strategy: one for one in at_weight(simulation, w)} for name, simulation in by_label.items()}
    wanted = (*REFERENCES, *planners(by_label[base]))
    names = [name for name in wanted if all(name in found for found in series.values())]
    rows = [_loss(one, series[base][name], policy) for name in names for policy, found in series.items()
            for one in (found[name],)]  # fmt: skip
    columns = _POLICIES if base == _REFERENCE else _renamed(base)
    shown = [
        ratio_panel(title, f"times that of {base}", {
            policy: [_ratio(found[name], series[base][name], field) for name in names]
            for policy, found in series.items()
        })
        for title, field in (("Mean latency", "latency_s"), ("Mean cost", "cost_usd"))
    ]  # fmt: skip
    first = group[0]
    return Section(
        key,
        f"{first.model}, {first.cost}, {first.samples:,} samples",
        facts={
            "simulations": "; ".join(one.title for one in by_label.values()),
            "judged by": policy_label(first.truth),
        },
        tables=(Table("policies", columns, rows, "" if w is None else f"At w = {w:g}, as the truth set has it."),),
        pictures=(
            Picture(
                key,
                "Every strategy that picks by predictions, under every policy.",
                draw_dots([label(name) for name in names], shown),
            ),
        )
        if names
        else (),
    )


def _renamed(base: str) -> tuple[Column, ...]:
    return tuple(
        Column(one.key, one.head.replace("over default", f"over {base}"), one.text, one.number) for one in _POLICIES
    )


def _loss(one: Series, base: Series, policy: str) -> tuple[Any, ...]:
    return (
        one.strategy, one.w, policy, one.latency_s, one.cost_usd, _change(one.latency_s, base.latency_s),
        _change(one.cost_usd, base.cost_usd), one.latency_regret, one.objective_regret,
    )  # fmt: skip


def _ratio(one: Series, base: Series, field: str) -> Dot | None:
    below = getattr(base, field)
    return Dot(getattr(one, field) / below) if below > 0.0 else None


def dwell_section(simulations: Mapping[str, Simulation]) -> Section | None:
    """Switches and their price under every dwell."""
    named = titles(simulations)
    rows: list[tuple[Any, ...]] = []
    pictures = []
    for place, (name, one) in enumerate(simulations.items(), start=1):
        curves = dict(_dwell_curves(one))
        if not curves:
            continue
        rows += [
            (named[name], planner, one_row.w, one_row.dwell, one_row.switches_per_100, one_row.latency_s, latency,
             one_row.cost_usd, cost)
            for planner, steps in curves.items()
            for one_row, latency, cost in steps
        ]  # fmt: skip
        lines = {
            planner: [(step.dwell, step.switches_per_100, latency or 0.0, cost or 0.0) for step, latency, cost in steps]
            for planner, steps in curves.items()
        }
        pictures.append(
            Picture(f"dwell-{place}", f"{named[name]}: a cut is kept for at least so many samples.", draw_dwell(lines))
        )
    if not rows:
        return None
    table = Table("dwell", _DWELL, rows, "Changes are relative to the same planner without dwell.")
    return Section("dwell", "Staying for a while: dwell", tables=(table,), pictures=tuple(pictures))


def _dwell_curves(simulation: Simulation) -> Iterator[tuple[str, list[tuple[Series, float | None, float | None]]]]:
    dwells = sorted({one.dwell for one in simulation.series})
    if len(dwells) < 2:
        return
    w = middle(simulation)
    by_dwell = {dwell: {one.strategy: one for one in at_weight(simulation, w, dwell)} for dwell in dwells}
    for planner in planners(simulation):
        steps = [found[planner] for found in by_dwell.values() if planner in found]
        if len(steps) > 1:
            base = steps[0]
            yield (
                planner,
                [(one, _change(one.latency_s, base.latency_s), _change(one.cost_usd, base.cost_usd)) for one in steps],
            )


def _change(value: float, base: float) -> float | None:
    """In percent."""
    return (value / base - 1.0) * 100.0 if base > 0.0 else None
