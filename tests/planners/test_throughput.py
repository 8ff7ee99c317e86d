from __future__ import annotations

import numpy as np
import pytest

from midcut.errors import ConfigError
from midcut.testing import PlannerSuite, chain_placements
from midcut.types import Forecast
from midcut_planners.throughput import Throughput


class TestThroughput(PlannerSuite):
    pareto = False

    def make(self):
        return Throughput(2.0)


def forecast(latency_s, period_s, cost_usd=None):
    latency_s, period_s = np.array(latency_s, dtype=float), np.array(period_s, dtype=float)
    zero = np.zeros_like(latency_s)
    cost = zero if cost_usd is None else np.array(cost_usd, dtype=float)
    placed = chain_placements([0] * latency_s.shape[-1])
    return Forecast(placed, latency_s, zero, zero, cost, None, {"period_s": period_s})


def test_the_worked_example():
    # Neurosurgeon's chain of three layers: te 40, 60, 100; tc 4, 6, 10 ms; 600, 100, 20 kB at 8 Mbit/s.
    seen = forecast([0.62, 0.156, 0.13, 0.2], [0.6, 0.1, 0.1, 0.2])
    assert int(Throughput(8.0).choose(seen, 0.5)) == 2


def test_light_load_takes_the_fastest_and_heavy_load_the_shortest_period():
    seen = forecast([0.554, 0.7, 0.9], [0.5, 0.305, 0.4])
    assert int(Throughput(1.0).choose(seen, 0.5)) == 0
    assert int(Throughput(3.0).choose(seen, 0.5)) == 1  # 0.305 < 1/3
    assert int(Throughput(50.0).choose(seen, 0.5)) == 1
    assert [bool(Throughput(rate).meets(seen, np.array(1))) for rate in (3.0, 50.0)] == [True, False]


def test_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(300):
        latency_s, period_s, cost_usd = rng.integers(1, 8, (3, 10)) / 10
        rate_hz = float(rng.uniform(1.0, 12.0))
        pick = int(Throughput(rate_hz).choose(forecast(latency_s, period_s, cost_usd), 0.5))
        within = [row for row in range(10) if period_s[row] < 1 / rate_hz]
        if within:
            best = min(within, key=lambda row: (latency_s[row], cost_usd[row], row))
        else:
            best = min(range(10), key=lambda row: (period_s[row], latency_s[row], cost_usd[row], row))
        assert pick == best


@pytest.mark.parametrize("rate_hz", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_gets_one_line(rate_hz):
    with pytest.raises(ConfigError, match="planner throughput: rate_hz must be given, a number over 0, got"):
        Throughput(rate_hz)
