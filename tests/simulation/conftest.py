from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from midcut.config.settings import Distribution, DistributionKind, ScenarioDrawn
from midcut.planning.policy import Forecaster
from midcut.simulation.run import ResultHeader, Setup, simulate
from midcut.testing import chain_placements
from midcut_planners.algorithm1 import Algorithm1
from midcut_planners.weighted_sum import WeightedSum

HEADER = ResultHeader("title", {}, {}, {}, "cloud part", ("x",))
PLANNERS = {"algorithm1": Algorithm1(0.5), "weighted_sum": WeightedSum(0.5)}


class Table:
    """A predictor that reads its seconds off the bandwidth: sample i is observed as i + 1 kbit/s."""

    needs = frozenset({"bandwidth_kbps"})
    based_on = "a table"

    def __init__(self, rows):
        self.rows = np.asarray(rows, dtype=float)

    def seconds(self, observation):
        return self.rows[np.asarray(observation.bandwidth_kbps).astype(int) - 1]


class NoLatency:
    needs = frozenset()

    def seconds(self, _observation):
        return np.zeros(1)


class CloudPartAsCost:
    """The cost is the cloud part of the latency, so that a test can choose both objectives freely."""

    def cost_usd(self, _edge_s, _link_s, cloud_s):
        return cloud_s


class LatencyAndCost:
    """Predictors for given latencies and costs: the cost is the cloud part, the rest of the latency the edge part."""

    def __init__(self, latency, cost):
        self.edge = Table(np.asarray(latency, dtype=float) - np.asarray(cost, dtype=float))
        self.cloud = Table(cost)


def forecaster(latency, cost, columns):
    """Forecasts exactly these latencies and costs, each of shape (samples, placements)."""
    tables = LatencyAndCost(latency, cost)
    placements = chain_placements([1000.0] * np.asarray(latency).shape[-1])
    if columns:
        placements = replace(placements, cut=np.array(columns["cut"]), codec=columns["codec"])
    return Forecaster(placements, tables.edge, NoLatency(), tables.cloud, CloudPartAsCost())


def numbered_scenario(samples):
    """Sample i is observed as i + 1 kbit/s, which the tables look up."""
    return ScenarioDrawn(
        clock_mhz=Distribution(value=1000.0),
        bandwidth_kbps=Distribution(DistributionKind.values, values=[float(i + 1) for i in range(samples)]),
        ping_ms=Distribution(value=0.0),
    )


@pytest.fixture(scope="session")
def simulated():
    """Simulates tables of true latencies and costs, and of predicted ones where they differ."""

    def run(
        truth,
        predicted=None,
        *,
        weights=(0.0, 0.3, 0.5, 1.0),
        planners=PLANNERS,
        columns=None,
        progress=lambda _share: None,
        **chosen,
    ):
        planning, true = (forecaster(*tables, columns) for tables in (predicted or truth, truth))
        setup = Setup(planning, true, planners, weights, numbered_scenario(len(truth[0])), **chosen)
        return simulate(setup, HEADER, progress)

    return run


@pytest.fixture(scope="session")
def series_of():
    """Returns the only result of a strategy at a weight."""

    def look_up(result, strategy, w, dwell=0):
        (series,) = (row for row in result.series if (row.strategy, row.w, row.dwell) == (strategy, w, dwell))
        return series

    return look_up
