"""Algorithm 1 and the weighted sum: properties over random forecasts, with ties and duplicates."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midcut.errors import ForecastError
from midcut.testing import PlannerSuite
from midcut.types import Forecast, Placements
from midcut_planners.algorithm1 import Algorithm1
from midcut_planners.weighted_sum import WeightedSum

SEMANTICS = ("ratio", "offset")
PREFILTERS = ("none", "pareto")


def forecast_of(latency, cost) -> Forecast:
    latency, cost = np.asarray(latency, dtype=float), np.asarray(cost, dtype=float)
    count = latency.shape[-1]
    column = np.zeros(count)
    placements = Placements("any", np.arange(count), np.arange(count), column, column, column, column > 0, count, count)
    return Forecast(placements, latency, np.zeros_like(latency), np.zeros_like(latency), cost)


def ranks(latency, cost):
    """Ranks by (latency, cost, index) and (cost, latency, index), with Python's sort."""
    rows = range(len(latency))
    by_latency = sorted(rows, key=lambda i: (latency[i], cost[i], i))
    by_cost = sorted(rows, key=lambda i: (cost[i], latency[i], i))
    return by_latency, by_cost


def literal_rounds(latency, cost, w: float, semantics: str) -> int:
    """Algorithm 1 as a loop over rounds with two growing windows: slow, and nothing but the wording."""
    by_latency, by_cost = ranks(latency, cost)
    count = len(by_latency)
    w = Fraction(w).limit_denominator(10_000)
    for i in range(count):
        if semantics == "offset":
            ahead = i + 1 + round(abs(1 - 2 * w) * (count - 1))
        else:
            ratio = max(w, 1 - w), min(w, 1 - w)
            ahead = count if ratio[1] == 0 else math.floor((i + 1) * ratio[0] / ratio[1])
        shown_latency, shown_cost = (i + 1, ahead) if w <= Fraction(1, 2) else (ahead, i + 1)
        match = set(by_latency[:shown_latency]) & set(by_cost[:shown_cost])
        if match:

            def preference(row: int):
                r_latency, r_cost = by_latency.index(row), by_cost.index(row)
                first = max((1 - w) * (r_latency + 1), w * (r_cost + 1)) if semantics == "ratio" else 0
                return first, (1 - w) * r_latency + w * r_cost, r_latency

            return min(match, key=preference)
    raise AssertionError(f"no match within {count} rounds")


def dominated(latency, cost, row: int) -> bool:
    return any(
        latency[i] <= latency[row] and cost[i] <= cost[row] and (latency[i], cost[i]) != (latency[row], cost[row])
        for i in range(len(latency))
    )


few = st.integers(0, 6).map(float)
"""Few distinct values: ties and duplicates in most forecasts."""
real = st.floats(0.0, 1e6, allow_subnormal=False)
pairs = st.one_of(
    st.lists(st.tuples(few, few), min_size=1, max_size=9), st.lists(st.tuples(real, real), min_size=1, max_size=30)
)
hundredths = st.integers(0, 100).map(lambda i: i / 100)
weights = st.one_of(hundredths, st.floats(0.0, 1.0), st.sampled_from([0.0, 0.5, 1.0, 0.6, 1 / 3, 0.9999, 1e-9]))


def test_hand_worked_rounds():
    # Latency order 0 1 2 3, cost order 3 2 1 0. At w = 0.5 two entries of each are shown in the
    # second round: {0, 1} and {3, 2}; three in the third: {0, 1, 2} and {3, 2, 1} share 1 and 2.
    # Both have ranks 1 and 2: the sums are equal, the smaller latency rank wins.
    forecast = forecast_of([1, 2, 3, 4], [4, 3, 2, 1])
    assert Algorithm1(0.5).choose(forecast, 0.5) == 1
    # w = 0.6 (ratio 3/2): round 1 shows 1 cheapest and 1 fastest: {3}, {0}; round 2 shows 2 and 3:
    # {3, 2} and {0, 1, 2}: 2.
    assert Algorithm1(0.6).choose(forecast, 0.6) == 2
    # w = 0.75 (ratio 3): round 1 shows {3} and {0, 1, 2}; round 2 {3, 2} and all four: 3 and 2 match.
    # max((1-w)(rL+1), w(rC+1)): for 3 max(1/4 * 4, 3/4 * 1) = 1, for 2 max(1/4 * 3, 3/4 * 2) = 3/2.
    assert Algorithm1(0.75).choose(forecast, 0.75) == 3
    # offset at w = 0.6: k = round(0.2 * 3) = 1; round 1 shows {3} and {0, 1}; round 2 {3, 2} and {0, 1, 2}.
    assert Algorithm1(0.6, "offset").choose(forecast, 0.6) == 2


def test_exact_weight():
    # 0.6 / 0.4 is 1.4999999999999998 in floats: floor(2 * that) = 2 would leave placement 2 out of round 2.
    assert (0.6 / 0.4) * 2 < 3
    assert Algorithm1(0.6).choose(forecast_of([1, 2, 3, 4], [4, 3, 2, 1]), 0.6) == 2


@settings(max_examples=1_000)
@given(pairs, weights, st.sampled_from(SEMANTICS))
def test_closed_form_is_the_round_loop(values, w, semantics):
    latency, cost = zip(*values, strict=True)
    picked = int(Algorithm1(w, semantics).choose(forecast_of(latency, cost), w))
    assert picked == literal_rounds(latency, cost, w, semantics)
    assert not dominated(latency, cost, picked)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_closed_form_is_the_round_loop_on_ten_thousand_forecasts(semantics):
    rng = np.random.default_rng(11)
    planner = Algorithm1(0.5, semantics)
    for _ in range(10_000):
        count, levels = rng.integers(1, 16), rng.integers(1, 12)
        latency, cost = rng.integers(0, levels, (2, count)).astype(float)
        w = float(rng.choice([rng.random(), rng.integers(0, 101) / 100, rng.integers(0, 7) / 6]))
        picked = int(planner.choose(forecast_of(latency, cost), w))
        assert picked == literal_rounds(latency.tolist(), cost.tolist(), w, semantics), (latency, cost, w)


@settings(max_examples=200)
@given(pairs, weights, st.sampled_from(SEMANTICS))
def test_prefilter_is_the_round_loop_on_the_front(values, w, semantics):
    latency, cost = zip(*values, strict=True)
    front = [i for i, pair in enumerate(values) if not dominated(latency, cost, i) and values.index(pair) == i]
    expected = front[literal_rounds([latency[i] for i in front], [cost[i] for i in front], w, semantics)]
    assert int(Algorithm1(w, semantics, "pareto").choose(forecast_of(latency, cost), w)) == expected


@pytest.mark.parametrize("prefilter", PREFILTERS)
@pytest.mark.parametrize("semantics", SEMANTICS)
@settings(max_examples=100)
@given(values=pairs)
def test_algorithm1_over_all_weights(semantics, prefilter, values):
    latency, cost = (np.array(column) for column in zip(*values, strict=True))
    count = len(values)
    steps = np.array(
        [Fraction(i, k) for k in range(1, count + 2) for i in range(k + 1)] + [Fraction(i, 100) for i in range(101)]
    )
    steps = np.unique(steps.astype(float))
    picks = Algorithm1(0.5, semantics, prefilter).choose(forecast_of(latency, cost), steps)
    assert latency[picks[0]] == latency.min()
    assert cost[picks[-1]] == cost.min()
    assert (np.diff(latency[picks]) >= 0).all(), "a larger w never picks a faster placement"
    assert (np.diff(cost[picks]) <= 0).all(), "a larger w never picks a dearer placement"


@pytest.mark.parametrize("semantics", SEMANTICS)
@settings(max_examples=100)
@given(values=pairs)
def test_every_pareto_placement_is_reached(semantics, values):
    latency, cost = zip(*values, strict=True)
    by_latency, by_cost = ranks(latency, cost)
    best = {values[i]: i for i in reversed(range(len(values))) if not dominated(latency, cost, i)}
    planner = Algorithm1(0.5, semantics)
    forecast = forecast_of(latency, cost)
    for row in best.values():
        r_latency, r_cost = by_latency.index(row), by_cost.index(row)
        if semantics == "ratio":
            w = Fraction(r_latency + 1, r_latency + r_cost + 2)
        else:
            w = Fraction(1, 2) - Fraction(r_cost - r_latency, 2 * max(1, len(values) - 1))
        assert planner.choose(forecast, float(w)) == row


@settings(max_examples=400)
@given(pairs, weights)
def test_weighted_sum_is_brute_force(values, w):
    latency, cost = zip(*values, strict=True)

    def scaled(column, i):
        span = max(column) - min(column)
        return (column[i] - min(column)) / span if span > 0 else 0.0

    scores = [w * scaled(cost, i) + (1 - w) * scaled(latency, i) for i in range(len(values))]
    expected = min(range(len(values)), key=lambda i: (scores[i], latency[i], cost[i], i))
    picked = int(WeightedSum(w).choose(forecast_of(latency, cost), w))
    assert picked == expected
    assert not dominated(latency, cost, picked)
    assert w != 0.0 or latency[picked] == min(latency)
    assert w != 1.0 or cost[picked] == min(cost)


def test_weighted_sum_by_hand():
    # Scaled latency 0, 1/4, 1; scaled cost 1, 1/2, 0. At w = 0.5: 0.5, 0.375, 0.5. At w = 0.7: 0.7, 0.425, 0.3.
    forecast = forecast_of([1.0, 2.0, 5.0], [3.0, 2.0, 1.0])
    assert WeightedSum(0.5).choose(forecast, 0.5) == 1
    assert WeightedSum(0.7).choose(forecast, 0.7) == 2
    assert WeightedSum(0.5).choose(forecast_of([2.0, 1.0], [7.0, 7.0]), 1.0) == 1, "a constant objective counts 0"


PLANNERS = [Algorithm1(0.5, s, p) for s in SEMANTICS for p in PREFILTERS] + [WeightedSum(0.5)]


@pytest.mark.parametrize("planner", PLANNERS)
def test_bulk_equals_one_by_one(planner):
    rng = np.random.default_rng(7)
    latency = rng.integers(0, 9, (40, 6, 11)).astype(float)
    cost = rng.random((6, 11)).round(1)
    steps = np.linspace(0, 1, 21).reshape(-1, 1, 1)
    bulk = planner.choose(forecast_of(latency, np.broadcast_to(cost, latency.shape)), steps)
    assert bulk.shape == (21, 40, 6)
    for k, i, j in np.ndindex(bulk.shape):
        pick = planner.choose(forecast_of(latency[i, j], cost[j]), float(steps[k, 0, 0]))
        assert np.shape(pick) == ()
        assert bulk[k, i, j] == pick


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_large_bulk_runs_in_pieces(planner):
    rng = np.random.default_rng(3)
    forecast = forecast_of(rng.random((700, 40)), rng.random((700, 40)))
    steps = np.linspace(0, 1, 11)[:, None]
    bulk = planner.choose(forecast, steps)  # 308,000 values: three pieces
    halves = [
        planner.choose(forecast_of(forecast.latency_s[s], forecast.cost_usd[s]), steps)
        for s in (slice(0, 350), slice(350, 700))
    ]
    assert (bulk == np.concatenate(halves, axis=1)).all()


def test_many_placements_fit_the_key():
    rng = np.random.default_rng(5)
    forecast = forecast_of(rng.random(3_000), rng.random(3_000))
    assert int(Algorithm1(0.5).choose(forecast, 0.3333)) == literal_rounds(
        forecast.latency_s.tolist(), forecast.cost_usd.tolist(), 0.3333, "ratio"
    )


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("w", [-0.1, 1.1, math.nan, math.inf, "cheap", None])
def test_weights_refused(planner, w):
    with pytest.raises(ForecastError, match="w must be"):
        planner.choose(forecast_of([1, 2], [2, 1]), w)


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("where", ["latency_s", "cost_usd"])
@pytest.mark.parametrize("row", [0, 2])
def test_forecasts_refused(planner, bad, where, row):
    columns = {"latency_s": [1.0, 2.0, 3.0], "cost_usd": [3.0, 2.0, 1.0]}
    columns[where][row] = bad
    for shape in ((3,), (1, 3)):
        forecast = forecast_of(*(np.reshape(columns[name], shape) for name in ("latency_s", "cost_usd")))
        with pytest.raises(ForecastError, match=f"{where} = {bad} at cut {row}"):
            planner.choose(forecast, 0.5)


@pytest.mark.parametrize("planner", PLANNERS)
def test_no_placement_refused(planner):
    with pytest.raises(ForecastError, match="no placement"):
        planner.choose(forecast_of([], []), 0.5)


@pytest.mark.parametrize("make", [Algorithm1, WeightedSum])
def test_configured_weight_refused(make):
    with pytest.raises(ForecastError, match="w must be from 0"):
        make(1.5)


class TestAlgorithm1(PlannerSuite):
    def make(self):
        return Algorithm1(0.5)


class TestAlgorithm1Offset(PlannerSuite):
    def make(self):
        return Algorithm1(0.5, "offset")


class TestAlgorithm1Pareto(PlannerSuite):
    def make(self):
        return Algorithm1(0.5, "ratio", "pareto")


class TestWeightedSum(PlannerSuite):
    def make(self):
        return WeightedSum(0.5)
