"""A simulation's results for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from midcut.simulation.strategies import COST_OPTIMAL, LATENCY_OPTIMAL

if TYPE_CHECKING:
    from midcut.simulation.result import Claim, Front, Interval, Series, Simulation

_METRICS = ("ms", "p95 ms", "µ$", "regret%", "domin.%", "cuts", "switch%")
SHOWN_WEIGHTS = 5
WORTH_A_RATE = 10_000
"""Fewer decisions take no longer than what surrounds them."""


def print_simulation(done: Simulation, wall_s: float) -> None:
    """Print strategies, planners over all weights, published numbers, and how long it took."""
    console = Console()
    shown = _some(done.weights)
    console.print(_strategies(done, shown))
    if len(shown) < len(done.weights):
        console.print(f"{len(shown)} of {len(done.weights)} weights shown", style="dim", highlight=False)
    if done.fronts:
        console.print(_fronts(done.fronts))
    if done.claims:
        console.print(_claims(done.claims))
    planners = len({one.strategy for one in done.series if one.planner})
    decisions = done.samples * (1 + done.population) * len(done.weights) * planners
    rate = f", {decisions / wall_s:,.0f} decisions/s" if decisions >= WORTH_A_RATE else ""
    console.print(f"{decisions:,} planners' decisions in {wall_s:.2f} s{rate}", highlight=False)


def _some(weights: tuple[float, ...]) -> list[float]:
    if len(weights) <= SHOWN_WEIGHTS:
        return list(weights)
    last = len(weights) - 1
    return [weights[round(index * last / (SHOWN_WEIGHTS - 1))] for index in range(SHOWN_WEIGHTS)]


def _strategies(done: Simulation, shown: list[float]) -> Table:
    repeated = f", {done.population} repetitions" if done.population else ""
    title = f"{done.title}: {done.model}, {done.cost}, {done.samples} samples{repeated}"
    dwells = any(one.dwell for one in done.series)
    columns = ("strategy", "w", *(["dwell"] if dwells else []), *_METRICS)
    table = _table(title, columns, left=1)
    for one in done.series:
        if one.w is None or one.w in shown or one.strategy in (LATENCY_OPTIMAL, COST_OPTIMAL):
            dwell = [str(one.dwell or "")] if dwells else []
            w = "" if one.w is None else f"{one.w:.4g}"
            table.add_row(one.strategy, w, *dwell, *_numbers(one), style=None if one.planner else "dim")
    return table


def _numbers(one: Series) -> tuple[str, ...]:
    return (
        f"{one.latency_s * 1e3:.4g}",
        f"{one.latency_p95_s * 1e3:.4g}",
        f"{one.cost_usd * 1e6:.4g}",
        f"{one.latency_regret * 100:.1f}",
        f"{one.dominated * 100:.1f}",
        str(one.distinct),
        f"{one.switches_per_100:.1f}",
    )


def _fronts(fronts: tuple[Front, ...]) -> Table:
    columns = ("over all weights", "hypervolume%", "front%", "domin.%", "cuts", "regret of J%")
    table = _table(None, columns, left=1)
    for one in fronts:
        shares = (one.hypervolume, one.front_share, one.dominated)
        regret = f"{one.objective_regret * 100:.2f}"
        table.add_row(one.planner, *(f"{share * 100:.1f}" for share in shares), f"{one.distinct:.1f}", regret)
    return table


def _claims(claims: tuple[Claim, ...]) -> Table:
    table = _table(None, ("where", "what", "published%", "simulated%", "other seeds% [5-95]"), left=2)
    for one in claims:
        simulated = "-" if one.simulated is None else f"{one.simulated:+.2f}"
        table.add_row(one.where, one.what, f"{one.published:+.2f}", simulated, _interval(one.population))
    return table


def _interval(one: Interval | None) -> str:
    return "" if one is None else f"{one.mean:+.1f} [{one.p5:+.1f}, {one.p95:+.1f}]"


def _table(title: str | None, columns: tuple[str, ...], left: int) -> Table:
    table = Table(*columns, title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for column in table.columns[left:]:
        column.justify, column.no_wrap = "right", True
    table.columns[0].no_wrap = True
    return table
