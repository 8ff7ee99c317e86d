from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from midcut.config.settings import Distribution, DistributionKind, ScenarioDrawn
from midcut.planning.policy import Forecaster
from midcut.simulation.run import Names, Setup, simulate
from midcut.testing import chain_placements
from midcut_planners.algorithm1 import Algorithm1
from midcut_planners.weighted_sum import WeightedSum

NAMES = Names("title", {}, {}, {}, "priced", ("x",))
PLANNERS = {"algorithm1": Algorithm1(0.5), "weighted_sum": WeightedSum(0.5)}


class Table:
    """A predictor that reads its seconds off the bandwidth: sample i is observed as i + 1 kbit/s."""

    needs = frozenset({"bandwidth_kbps"})
    based_on = "a table"

    def __init__(self, rows):
        self.rows = np.asarray(rows, dtype=float)

    def seconds(self, observation):
        return self.rows[np.asarray(observation.bandwidth_kbps).astype(int) - 1]


class Nothing:
    needs = frozenset()

    def seconds(self, _observation):
        return np.zeros(1)


class Priced:
    """Money is what the cloud part says, so that both objectives can be anything."""

    def cost_usd(self, _edge_s, _link_s, cloud_s):
        return cloud_s


class Chained:
    """Latency from one table, money from another: the cloud's seconds are taken off the edge's again."""

    def __init__(self, latency, cost):
        self.edge = Table(np.asarray(latency, dtype=float) - np.asarray(cost, dtype=float))
        self.cloud = Table(cost)


def forecaster(latency, cost, columns):
    """Says exactly these latencies and costs, each of shape (samples, placements)."""
    tables = Chained(latency, cost)
    placements = chain_placements([1000.0] * np.asarray(latency).shape[-1])
    if columns:
        placements = replace(placements, cut=np.array(columns["cut"]), codec=columns["codec"])
    return Forecaster(placements, tables.edge, Nothing(), tables.cloud, Priced())


def counting(samples):
    """Sample i is observed as i + 1 kbit/s, which the tables look up."""
    return ScenarioDrawn(
        clock_mhz=Distribution(value=1000.0),
        bandwidth_kbps=Distribution(DistributionKind.values, values=[float(i + 1) for i in range(samples)]),
        ping_ms=Distribution(value=0.0),
    )


@pytest.fixture(scope="session")
def simulated():
    """Simulates tables of latencies and costs: the truth's, and the picking set's where it says something else."""

    def run(
        truth,
        predicted=None,
        *,
        weights=(0.0, 0.3, 0.5, 1.0),
        planners=PLANNERS,
        columns=None,
        progress=lambda _share: None,
        **knobs,
    ):
        picking, judging = (forecaster(*tables, columns) for tables in (predicted or truth, truth))
        setup = Setup(picking, judging, planners, weights, counting(len(truth[0])), **knobs)
        return simulate(setup, NAMES, progress)

    return run


@pytest.fixture(scope="session")
def find():
    """The one result of a strategy at a weight."""

    def one(done, strategy, w, dwell=0):
        (found,) = (row for row in done.series if (row.strategy, row.w, row.dwell) == (strategy, w, dwell))
        return found

    return one
