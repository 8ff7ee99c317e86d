"""A simulation's results for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from midcut.simulation.strategies import COST_OPTIMAL, LATENCY_OPTIMAL

if TYPE_CHECKING:
    from midcut.results.simulation import Claim, Front, Interval, Series, Simulation

_METRICS = ("ms", "p95 ms", "µ$", "slower%", "regret%", "domin.%", "picks", "switch%")
_MEANING = (
    "slower: than the fastest of every sample; regret: of the weighted sum of both objectives, against the best; "
    "domin.: another one is better in one objective and no worse in the other; picks: different ones"
)
SHOWN_WEIGHTS = 5
WORTH_A_RATE = 10_000
"""Fewer decisions take no longer than what surrounds them."""


def print_simulation(done: Simulation, wall_s: float) -> None:
    """Print strategies, planners over all weights, published numbers, and how long it took."""
    console = Console()
    shown = _some(done.weights)
    if done.title != done.model:
        console.print(done.title, markup=False, highlight=False, style="bold")
    console.print(_setting(done), markup=False, highlight=False)
    console.print(_strategies(done, shown))
    console.print(_MEANING, style="dim", highlight=False)
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
    limited = any(one.unmet is not None for one in done.series)
    table = _table("strategy", "w", *_METRICS, *(["unmet%"] if limited else []))
    for one in done.series:
        if one.w is None or one.w in shown or one.strategy in (LATENCY_OPTIMAL, COST_OPTIMAL):
            w = "" if one.w is None else f"{one.w:.4g}"
            unmet = [_percent(one.unmet)] if limited else []
            style = None if one.planner else "dim"
            name = f"  dwell {one.dwell}" if one.dwell else escape(one.strategy)
            table.add_row(name, w, *_numbers(one), *unmet, style=style)
    return table


def _setting(done: Simulation) -> str:
    repeated = f", {done.population:,} repetitions with other seeds" if done.population else ""
    return f"{done.model}, {done.cost}, {done.samples:,} samples{repeated}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.1f}"


def _numbers(one: Series) -> tuple[str, ...]:
    return (
        f"{one.latency_s * 1e3:.4g}",
        f"{one.latency_p95_s * 1e3:.4g}",
        f"{one.cost_usd * 1e6:.4g}",
        _percent(one.latency_regret),
        _percent(one.objective_regret),
        _percent(one.dominated),
        str(one.distinct),
        f"{one.switches_per_100:.1f}",
    )


def _fronts(fronts: tuple[Front, ...]) -> Table:
    table = _table("over all weights", "hypervolume%", "front%", "domin.%", "picks", "regret%")
    for one in fronts:
        shares = (one.hypervolume, one.front_share, one.dominated)
        regret = f"{one.objective_regret * 100:.2f}"
        table.add_row(escape(one.planner), *map(_percent, shares), f"{one.distinct:.1f}", regret)
    return table


def _claims(claims: tuple[Claim, ...]) -> Table:
    table = _table("change in %", "published", "simulated", "other seeds, 5 to 95 %")
    for one in claims:
        simulated = "-" if one.simulated is None else f"{one.simulated:+.2f}"
        words = escape(f"{one.where}: {one.what}")
        table.add_row(words, f"{one.published:+.2f}", simulated, _interval(one.population))
    return table


def _interval(one: Interval | None) -> str:
    return "" if one is None else f"{one.mean:+.1f} [{one.p5:+.1f}, {one.p95:+.1f}]"


def _table(words: str, *numbers: str) -> Table:
    """On a narrow terminal the words of the first column wrap; the numbers stay whole."""
    table = Table(words, *numbers, box=None, padding=(0, 1, 0, 0))
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    return table
