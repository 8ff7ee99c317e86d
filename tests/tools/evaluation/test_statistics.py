from __future__ import annotations

import numpy as np
import pytest
from evaluation import statistics


def test_percentage_error_is_of_what_was_measured():
    assert statistics.percentage_error(0.09, 0.1) == pytest.approx(0.1)
    assert statistics.percentage_error(0.15, 0.1) == pytest.approx(0.5)


def test_spread_is_the_inter_quartile_range_over_the_median():
    assert statistics.spread([5.0, 1.0, 3.0, 2.0, 4.0]) == pytest.approx((4 - 2) / 3)


def test_repeat_error_compares_each_with_the_others():
    # Medians of the others: 11, 11, 10; errors 1/11, 1/11, 2/10.
    assert statistics.repeat_error([10.0, 10.0, 12.0]) == pytest.approx(1 / 11)
    assert statistics.repeat_error([3.0]) == 0.0


def test_latency_regret_is_relative_to_the_best():
    measured = {0: 0.2, 5: 0.1, 9: 0.12}
    assert statistics.latency_choice(measured, 5) == statistics.Choice(hit=True, regret=0.0)
    missed = statistics.latency_choice(measured, 9)
    assert not missed.hit
    assert missed.regret == pytest.approx(0.2)


def test_weighted_regret_is_of_the_scaled_sum():
    # Scaled latency 0, 1/2, 1 and cost 1, 0, 1/2: J at w = 1/2 is 0.5, 0.25, 0.75.
    latency_s, cost_usd = {0: 0.1, 5: 0.2, 9: 0.3}, {0: 3.0, 5: 1.0, 9: 2.0}
    assert statistics.weighted_choice(latency_s, cost_usd, 0.5, 5) == statistics.Choice(hit=True, regret=0.0)
    assert statistics.weighted_choice(latency_s, cost_usd, 0.5, 0).regret == pytest.approx(0.25)
    assert statistics.weighted_choice(latency_s, cost_usd, 0.5, 9).regret == pytest.approx(0.5)
    # At w = 0 only latency counts, at w = 1 only cost.
    assert statistics.weighted_choice(latency_s, cost_usd, 0.0, 0).hit
    assert statistics.weighted_choice(latency_s, cost_usd, 1.0, 5).hit


def test_bootstrap_draws_whole_groups():
    # Two groups drawn twice: (0, 0) a quarter of the time, (1, 1) a quarter: 95 % reaches from 0 to 1.
    interval = statistics.bootstrap([[0.0, 0.0], [1.0, 1.0]], statistics.mean)
    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, 1.0)
    # Drawing single values instead could not give 1 of four values out of two groups that often.
    single = statistics.bootstrap([[0.0, 1.0]], statistics.mean)
    assert (single.value, single.low, single.high) == (0.5, 0.5, 0.5)


def test_bootstrap_covers_the_mean_of_normal_points_as_theory_says():
    values = np.random.default_rng(4).normal(10.0, 2.0, 400)
    interval = statistics.bootstrap([[value] for value in values], statistics.mean, seed=1)
    # 1.96 standard errors of the mean each way.
    error = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - error, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.03)
    assert interval == statistics.bootstrap([[value] for value in values], statistics.mean, seed=1)


def test_part_errors_say_which_part_is_off():
    measured = [{"edge_s": 0.02, "link_s": 0.05, "cloud_s": 0.02, "latency_s": 0.1}]
    predicted = [{"edge_s": 0.03, "link_s": 0.02, "cloud_s": 0.02, "latency_s": 0.07}]
    errors = statistics.part_errors(predicted, measured)
    # Off by 10, -30, 0 ms, and 10 ms of the latency stand in no part: 50 ms in all, of 100 ms.
    assert errors["edge"] == pytest.approx((0.1, 0.1, 0.2))
    assert errors["link"] == pytest.approx((-0.3, 0.3, 0.6))
    assert errors["cloud"] == pytest.approx((0.0, 0.0, 0.0))
    assert errors["other"] == pytest.approx((-0.1, 0.1, 0.2))


def test_spread_out_keeps_both_ends():
    assert statistics.spread_out([2, 4, 6], 5) == [2, 4, 6]
    assert statistics.spread_out(list(range(0, 100, 10)), 4) == [0, 30, 60, 90]
