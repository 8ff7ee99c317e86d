#!/usr/bin/env python3
"""How long one decision takes, how many fit into a second in bulk, and how long changing the cut takes.

Prints medians and inter-quartile ranges in microseconds; ratios are within this run.
"""

from __future__ import annotations

import argparse
import gc
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from midcut.component import Kind
from midcut.config.build import build, build_each
from midcut.config.composition import compose
from midcut.config.settings import CalibrationSettings, CutSettings
from midcut.edge.calibration.calibration import Calibration
from midcut.edge.calibration.evidence import Sample
from midcut.graph import partition
from midcut.planning.assembly import build_policy
from midcut.planning.cuts import legal_cuts
from midcut.planning.placements import placements
from midcut.planning.policy import PARTS
from midcut.profiles import find_profile
from midcut.types import Observation

if TYPE_CHECKING:
    from collections.abc import Callable

    from omegaconf import DictConfig

    from midcut.planning.policy import Policy
    from midcut.types import CutTable

WEIGHTS, OBSERVATIONS = 101, 10_000
BULK_REPEATS = 5


def microseconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and inter-quartile range, each call timed alone."""
    for _ in range(repeats // 10 + 1):
        call()
    gc.collect()
    seconds = np.empty(repeats)
    for index in range(repeats):
        start = perf_counter()
        call()
        seconds[index] = perf_counter() - start
    low, middle, high = np.percentile(seconds, (25, 50, 75)) * 1e6
    return float(middle), float(high - low)


def plan_config(*overrides: str) -> DictConfig:
    return compose("plan", overrides)


def policy_of(table: CutTable, config: DictConfig) -> Policy:
    cuts = CutSettings(modules=bool(config.cuts.modules))
    return build_policy(config, placements(table, legal_cuts(table, cuts)))


def calibrated(policy: Policy, observation: Observation) -> Calibration:
    """It has learnt of all three parts, and is asked for nothing but corrections."""
    calibration = Calibration(CalibrationSettings(forget_s=None))
    forecast = policy.forecast(observation)
    row = len(forecast) // 2
    parts = [1.5 * float(part[row]) for part in (forecast.edge_s, forecast.link_s, forecast.cloud_s)]
    calibration.restore({name: [Sample(one, 1.5 * one, 0.0)] * 9 for name, one in zip(PARTS, parts, strict=True)})
    return calibration


def single(repeats: int) -> Table:
    columns = ("decision µs", "± IQR", "calibrated µs", "± IQR", "forecast µs", "choose µs")
    rich = Table("model", "policy", "placements", *columns, box=None)
    observation = Observation(clock_mhz=1200.0, bandwidth_kbps=9000.0, ping_ms=40.0)
    for model in ("alexnet", "vgg16"):
        for name in ("default", "paper"):
            policy = policy_of(
                find_profile("pi4", "edge", model).table, plan_config(f"model={model}", f"policy={name}")
            )
            forecast = policy.forecast(observation)
            whole = microseconds(partial(policy.decide, observation), repeats)
            correct = calibrated(policy, observation).correct
            corrected = microseconds(partial(policy.decide, observation, correct), repeats)
            predict = microseconds(partial(policy.forecast, observation), repeats)
            pick = microseconds(partial(policy.planner.choose, forecast, 0.5), repeats)
            values = (f"{one:.1f}" for one in (*whole, *corrected, predict[0], pick[0]))
            rich.add_row(model, name, str(len(policy.placements)), *values)
    return rich


def bulk() -> Table:
    """One call for all weights and observations, the forecast included and not."""
    title = f"{WEIGHTS} weights x {OBSERVATIONS} observations in one call (AlexNet)"
    rich = Table("planner", "decisions/s", "with the forecast", "slowest call s", title=title, box=None)
    rng = np.random.default_rng(0)
    observations = Observation(
        clock_mhz=rng.uniform(600, 1500, OBSERVATIONS),
        bandwidth_kbps=rng.uniform(1_000, 20_000, OBSERVATIONS),
        ping_ms=rng.uniform(5, 150, OBSERVATIONS),
    )
    policy = policy_of(find_profile("pi4", "edge", "alexnet").table, plan_config("model=alexnet"))
    weights = np.linspace(0.0, 1.0, WEIGHTS)[:, None]
    for overrides in (
        ("planner=algorithm1",),
        ("planner=algorithm1", "planner.semantics=offset"),
        ("planner=algorithm1", "planner.prefilter=pareto"),
        ("planner=weighted_sum",),
        ("planner=epsilon_constraint", "planner.max_latency_s=0.3"),
        ("planner=knee",),
    ):
        planner = build(Kind.PLANNER, plan_config(*overrides).planner)
        choosing, forecasting = [], []
        for _ in range(BULK_REPEATS):
            start = perf_counter()
            forecast = policy.forecast(observations)
            middle = perf_counter()
            picks = planner.choose(forecast, weights)
            choosing.append(perf_counter() - middle)
            forecasting.append(middle - start)
        seconds = float(np.median(choosing))
        whole = float(np.median(np.add(choosing, forecasting)))
        label = " ".join(override.removeprefix("planner=").removeprefix("planner.") for override in overrides)
        rich.add_row(label, f"{picks.size / seconds:,.0f}", f"{picks.size / whole:,.0f}", f"{max(choosing):.3f}")
    return rich


def changing_the_cut() -> tuple[float, float, float]:
    """Make another decision the running one and enter its cut, which was never used before: no node runs.

    Returns:
        median, inter-quartile range and maximum over the cuts of AlexNet, microseconds.
    """
    table = find_profile("pi4", "edge", "alexnet").table
    model = build_each(Kind.MODEL, plan_config("model=alexnet").model)["alexnet"].load()
    with_payloads, fresh = partition(model, CutSettings()), partition(model, CutSettings())
    payloads = [with_payloads.head(cut, model.example) for cut in range(table.last + 1)]
    current = [0]
    seconds = np.empty(len(payloads))
    for cut in np.random.default_rng(0).permutation(len(payloads)).tolist():
        start = perf_counter()
        current[0] = cut
        fresh.run(current[0], current[0], payloads[cut])
        seconds[cut] = perf_counter() - start
    low, middle, high = np.percentile(seconds, (25, 50, 75)) * 1e6
    return float(middle), float(high - low), float(seconds.max() * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repeats", nargs="?", type=int, default=3000, help="calls timed (default: %(default)s)")
    repeats = parser.parse_args().repeats
    console = Console()
    console.print(single(repeats))
    console.print()
    console.print(bulk())
    middle, spread, worst = changing_the_cut()
    line = f"changing the cut, first use of each: {middle:.1f} µs ± {spread:.1f}, at most {worst:.1f} µs"
    console.print(f"\n{line}", highlight=False)


if __name__ == "__main__":
    main()
