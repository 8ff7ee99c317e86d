#!/usr/bin/env python3
"""How many decisions a second of simulation makes, how that grows with placements, and how much memory it takes.

A decision is one planner's pick for one sample and weight, judged by the truth set. The fixed strategies, the oracle
among them, are evaluated in the same time. Placements: 22 and 40 are AlexNet's and VGG16's by module, 177 and 500 are
what deep graphs come to. Ratios are within this run.
"""

from __future__ import annotations

import argparse
import resource
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from midcut.component import Kind
from midcut.config.build import build
from midcut.config.composition import register
from midcut.config.registry import registry
from midcut.config.settings import Distribution, DistributionKind, ScenarioDrawn
from midcut.planning.policy import Forecaster
from midcut.simulation.run import Names, Setup, simulate
from midcut.testing import chain_placements

if TYPE_CHECKING:
    from midcut.protocols import Planner
    from midcut.types import Floats, Observation, Placements

PLACEMENTS = (22, 40, 177, 500)
WEIGHTS = tuple(step / 99 for step in range(100))
NAMES = Names("bench", {}, {}, {}, "rented", ())


class Chain:
    """Seconds per layer that follow the clock at the edge; payloads that shrink with depth on the link."""

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
        made: Floats
        if self._role == "edge":
            made = self._edge_s * (1500.0 / observation.clock_mhz.reshape(column))
        elif self._role == "cloud":
            made = self._cloud_s
        else:
            made = self._kbit / observation.bandwidth_kbps.reshape(column)
            made = made + np.where(self._kbit > 0.0, observation.ping_ms.reshape(column) / 1000, 0.0)
        return made


def forecaster(count: int, seed: int) -> Forecaster:
    rng = np.random.default_rng(seed)
    placements = chain_placements(np.exp(rng.normal(np.linspace(13.3, 8.3, count), 0.8)))
    edge, link, cloud = (Chain(placements, role, seed) for role in ("edge", "link", "cloud"))
    return Forecaster(placements, edge, link, cloud, build(Kind.COST, registry().offers[Kind.COST, "rented"].node))


def planners() -> dict[str, Planner]:
    names = ("algorithm1", "weighted_sum", "knee")
    return {name: build(Kind.PLANNER, registry().offers[Kind.PLANNER, name].node) for name in names}


def scenario(samples: int) -> ScenarioDrawn:
    return ScenarioDrawn(
        samples=samples,
        clock_mhz=Distribution(DistributionKind.normal, mean=1000.0, sd=350.0, low=600.0, high=1500.0),
        bandwidth_kbps=Distribution(DistributionKind.poisson, mean=9.0, unit=1000.0),
        ping_ms=Distribution(value=120.0),
    )


def seconds(count: int, chosen: dict[str, Planner], samples: int, repeats: int) -> Floats:
    setup = Setup(forecaster(count, 1), forecaster(count, 2), chosen, WEIGHTS, scenario(samples))
    taken = np.empty(repeats)
    for repeat in range(repeats):
        start = perf_counter()
        simulate(setup, NAMES)
        taken[repeat] = perf_counter() - start
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", nargs="?", type=int, default=10_000, help="for 100 weights (default: %(default)s)")
    parser.add_argument("repeats", nargs="?", type=int, default=3, help="simulations timed (default: %(default)s)")
    options = parser.parse_args()
    samples, repeats = options.samples, options.repeats
    register()
    seconds(PLACEMENTS[0], planners(), 100, 1)  # what the first use of anything costs
    rich = Table("placements", "planner", "s", "slowest", "decisions/s", "of 22 placements", "peak MB", box=None)
    rich.title = f"{samples:,} samples x {len(WEIGHTS)} weights, fixed strategies and metrics included"
    first: dict[str, float] = {}
    for count in PLACEMENTS:
        for name, planner in planners().items():
            taken = seconds(count, {name: planner}, samples, repeats)
            middle = float(np.median(taken))
            rate = samples * len(WEIGHTS) / middle
            share = rate / first.setdefault(name, rate)
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            row = (f"{middle:.2f}", f"{taken.max():.2f}", f"{rate:,.0f}", f"{share:.2f}", f"{peak_mb:.0f}")
            rich.add_row(str(count), name, *row)
    Console().print(rich)


if __name__ == "__main__":
    main()
