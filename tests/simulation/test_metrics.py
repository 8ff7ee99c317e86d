"""Every number of a simulation against slow loops over plain lists."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midcut.simulation import chunks

WEIGHTS = (0.0, 0.3, 0.5, 1.0)
EXACT = ("latency_s", "cost_usd", "latency_p95_s", "latency_regret", "objective_regret", "dominated")


def scaled(row):
    low, span = min(row), max(row) - min(row)
    return [(value - low) / span if span > 0 else 0.0 for value in row]


def objective(latency, cost, w):
    return [(1 - w) * a + w * b for a, b in zip(scaled(latency), scaled(cost), strict=True)]


def dominated(latency, cost, pick):
    return any(
        latency[i] <= latency[pick] and cost[i] <= cost[pick] and (latency[i], cost[i]) != (latency[pick], cost[pick])
        for i in range(len(latency))
    )


def percentile(values, share):
    values = sorted(values)
    position = share * (len(values) - 1)
    low = int(position)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (position - low)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def area(latency, cost, reached):
    """Of the union of boxes, cut into the cells between all coordinates."""
    xs, ys = sorted(set(latency)), sorted(set(cost))
    total = 0.0
    for x0, x1 in pairwise(xs):
        for y0, y1 in pairwise(ys):
            if any(latency[i] <= x0 and cost[i] <= y0 for i in reached):
                total += (x1 - x0) * (y1 - y0)
    return total


def loop_series(latencies, costs, picks, w):
    """Metrics of one row of picks; row = sample."""
    n = len(picks)
    taken = [latencies[s][picks[s]] for s in range(n)]
    values = [objective(latencies[s], costs[s], w) for s in range(n)]
    return {
        "latency_s": mean(taken),
        "cost_usd": mean(costs[s][picks[s]] for s in range(n)),
        "latency_p95_s": percentile(taken, 0.95),
        "latency_regret": mean(taken) / mean(min(row) for row in latencies) - 1,
        "objective_regret": mean(values[s][picks[s]] - min(values[s]) for s in range(n)),
        "dominated": mean(dominated(latencies[s], costs[s], picks[s]) for s in range(n)),
        "distinct": len(set(picks)),
        "switches_per_100": 100 * sum(a != b for a, b in pairwise(picks)) / n,
    }


def loop_front(latencies, costs, picks):
    """Metrics over all weights; picks[weight][sample]."""
    volumes, shares, distinct = [], [], []
    for s, (latency, cost) in enumerate(zip(latencies, costs, strict=True)):
        reached = {row[s] for row in picks}
        whole = area(latency, cost, range(len(latency)))
        volumes.append(area(latency, cost, reached) / whole if whole > 0 else 1.0)
        best = {(latency[i], cost[i]) for i in range(len(latency)) if not dominated(latency, cost, i)}
        shares.append(len(best & {(latency[i], cost[i]) for i in reached}) / len(best))
        distinct.append(len(reached))
    return {"hypervolume": mean(volumes), "front_share": mean(shares), "distinct": mean(distinct)}


def with_dwell(picks, ticks):
    """Dwell as a loop over the planning steps."""
    current, age, used = picks[0], 0, []
    for wanted in picks:
        if wanted != current and age >= ticks:
            current, age = wanted, 0
        age += 1
        used.append(current)
    return used


few = st.integers(1, 5).map(float)
"""Few distinct values: ties, duplicates and dominated placements in most samples."""


@st.composite
def forecasts(draw):
    """True and predicted latencies and costs: samples x placements."""
    samples, width = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    table = st.lists(st.lists(few, min_size=width, max_size=width), min_size=samples, max_size=samples)
    # The cost is the cloud part of the latency here, so the latency must not be smaller.
    tables = []
    for _ in range(2):
        cost = draw(table)
        tables.append(([[5.0 + value for value in row] for row in draw(table)], cost))
    return tables


@settings(max_examples=150)
@given(tables=forecasts())
def test_every_series_is_what_loops_say(tables, simulated, series_of):
    truth, predicted = tables
    result = simulated(truth, predicted, dwell=(2, 3))
    samples = range(len(truth[0]))
    for series in result.series:
        expected = loop_series(*truth, series.picks, 0.0 if series.w is None else series.w)
        for name, value in expected.items():
            if name == "objective_regret" and series.w is None:
                assert series.objective_regret is None
            elif name in EXACT:
                assert getattr(series, name) == pytest.approx(value, rel=1e-12, abs=1e-12), (series.strategy, name)
            else:
                assert getattr(series, name) == value, (series.strategy, name)
        assert list(series.sample_latency_s) == [truth[0][s][series.picks[s]] for s in samples]
        assert list(series.sample_cost_usd) == [truth[1][s][series.picks[s]] for s in samples]
        if series.dwell:
            assert list(series.picks) == with_dwell(series_of(result, series.strategy, series.w).picks, series.dwell)


@settings(max_examples=150)
@given(tables=forecasts())
def test_fronts_are_what_loops_say(tables, simulated, series_of):
    truth, predicted = tables
    result = simulated(truth, predicted)
    for front in result.fronts:
        by_weight = [series_of(result, front.planner, w) for w in WEIGHTS]
        for name, value in loop_front(*truth, [row.picks for row in by_weight]).items():
            assert getattr(front, name) == pytest.approx(value, rel=1e-12), name
        assert front.dominated == pytest.approx(mean(row.dominated for row in by_weight), abs=1e-15)
        assert front.objective_regret == pytest.approx(mean(row.objective_regret for row in by_weight), abs=1e-15)


@settings(max_examples=150)
@given(tables=forecasts())
def test_fixed_strategies_are_what_loops_say(tables, simulated, series_of):
    truth, (latency, cost) = tables
    result = simulated(truth, (latency, cost))
    samples, last = range(len(latency)), len(latency[0]) - 1
    fast = [min(range(last + 1), key=lambda i: (latency[s][i], cost[s][i], i)) for s in samples]
    cheap = [min(range(last + 1), key=lambda i: (cost[s][i], latency[s][i], i)) for s in samples]
    assert list(series_of(result, "latency_optimal", 0.0).picks) == fast
    assert list(series_of(result, "cost_optimal", 1.0).picks) == cheap
    assert set(series_of(result, "edge_only", None).picks) == {last}
    assert set(series_of(result, "cloud_only", None).picks) == {0}
    for w in WEIGHTS:
        (static,) = set(series_of(result, "static_best", w).picks)
        means = [mean(objective(truth[0][s], truth[1][s], w)[i] for s in samples) for i in range(last + 1)]
        assert means[static] == pytest.approx(min(means), abs=1e-12)
        oracle = series_of(result, "oracle", w)
        assert oracle.objective_regret == 0.0
        assert oracle.dominated == 0.0
        others = [series for series in result.series if series.w == w]
        assert all(series.objective_regret >= 0.0 for series in others)


def test_chunks_add_up(simulated, monkeypatch):
    rng = np.random.default_rng(4)
    truth = tuple((rng.integers(1, 9, (50, 5)) + offset).astype(float).tolist() for offset in (9, 0))
    predicted = tuple((rng.integers(1, 9, (50, 5)) + offset).astype(float).tolist() for offset in (9, 0))
    whole = simulated(truth, predicted, dwell=(3,))
    for values, decisions in ((35, 1 << 20), (1 << 17, 44), (5, 4)):
        monkeypatch.setattr(chunks, "CHUNK_VALUES", values)
        monkeypatch.setattr(chunks, "CHUNK_DECISIONS", decisions)
        in_chunks = simulated(truth, predicted, dwell=(3,))
        for expected, actual in zip(whole.series, in_chunks.series, strict=True):
            assert expected.picks == actual.picks
            for name in ("latency_s", "cost_usd", "latency_p95_s", "latency_regret", "dominated"):
                assert getattr(expected, name) == pytest.approx(getattr(actual, name), rel=1e-12, abs=1e-15), name
            assert (expected.distinct, expected.switches_per_100) == (actual.distinct, actual.switches_per_100)
            if expected.w is not None:
                assert expected.objective_regret == pytest.approx(actual.objective_regret, rel=1e-12, abs=1e-15)
        for expected, actual in zip(whole.fronts, in_chunks.fronts, strict=True):
            assert expected.hypervolume == pytest.approx(actual.hypervolume, rel=1e-12)
            assert (expected.distinct, expected.front_share) == pytest.approx((actual.distinct, actual.front_share))


def test_progress_goes_from_nothing_to_all(simulated, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 20)
    shares = []
    simulated(([[9.0, 8.0]] * 50, [[1.0, 2.0]] * 50), progress=shares.append)
    assert shares == [0.0] * 5 + [0.2, 0.4, 0.6, 0.8, 1.0]  # ten samples at a time, prepared first
