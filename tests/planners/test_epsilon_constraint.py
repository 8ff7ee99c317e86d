"""A limit on one objective: against Python's own `min`, with ties, duplicates and limits that nothing meets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midcut.errors import ConfigError, ForecastError
from midcut.protocols import LimitedPlanner
from midcut.testing import PlannerSuite, chain_placements
from midcut.types import Forecast
from midcut_planners.epsilon_constraint import EpsilonConstraint

KINDS = ("max_latency_s", "max_cost_usd")
few = st.integers(0, 6).map(float)
real = st.floats(0.0, 1e6, allow_subnormal=False)
pairs = st.one_of(
    st.lists(st.tuples(few, few), min_size=1, max_size=9), st.lists(st.tuples(real, real), min_size=1, max_size=30)
)
limits = st.one_of(st.integers(1, 7).map(float), st.floats(1e-3, 1e6))


def forecast_of(latency, cost) -> Forecast:
    latency, cost = np.asarray(latency, dtype=float), np.asarray(cost, dtype=float)
    return Forecast(chain_placements([0] * latency.shape[-1]), latency, latency * 0.0, latency * 0.0, cost)


def planner(kind, limit, *, strict=False) -> EpsilonConstraint:
    return EpsilonConstraint(**({"max_latency_s": None, "max_cost_usd": None} | {kind: limit}), strict=strict)


def brute_force(values, kind, limit) -> int:
    limited, other = (0, 1) if kind == "max_latency_s" else (1, 0)
    rows = range(len(values))
    within = [row for row in rows if values[row][limited] <= limit]
    if within:
        return min(within, key=lambda row: (values[row][other], values[row][limited], row))
    return min(rows, key=lambda row: (values[row][limited], values[row][other], row))


def test_by_hand():
    forecast = forecast_of([1.0, 2.0, 3.0, 4.0], [9.0, 5.0, 6.0, 1.0])
    assert planner("max_latency_s", 3.5).choose(forecast, 0.5) == 1, "5 $ is the least of 9, 5 and 6"
    assert planner("max_latency_s", 4.0).choose(forecast, 0.5) == 3, "the limit itself is within"
    assert planner("max_cost_usd", 6.0).choose(forecast, 0.5) == 1, "2 s is the least of 2, 3 and 4"
    assert planner("max_latency_s", 0.5).choose(forecast, 0.5) == 0, "nothing is: the fastest is nearest"
    assert planner("max_cost_usd", 0.5).choose(forecast, 0.5) == 3, "nothing is: the cheapest is nearest"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=400)
@given(values=pairs, limit=limits)
def test_it_is_brute_force(kind, values, limit):
    latency, cost = zip(*values, strict=True)
    chooser = planner(kind, limit)
    forecast = forecast_of(latency, cost)
    picked = int(chooser.choose(forecast, 0.5))
    assert picked == brute_force(values, kind, limit)
    met = chooser.meets(forecast, np.asarray(picked))
    assert bool(met) is any(value[0 if kind == "max_latency_s" else 1] <= limit for value in values)
    assert not any(
        latency[i] <= latency[picked] and cost[i] <= cost[picked] and values[i] != values[picked]
        for i in range(len(values))
    )


@settings(max_examples=100)
@given(values=pairs)
def test_every_pareto_point_is_the_pick_of_its_own_latency(values):
    latency, cost = zip(*values, strict=True)
    forecast = forecast_of(latency, cost)
    for point in set(values):
        if point[0] > 0.0 and not any(
            other[0] <= point[0] and other[1] <= point[1] and other != point for other in values
        ):
            assert values[int(planner("max_latency_s", point[0]).choose(forecast, 0.5))] == point


@pytest.mark.parametrize("kind", KINDS)
def test_bulk_equals_one_by_one(kind):
    rng = np.random.default_rng(7)
    latency, cost = rng.integers(0, 9, (40, 6, 11)).astype(float), rng.random((6, 11)).round(1)
    chooser = planner(kind, 3.0 if kind == "max_latency_s" else 0.2)
    whole = forecast_of(latency, np.broadcast_to(cost, latency.shape))
    bulk = chooser.choose(whole, np.linspace(0, 1, 3).reshape(-1, 1, 1))
    met = chooser.meets(whole, bulk)
    assert bulk.shape == met.shape == (3, 40, 6)
    for i, j in np.ndindex(40, 6):
        alone = forecast_of(latency[i, j], cost[j])
        pick = chooser.choose(alone, 0.5)
        assert (bulk[:, i, j] == pick).all()
        assert (met[:, i, j] == chooser.meets(alone, pick)).all()


def test_a_large_bulk_runs_in_pieces():
    rng = np.random.default_rng(3)
    values = rng.random((9_000, 40, 2))  # 360,000 values: three pieces
    picks = planner("max_latency_s", 0.1).choose(forecast_of(values[..., 0], values[..., 1]), 0.5)
    for row in (0, 3_275, 3_276, 6_553, 8_999):
        assert picks[row] == brute_force(list(map(tuple, values[row])), "max_latency_s", 0.1)


def test_strict_refuses_where_nothing_is_within_and_says_what_is_nearest():
    forecast = forecast_of([[1.0, 4.0], [3.0, 2.5]], [[2.0, 1.0], [2.0, 1.0]])
    assert planner("max_latency_s", 3.0, strict=True).choose(forecast, 0.5).tolist() == [0, 1]
    with pytest.raises(ForecastError, match=r"^no placement has latency at most 2 s, the nearest has 2\.5$"):
        planner("max_latency_s", 2.0, strict=True).choose(forecast, 0.5)
    with pytest.raises(ForecastError, match=r"^no placement has cost at most 0\.5 \$, the nearest has 1$"):
        planner("max_cost_usd", 0.5, strict=True).choose(forecast, 0.5)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ((), "exactly one of max_latency_s, max_cost_usd, max_first and max_second, got none"),
        (("max_latency_s", "max_cost_usd"), "exactly one limit, got max_latency_s and max_cost_usd"),
        (("max_first", "max_second"), "exactly one limit, got max_first and max_second"),
        (
            ("max_cost_usd", "max_first", "max_second"),
            "exactly one limit, got max_cost_usd, max_first and max_second",
        ),
    ],
)
def test_exactly_one_limit(given, complaint):
    with pytest.raises(ConfigError, match=f"{complaint}$"):
        EpsilonConstraint(**dict.fromkeys(given, 1.0), strict=False)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_is_a_positive_number(kind, limit):
    with pytest.raises(ConfigError, match=f"{kind} must be a number over 0, got {limit}"):
        planner(kind, limit)


class TestInTime(PlannerSuite):
    def make(self):
        return planner("max_latency_s", 0.5)


class TestWithinBudget(PlannerSuite):
    def make(self):
        return planner("max_cost_usd", 5e-6)


class TestOutOfReach(PlannerSuite):
    def make(self):
        return planner("max_latency_s", 1e-9)


def test_the_engine_can_ask_for_its_limit():
    chooser = planner("max_latency_s", 0.15)
    assert isinstance(chooser, LimitedPlanner)
    assert (chooser.w, chooser.limit) == (None, "latency at most 0.15 s")
    assert planner("max_cost_usd", 2.5e-6).limit == "cost at most 2.5e-06 $"
