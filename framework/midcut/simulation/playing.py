"""Users of one cloud: from forecasts to a game, its equilibrium, and what other choices would lead to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from midcut.config.settings import ScenarioDrawn, Turns
from midcut.errors import ConfigError
from midcut.results.users import UsersOutcome, UsersResult
from midcut.simulation.chunks import broadcast_forecast
from midcut.simulation.scenario import make_samples
from midcut.simulation.users import Game, best_responses, random_turns, sequential, simultaneous

if TYPE_CHECKING:
    from midcut.config.settings import GameSettings, ScenarioTrace
    from midcut.planning.policy import Forecaster
    from midcut.types import Floats, Forecast, Ints


def play(truth: Forecaster, scenario: ScenarioDrawn | ScenarioTrace, users: int, settings: GameSettings) -> UsersResult:
    """Give each user a sample of the scenario, and let them answer one another.

    Raises:
        ConfigError: a trace with fewer samples than there are users.
    """
    if isinstance(scenario, ScenarioDrawn):
        scenario = replace(scenario, samples=users)
    samples = make_samples(scenario)
    if len(samples) < users:
        raise ConfigError(f"users={users}: the trace has {len(samples)} samples; give a smaller scenario.step_s")
    forecast = broadcast_forecast(truth, samples.observation(0, users), users)
    game = _game(forecast, settings)
    turns = {
        Turns.sequential: sequential(users),
        Turns.simultaneous: simultaneous(users),
        Turns.random: random_turns(users, settings.share, getattr(scenario, "seed", 0)),
    }[settings.turns]
    start: Ints = np.full(users, int(forecast.placements.cut.argmax()))
    course = best_responses(game, start, turns, settings.most_rounds)
    choices: dict[str, Ints | None] = {
        "equilibrium": course.choices,
        "optimum": game.optimum(),
        "price_ignored": game.own.argmin(axis=-1),
        "edge_only": start,
        "cloud_only": np.full(users, int(forecast.placements.cut.argmin())),
    }
    return UsersResult(
        model=forecast.placements.model,
        users=users,
        turns=settings.turns.value,
        rounds=course.rounds,
        settled=course.settled,
        outcomes=tuple(_outcome(name, found, game, forecast) for name, found in choices.items() if found is not None),
    )


def _game(forecast: Forecast, settings: GameSettings) -> Game:
    own: Floats = settings.time_weight * forecast.latency_s
    if "energy_j" in forecast.objectives:
        own = own + settings.energy_weight * forecast.column("energy_j")
    return Game(
        own=own,
        load=settings.rate_hz * forecast.cloud_s,
        base_price=settings.base_usd_per_hour,
        slope=settings.slope_usd_per_hour,
        price_weight=settings.price_weight,
    )


def _outcome(name: str, choices: Ints, game: Game, forecast: Forecast) -> UsersOutcome:
    rows = np.arange(game.users)
    load = float(game.loads(choices).sum())
    energy = forecast.objectives.get("energy_j")
    return UsersOutcome(
        name=name,
        total=game.total(choices),
        latency_s=float(forecast.latency_s[rows, choices].mean()),
        energy_j=None if energy is None else float(energy[rows, choices].mean()),
        load=load,
        price_usd_per_hour=game.base_price + game.slope * load,
        pay_usd_per_hour=float(game.pay(choices).sum()),
        cuts=tuple(forecast.placements.cut[choices].tolist()),
    )


def print_users(result: UsersResult) -> None:
    """Print the outcomes as a table."""
    console = Console(markup=False, emoji=False)
    ended = f"settled in {result.rounds} rounds" if result.settled else f"not settled in {result.rounds} rounds"
    console.print(f"model {result.model}, {result.users} users, {result.turns} turns: {ended}", highlight=False)
    rich = Table("choices", "total", "mean ms", "energy mJ", "load", "$/h", "paid $/h", box=None, pad_edge=False)
    for column in rich.columns[1:]:
        column.justify = "right"
    for each in result.outcomes:
        energy = "" if each.energy_j is None else f"{each.energy_j * 1e3:.1f}"
        numbers = (each.load, each.price_usd_per_hour, each.pay_usd_per_hour)
        rich.add_row(
            each.name, f"{each.total:.4g}", f"{each.latency_s * 1e3:.1f}", energy, *(f"{one:.4g}" for one in numbers)
        )
    console.print(rich)
