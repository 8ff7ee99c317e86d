"""The robust line, on numbers worked out by hand and on drawn ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midcut.edge.calibration.calibration import _COMPUTING, _SENDING
from midcut.edge.calibration.robust_fit import AS_PREDICTED, Line, fit, weighted_median


def line(predicted, measured, prior=_COMPUTING, weight=None):
    predicted = np.asarray(predicted, dtype=np.float64)
    weight = np.ones(len(predicted)) if weight is None else np.asarray(weight)
    return fit(predicted, np.asarray(measured, dtype=np.float64), weight, prior)


def test_nothing_measured_is_as_predicted():
    assert line([], []) == AS_PREDICTED == Line(1.0, 0.0)


def test_one_strange_measurement_moves_nothing_and_two_that_agree_do():
    assert line([0.1], [0.25]) == AS_PREDICTED
    ratio, offset_s = line([0.1, 0.1], [0.25, 0.25])
    # Worked out: 0.15 s over 0.1 s; prior sd 1 on the ratio against two measurements of 5.3 ms each leaves 0.14 % off.
    assert ratio == pytest.approx(2.5, rel=0.002)
    assert abs(offset_s) < 1e-4


def test_three_wrong_ones_of_nine_change_nothing_at_all():
    predicted = [0.02, 0.05, 0.1, 0.2, 0.02, 0.05, 0.1, 0.2, 0.1]
    good = [1.2 * one for one in predicted]
    spoilt = [10.0 * one if index in {1, 4, 8} else one for index, one in enumerate(good)]
    assert line(predicted, good).ratio == pytest.approx(1.2, rel=0.005)
    assert line(predicted, spoilt).ratio == pytest.approx(1.2, rel=0.005)
    assert line(predicted, spoilt).offset_s == pytest.approx(0.0, abs=5e-5)


def test_what_is_measured_at_one_size_is_split_by_what_is_believed_of_both():
    # 3 ms more than 50 ms: 10 % of 50 ms and 5 ms are equally likely, so half each.
    ratio, offset_s = line([0.05] * 18, [0.053] * 18, _SENDING)
    assert (ratio - 1.0) * 0.05 == pytest.approx(0.0015, rel=0.05)
    assert offset_s == pytest.approx(0.0015, rel=0.05)
    # 75 ms more than 500 ms: bandwidth was off, no overhead is as long.
    ratio, offset_s = line([0.5] * 18, [0.575] * 18, _SENDING)
    assert ratio == pytest.approx(1.15, abs=0.01)
    assert offset_s < 0.001


def test_sizes_that_differ_tell_ratio_from_overhead():
    predicted = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.3] * 3)
    ratio, offset_s = line(predicted, 1.1 * predicted + 0.003, _SENDING)
    assert ratio == pytest.approx(1.1, abs=0.01)
    assert offset_s == pytest.approx(0.003, abs=0.0005)


def test_under_a_millisecond_it_is_overhead_more_than_a_ratio():
    ratio, offset_s = line([0.0001] * 9, [0.0003] * 9)
    assert ratio < 1.5
    assert ratio * 0.0001 + offset_s == pytest.approx(0.0003, rel=0.1)
    assert line([0.0] * 9, [0.00003] * 9).at(0.1) == pytest.approx(0.1, rel=0.001)


def test_what_is_far_out_is_a_factor_of_computing_and_a_wait_of_sending():
    assert line([0.1] * 9, [50.0] * 9).ratio == pytest.approx(500.0, rel=0.01)
    # 200 ms in a queue: nothing that a larger request would have four times of.
    ratio, offset_s = line([0.05] * 18, [0.25] * 18, _SENDING)
    assert ratio == pytest.approx(1.0, abs=0.03)
    assert offset_s == pytest.approx(0.2, rel=0.02)


def test_a_weighted_median_by_hand():
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0])) == 2.0
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([5.0, 1.0, 1.0])) == 3.0


@settings(max_examples=60)
@given(
    st.lists(st.floats(0.005, 0.5), min_size=5, max_size=18),
    st.floats(0.3, 5.0),
    st.sampled_from([_COMPUTING, _SENDING]),
    st.randoms(use_true_random=False),
)
def test_the_order_of_measurements_of_equal_weight_does_not_matter(predicted, factor, prior, random):
    measured = [factor * one * (1.0 + 0.02 * random.random()) for one in predicted]
    order = list(range(len(predicted)))
    random.shuffle(order)
    one = line(predicted, measured, prior)
    other = line([predicted[index] for index in order], [measured[index] for index in order], prior)
    assert one.at(0.1) == pytest.approx(other.at(0.1), rel=0.02)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 100.0)), min_size=1, max_size=18),
    st.sampled_from([_COMPUTING, _SENDING]),
)
def test_a_line_is_finite_and_within_bounds_whatever_is_measured(samples, prior):
    predicted, measured = zip(*samples, strict=True)
    found = line(predicted, measured, prior)
    assert prior.lowest <= found.ratio <= prior.highest
    assert np.isfinite(found.offset_s)
    assert found.at(1.0) >= 0.0


@settings(max_examples=60)
@given(st.lists(st.floats(0.01, 0.5), min_size=9, max_size=9), st.floats(0.4, 5.0), st.integers(0, 2**32 - 1))
def test_a_factor_on_everything_is_found_to_5_percent_in_5_percent_noise(predicted, factor, seed):
    noise = np.exp(np.random.default_rng(seed).normal(0.0, 0.03, 9))
    found = line(predicted, factor * np.array(predicted) * noise)
    usual = float(np.median(predicted))
    assert found.at(usual) == pytest.approx(factor * usual, rel=0.05)
