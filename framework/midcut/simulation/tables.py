"""Prints the results of a simulation on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from midcut.simulation.strategies import COST_OPTIMAL, LATENCY_OPTIMAL

if TYPE_CHECKING:
    from midcut.results.simulation import Claim, Front, Interval, Series, Simulation

# Titles of several lines, so that the table fits 80 columns.
_METRICS = ("mean\nms", "p95\nms", "mean\nµ$", "slower\n%", "regret\n%", "domi-\nnated %", "picks", "switch\n%")
_LIMIT_NOT_MET = "limit\nnot\nmet %"
_EXPLANATION = (
    "slower: than the fastest placement of every sample; regret: weighted sum of both objectives, above the best; "
    "dominated: another placement is better in one objective and no worse in the other; "
    "picks: number of different placements picked; switch: samples whose pick differs from the one before"
)
SHOWN_WEIGHTS = 5
MIN_DECISIONS_FOR_RATE = 10_000
"""With fewer decisions, start-up and printing take most of the time, and a rate would mislead."""


def print_simulation(simulation: Simulation, wall_s: float) -> None:
    """Print strategies, planners over all weights, published numbers, and how long the simulation took."""
    console = Console()
    shown = _evenly_spaced(simulation.weights)
    if simulation.title != simulation.model:
        console.print(simulation.title, markup=False, highlight=False, style="bold")
    console.print(_setting(simulation), markup=False, highlight=False)
    console.print(_strategy_table(simulation, shown))
    console.print(_EXPLANATION, style="dim", highlight=False)
    if len(shown) < len(simulation.weights):
        console.print(f"{len(shown)} of {len(simulation.weights)} weights shown", style="dim", highlight=False)
    if simulation.fronts:
        console.print(_front_table(simulation.fronts))
    if simulation.claims:
        console.print(_claim_table(simulation.claims))
    planners = len({series.strategy for series in simulation.series if series.planner})
    decisions = simulation.samples * (1 + simulation.population) * len(simulation.weights) * planners
    rate = f", {decisions / wall_s:,.0f} decisions/s" if decisions >= MIN_DECISIONS_FOR_RATE else ""
    console.print(f"{decisions:,} planner decisions in {wall_s:.2f} s{rate}", highlight=False)


def _evenly_spaced(weights: tuple[float, ...]) -> list[float]:
    if len(weights) <= SHOWN_WEIGHTS:
        return list(weights)
    last = len(weights) - 1
    return [weights[round(index * last / (SHOWN_WEIGHTS - 1))] for index in range(SHOWN_WEIGHTS)]


def _strategy_table(simulation: Simulation, shown_weights: list[float]) -> Table:
    limited = any(series.unmet is not None for series in simulation.series)
    table = _table("strategy", "w", *_METRICS, *([_LIMIT_NOT_MET] if limited else []))
    for series in simulation.series:
        if series.w is None or series.w in shown_weights or series.strategy in (LATENCY_OPTIMAL, COST_OPTIMAL):
            w = "" if series.w is None else f"{series.w:.4g}"
            limit_not_met = [_percent(series.unmet)] if limited else []
            style = None if series.planner else "dim"
            name = f"  dwell {series.dwell}" if series.dwell else escape(series.strategy)
            table.add_row(name, w, *_metric_cells(series), *limit_not_met, style=style)
    return table


def _setting(simulation: Simulation) -> str:
    repeated = f", {simulation.population:,} repetitions with other seeds" if simulation.population else ""
    return f"model {simulation.model}, cost model {simulation.cost}, {simulation.samples:,} samples{repeated}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.1f}"


def _metric_cells(series: Series) -> tuple[str, ...]:
    return (
        f"{series.latency_s * 1e3:.4g}",
        f"{series.latency_p95_s * 1e3:.4g}",
        f"{series.cost_usd * 1e6:.4g}",
        _percent(series.latency_regret),
        _percent(series.objective_regret),
        _percent(series.dominated),
        str(series.distinct),
        f"{series.switches_per_100:.1f}",
    )


def _front_table(fronts: tuple[Front, ...]) -> Table:
    table = _table("over all weights", "hypervolume\n%", "front\nreached %", "domi-\nnated %", "picks", "regret\n%")
    for front in fronts:
        shares = (front.hypervolume, front.front_share, front.dominated)
        regret = f"{front.objective_regret * 100:.2f}"
        table.add_row(escape(front.planner), *map(_percent, shares), f"{front.distinct:.1f}", regret)
    return table


def _claim_table(claims: tuple[Claim, ...]) -> Table:
    table = _table("change in %", "published", "simulated", "other seeds, 5 to 95 %")
    for claim in claims:
        simulated = "-" if claim.simulated is None else f"{claim.simulated:+.2f}"
        description = escape(f"{claim.where}: {claim.what}")
        table.add_row(description, f"{claim.published:+.2f}", simulated, _interval_text(claim.population))
    return table


def _interval_text(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.mean:+.1f} [{interval.p5:+.1f}, {interval.p95:+.1f}]"


def _table(first_column: str, *number_columns: str) -> Table:
    """A table whose first column wraps on a narrow terminal, while numbers stay whole."""
    table = Table(first_column, *number_columns, box=None, padding=(0, 1, 0, 0))
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    return table
