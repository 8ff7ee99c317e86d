"""A trace run's schedule, turns and comparison, by numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation.statistics import relative_difference
from evaluation.trace.report import evaluation, read_steps
from evaluation.trace.strategies import CLOUD, DYNAMIC, EDGE, ORACLE, STATIC, Step, Turns, compare_strategies

# Three cuts: cloud only, one in between, edge only. Latency and cost of each forced request.
FIRST = Step(
    dynamic=[(0, 0.30, 1e-6), (5, 0.10, 3e-6)],
    forced={
        0: [(0.30, 1e-6), (0.30, 1e-6)],
        5: [(0.08, 3e-6), (0.12, 3e-6)],
        9: [(0.20, 6e-6), (0.20, 6e-6)],
    },
)
SECOND = Step(
    dynamic=[(5, 0.40, 3e-6), (9, 0.20, 6e-6)],
    forced={5: [(0.40, 3e-6), (0.40, 3e-6)], 9: [(0.20, 6e-6), (0.20, 6e-6)]},
    forecast={0: (1.00, 1e-6), 5: (9.0, 9.0)},
)
CUTS = [0, 5, 9]


def test_turns_take_each_cut_once_and_then_the_one_with_the_least_time() -> None:
    turns = Turns([0, 5, 9], longest_s=1.5)
    expected_s = {0: 1.0, 5: 0.25, 9: 0.375}
    order = []
    for _ in range(7):
        cut = turns.next(expected_s, left_s=10.0)
        assert cut is not None
        turns.add(cut, expected_s[cut])
        order.append(cut)
    # Once each by latency. Then by time spent and to spend, cut 5 against 9: .5 : .75, .75 : .75, 1 : .75, 1 : 1.125.
    assert order == [5, 9, 0, 5, 5, 9, 5]


def test_turns_leave_out_what_would_not_end_in_the_step() -> None:
    turns = Turns([0, 5, 9], longest_s=1.5)
    assert turns.next({0: 1.6, 5: 0.5, 9: 0.4}, left_s=0.45) == 9
    assert turns.next({0: 1.6, 5: 0.5, 9: 0.4}, left_s=0.39) is None
    assert turns.next({}, left_s=9.0) is None


def test_strategies_by_hand() -> None:
    comparison = compare_strategies([FIRST, SECOND], CUTS, w=0.0)
    assert comparison.latency_s[DYNAMIC].tolist() == pytest.approx([0.20, 0.30])
    assert comparison.latency_s[EDGE].tolist() == pytest.approx([0.20, 0.20])
    # At the second step cloud only was not measured: its forecast stands in.
    assert comparison.latency_s[CLOUD].tolist() == pytest.approx([0.30, 1.00])
    assert comparison.predicted_share[CLOUD] == 0.5
    # Means: cut 0 (0.3+1)/2, cut 5 (0.1+0.4)/2 = 0.25, cut 9 0.2.
    assert comparison.static_cut == 9
    assert comparison.latency_s[STATIC].tolist() == pytest.approx([0.20, 0.20])
    # The oracle takes cut 5 by either half, judged by the other: (0.12 + 0.08) / 2; then cut 9.
    assert comparison.best_cuts == [5, 9]
    assert comparison.latency_s[ORACLE].tolist() == pytest.approx([0.10, 0.20])
    assert comparison.cost_usd[ORACLE].tolist() == pytest.approx([3e-6, 6e-6])
    assert comparison.hits == 0.5
    assert comparison.thin_share == 0.0
    assert relative_difference(comparison.latency_s[DYNAMIC], comparison.latency_s[ORACLE])[0] == pytest.approx(
        0.25 / 0.15 - 1
    )


def test_where_only_cost_counts_the_cheapest_is_best() -> None:
    comparison = compare_strategies([FIRST, SECOND], CUTS, w=1.0)
    assert (comparison.static_cut, comparison.best_cuts) == (0, [0, 0])
    assert comparison.objective[ORACLE].tolist() == pytest.approx([1e-6 / (20 / 6 * 1e-6)] * 2)  # mean cost 20/6 µ$


def test_the_oracle_is_not_flattered_by_noise() -> None:
    """Twelve cuts that are all the same: picking the luckiest of them must not look faster than they are."""
    generator = np.random.default_rng(0)
    cuts = list(range(12))

    def step() -> Step:
        return Step(
            dynamic=[(0, 1.0, 1.0)],
            forced={cut: [(float(generator.normal(1, 0.2)), 1.0) for _ in range(4)] for cut in cuts},
        )

    steps = [step() for _ in range(400)]
    comparison = compare_strategies(steps, cuts, w=0.0)
    naive = np.mean([min(step.mean(cut)[0] for cut in cuts) for step in steps])
    assert naive < 0.88
    assert comparison.latency_s[ORACLE].mean() == pytest.approx(1.0, abs=0.015)


def test_relative_and_its_interval() -> None:
    values, others = np.array([1.0, 2.0, 3.0, np.nan]), np.array([2.0, 2.0, 2.0, 1.0])
    value, low, high = relative_difference(values, others)
    assert value == pytest.approx(0.0)
    assert -0.5 <= low < 0.0 < high <= 0.5
    assert relative_difference(others, others) == (0.0, 0.0, 0.0)


def rows(model: str = "alexnet") -> list[dict[str, object]]:
    asked = {"clock_mhz": 900.0, "bandwidth_kbps": 1e4, "ping_ms": 10.0}
    base = {"model": model, "fallback": "", "latency_s": 0.2, "cost_usd": 1e-6}
    state = {"model": model, "kind": "state", "asked": asked, "planning_s": 50e-6, "forecast": {"0": [0.5, 2e-6]}}
    return [
        {**base, "step": 0, "kind": "dynamic", "asked": None, "cut": 9, "latency_s": 0.1},
        {**base, "step": 0, "kind": "forced", "asked": 9, "cut": 9},
        {"model": model, "step": 0, "kind": "dynamic", "asked": None, "lost": "timed out"},
        {**state, "step": 0},
        {**base, "step": 1, "kind": "dynamic", "asked": None, "cut": 9},
    ]


def test_a_forced_cut_that_the_edge_finished_in_the_clouds_place_was_not_measured() -> None:
    away = {**rows()[1], "asked": 0, "cut": 0, "fallback": "the cloud was away", "latency_s": 9.0}
    steps, cuts, _ = read_steps([*rows()[:2], away, *rows()[2:]])
    assert cuts == [0, 9]
    assert steps[0].forced == {9: [(0.2, 1e-6)]}
    assert tuple(steps[0].mean(0)) == (0.5, 2e-6)  # its forecast


def test_a_pick_by_one_measurement_is_reported() -> None:
    once = Step(dynamic=[(9, 0.2, 1e-6)], forced={5: [(0.3, 1e-6)] * 2, 9: [(0.2, 1e-6)]}, forecast={0: (1.0, 1e-6)})
    assert compare_strategies([FIRST, once], CUTS, w=0.0).thin_share == 0.5
    result = evaluation(rows(), {}, 0.0)
    assert result.values["alexnet_oracle_thin"] == result.values["alexnet_cloud_only_predicted"] == 1.0
    assert any("at 100% of the steps `cloud only` is predicted" in note for note in result.notes)


def test_a_step_that_was_cut_short_is_left_out() -> None:
    steps, cuts, states = read_steps(rows())
    assert len(steps) == len(states) == 1
    assert cuts == [0, 9]
    assert steps[0].dynamic == [(9, 0.1, 1e-6)]
    assert steps[0].forced == {9: [(0.2, 1e-6)]}


def test_an_evaluation_of_a_stopped_run_counts_what_was_lost() -> None:
    result = evaluation([*rows(), *rows("vgg16")], {}, 0.0)
    assert result.values["alexnet_lost"] == result.values["vgg16_lost"] == 1
    assert result.values["alexnet_dynamic_latency_s"] == pytest.approx(0.1)
    assert result.values["alexnet_edge_only_dynamic_latency_against"] == pytest.approx(-0.5)
    assert result.values["alexnet_cloud_only_latency_s"] == pytest.approx(0.5)
    assert {figure.name for figure in result.figures} >= {"trace-latency-alexnet", "trace-cut-vgg16"}
