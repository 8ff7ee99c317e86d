#!/usr/bin/env python3
"""How many decisions a second of simulation makes, how that grows with placements, and how much memory it takes.

A decision is one planner's pick for one sample and weight, compared with the truth set. The time includes the fixed
strategies and the oracle. Of the numbers of placements, 22 and 40 are AlexNet's and VGG16's by module, 177 and 500
those of deep graphs. Then requests at one weight over a recorded link, whose planner sees of it what its own transfers
have shown. Ratios are within this run.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np
from common.options import at_least, several
from rich.console import Console
from rich.table import Table

from midcut.component import Kind
from midcut.config.build import build
from midcut.config.composition import register
from midcut.config.registry import registry
from midcut.config.settings import Distribution, DistributionKind, ScenarioDrawn, ScenarioTrace
from midcut.planning.policy import Forecaster
from midcut.simulation.run import ResultHeader, Setup, simulate
from midcut.testing import chain_placements

if TYPE_CHECKING:
    from midcut.protocols import Planner
    from midcut.types import Floats, Observation, Placements

PLACEMENTS = (22, 40, 177, 500)
WEIGHTS = tuple(step / 99 for step in range(100))
HEADER = ResultHeader("bench", {}, {}, {}, "rented", ())
TRACE_S, TRACE_ROW_S = 140.0, 0.1


class ChainPredictor:
    """Predicts a chain of random layers: edge seconds follow the clock, payloads shrink with depth."""

    needs = frozenset({"clock_mhz", "bandwidth_kbps", "ping_ms"})

    def __init__(self, placements: Placements, role: str, seed: int) -> None:
        self._role = role
        layers = np.random.default_rng(seed).exponential(1.0, len(placements) - 1)
        before = np.concatenate([[0.0], layers.cumsum()]) / layers.sum()
        self._edge_s: Floats = 0.15 * before
        self._cloud_s: Floats = 0.03 * (1.0 - before)
        self._kbit: Floats = placements.request_bytes * 8 / 1000

    def seconds(self, observation: Observation) -> Floats:
        column = (-1, 1)
        if self._role == "edge":
            edge_s: Floats = self._edge_s * (1500.0 / observation.clock_mhz.reshape(column))
            return edge_s
        if self._role == "cloud":
            return self._cloud_s
        ping_s = np.where(self._kbit > 0.0, observation.ping_ms.reshape(column) / 1000, 0.0)
        link_s: Floats = self._kbit / observation.bandwidth_kbps.reshape(column) + ping_s
        return link_s


def forecaster(count: int, seed: int) -> Forecaster:
    rng = np.random.default_rng(seed)
    placements = chain_placements(np.exp(rng.normal(np.linspace(13.3, 8.3, count), 0.8)))
    edge, link, cloud = (ChainPredictor(placements, role, seed) for role in ("edge", "link", "cloud"))
    return Forecaster(placements, edge, link, cloud, build(Kind.COST, registry().offers[Kind.COST, "rented"].node))


def build_planners() -> dict[str, Planner]:
    names = ("algorithm1", "weighted_sum", "knee")
    return {name: build(Kind.PLANNER, registry().offers[Kind.PLANNER, name].node) for name in names}


def scenario(samples: int) -> ScenarioDrawn:
    return ScenarioDrawn(
        samples=samples,
        clock_mhz=Distribution(DistributionKind.normal, mean=1000.0, sd=350.0, low=600.0, high=1500.0),
        bandwidth_kbps=Distribution(DistributionKind.poisson, mean=9.0, unit=1000.0),
        ping_ms=Distribution(value=120.0),
    )


def simulation_s(count: int, planners: dict[str, Planner], samples: int, repeats: int) -> Floats:
    setup = Setup(forecaster(count, 1), forecaster(count, 2), planners, WEIGHTS, scenario(samples))
    seconds = np.empty(repeats)
    for repeat in range(repeats):
        start = perf_counter()
        simulate(setup, HEADER)
        seconds[repeat] = perf_counter() - start
    return seconds


def write_trace(path: Path) -> None:
    """A link whose rate wanders over a decade, in rows of 0.1 s."""
    steps = np.random.default_rng(0).normal(0.0, 0.15, round(TRACE_S / TRACE_ROW_S))
    wander = steps.cumsum() - np.linspace(0.0, steps.sum(), len(steps))
    kbps = 6000.0 * np.exp(wander.clip(-2.0, 2.0))
    rows = (f"{number * TRACE_ROW_S:.1f},{rate:.1f}\n" for number, rate in enumerate(kbps.tolist()))
    path.write_text("time_s,bandwidth_kbps\n" + "".join(rows))


def over_trace_s(path: Path, requests: int, repeats: int) -> tuple[Floats, Floats]:
    """Seconds of each simulation by the clock on the wall, and of processor time."""
    trace = ScenarioTrace(path=str(path), step_s=TRACE_S / requests, clock_mhz=1200.0, ping_ms=30.0)
    planners = {"weighted_sum": build_planners()["weighted_sum"]}
    setup = Setup(forecaster(PLACEMENTS[0], 1), forecaster(PLACEMENTS[0], 2), planners, (0.0,), trace, 10.0)
    seconds, busy_s = np.empty(repeats), np.empty(repeats)
    for repeat in range(repeats):
        start, busy_start = perf_counter(), process_time()
        simulate(setup, HEADER)
        seconds[repeat], busy_s[repeat] = perf_counter() - start, process_time() - busy_start
    return seconds, busy_s


def report_over_trace(requests: list[int], repeats: int) -> None:
    table = Table("requests", "s", "slowest", "requests/s", "requests/s of processor time", "peak MB", box=None)
    table.title = f"over a recorded link, {PLACEMENTS[0]} placements, weighted_sum at w = 0"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "link.csv"
        write_trace(path)
        for count in requests:
            seconds, busy_s = over_trace_s(path, count, repeats)
            median_s, busy_median_s = float(np.median(seconds)), float(np.median(busy_s))
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rates = (f"{count / median_s:,.0f}", f"{count / busy_median_s:,.0f}")
            table.add_row(f"{count:,}", f"{median_s:.2f}", f"{seconds.max():.2f}", *rates, f"{peak_mb:.0f}")
    Console().print(table)


def report_decisions(samples: int, repeats: int) -> None:
    simulation_s(PLACEMENTS[0], build_planners(), 100, 1)  # warm-up
    table = Table("placements", "planner", "s", "slowest", "decisions/s", "of 22 placements", "peak MB", box=None)
    table.title = f"{samples:,} samples x {len(WEIGHTS)} weights, fixed strategies and metrics included"
    first: dict[str, float] = {}
    for count in PLACEMENTS:
        for name, planner in build_planners().items():
            seconds = simulation_s(count, {name: planner}, samples, repeats)
            median_s = float(np.median(seconds))
            rate = samples * len(WEIGHTS) / median_s
            share = rate / first.setdefault(name, rate)
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            row = (f"{median_s:.2f}", f"{seconds.max():.2f}", f"{rate:,.0f}", f"{share:.2f}", f"{peak_mb:.0f}")
            table.add_row(str(count), name, *row)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "samples", nargs="?", type=at_least(1), default=10_000, help="for 100 weights (default: %(default)s)"
    )
    parser.add_argument(
        "repeats", nargs="?", type=at_least(1), default=3, help="simulations timed (default: %(default)s)"
    )
    parser.add_argument(
        "--over-trace", type=several(1), default=[140_000, 1_000_000], help="requests over a link, comma list"
    )
    parser.add_argument("--only-trace", action="store_true", help="leave out the decisions without a trace")
    options = parser.parse_args()
    register()
    if not options.only_trace:
        report_decisions(options.samples, options.repeats)
    report_over_trace(options.over_trace, options.repeats)


if __name__ == "__main__":
    main()
