"""`midcut simulate`: evaluates planners on many samples at once. Needs no sockets and no torch."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import msgspec
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from midcut.config.build import settings_of
from midcut.config.settings import SimulateConfig
from midcut.results.simulation import FILE, write_simulation
from midcut.results.users import FILE as USERS_FILE
from midcut.results.users import write_users
from midcut.simulation.assembly import assemble
from midcut.simulation.playing import play, print_users
from midcut.simulation.progress import ProgressBar
from midcut.simulation.run import simulate
from midcut.simulation.tables import print_simulation

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.results.simulation import Simulation
    from midcut.simulation.run import Setup


def run(cfg: DictConfig) -> dict[str, Any]:
    """Simulate; write `simulation.json` into the run directory and print the tables.

    Returns:
        title, model, w, and per planner its mean latency, cost and regrets, for the record of a sweep.
    """
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    start = perf_counter()
    folder = Path(HydraConfig.get().runtime.output_dir)
    setup, header = assemble(cfg, HydraConfig.get().runtime.choices, folder)
    if cfg.users:
        return _play(cfg, setup, folder)
    with ProgressBar(enabled=not in_sweep) as progress_bar:
        simulation = simulate(setup, header, progress_bar.update)
    wall_s = perf_counter() - start
    write_simulation(folder / FILE, simulation)
    if not in_sweep:
        print_simulation(simulation, wall_s)
    return summary(simulation)


def _play(cfg: DictConfig, setup: Setup, folder: Path) -> dict[str, Any]:
    """Let users share one cloud; write `users.json`."""
    settings = settings_of(cfg, SimulateConfig)
    result = play(setup.truth, setup.scenario, settings.users, settings.game)
    write_users(folder / USERS_FILE, result)
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        print_users(result)
    return cast("dict[str, Any]", msgspec.to_builtins(result))


def summary(simulation: Simulation) -> dict[str, Any]:
    """What a sweep records: a list per metric of a planner that was asked at several weights, else a number."""
    record: dict[str, Any] = {"title": simulation.title, "model": simulation.model}
    record["w"] = simulation.weights[0] if len(simulation.weights) == 1 else list(simulation.weights)
    metrics = ("latency_s", "cost_usd", "latency_regret", "objective_regret")
    for name in dict.fromkeys(series.strategy for series in simulation.series if series.planner):
        rows = [series for series in simulation.series if series.strategy == name and series.dwell == 0]
        columns = {metric: [getattr(row, metric) for row in rows] for metric in metrics}
        record[name] = {metric: column[0] if len(rows) == 1 else column for metric, column in columns.items()}
    return record
