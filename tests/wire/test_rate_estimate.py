"""The estimate of a link's rate, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from midcut.wire.rate_estimate import LastTransfer, LinkRate


def kbps(estimate, at_s, running=()):
    return math.exp(estimate.log_kbps(at_s, running))


def test_nothing_is_known_before_the_first_transfer_nor_after_all_is_forgotten():
    for estimate in (LinkRate(), LastTransfer()):
        assert estimate.log_kbps(5.0, [(0.0, 100.0)]) is None
        estimate.add(6.0, 900.0)
        assert kbps(estimate, 6.0) == pytest.approx(900.0)
        estimate.clear()
        assert estimate.log_kbps(7.0) is None


def test_a_new_transfer_moves_the_estimate_the_more_the_older_the_last_one_is():
    # The first leaves a variance of 0.5 * 0.25 / 0.75 = 1/6. At once, the gain is (1/6) / (1/6 + 1/4) = 0.4.
    soon = LinkRate()
    soon.add(0.0, 1000.0)
    soon.add(0.0, 4000.0)
    assert kbps(soon, 0.0) == pytest.approx(1000.0 * 4.0**0.4)
    # 8 s later the variance is 0.5 + exp(-2) * (1/6 - 0.5) = 0.454888, and the gain 0.645334.
    late = LinkRate()
    late.add(0.0, 1000.0)
    late.add(8.0, 4000.0)
    assert kbps(late, 8.0) == pytest.approx(1000.0 * 4.0**0.645334, rel=1e-5)


def test_without_transfers_it_returns_to_the_mean_of_the_last_minute():
    estimate = LinkRate()
    for at_s, rate_kbps in ((0.0, 8000.0), (60.0, 1000.0)):
        estimate.add(at_s, rate_kbps)
    weight = math.exp(-1.0)  # of a transfer of a minute ago
    long_run = (weight * math.log(8000.0) + math.log(1000.0)) / (weight + 1.0)
    newest = estimate.log_kbps(60.0)
    assert estimate.log_kbps(68.0) == pytest.approx(long_run + math.exp(-1.0) * (newest - long_run))
    assert estimate.log_kbps(600.0) == pytest.approx(long_run)


def test_a_transfer_that_still_runs_is_no_faster_than_its_bytes_by_the_time_it_has_taken():
    estimate = LinkRate()
    estimate.add(10.0, 8000.0)
    assert kbps(estimate, 11.0, [(10.0, 16_000.0)]) == pytest.approx(8000.0)  # it may still be faster
    assert kbps(estimate, 14.0, [(10.0, 16_000.0)]) == pytest.approx(4000.0)
    assert kbps(estimate, 14.0, [(10.0, 16_000.0), (12.0, 2000.0)]) == pytest.approx(1000.0)
    assert kbps(estimate, 14.0, [(13.99, 1.0), (15.0, 1.0)]) == pytest.approx(8000.0)  # too young to show anything


def test_the_last_transfer_is_just_that():
    estimate = LastTransfer()
    for at_s, rate_kbps in ((1.0, 9.0), (2.0, 70.0)):
        estimate.add(at_s, rate_kbps)
    assert kbps(estimate, 90.0, [(3.0, 1.0)]) == pytest.approx(70.0)
