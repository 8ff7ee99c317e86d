from __future__ import annotations

import pytest

from midcut.planning.breaker import Breaker, BreakerState


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def opened(retry_after_s=2.0):
    clock = Clock()
    breaker = Breaker(1, retry_after_s, clock)
    assert breaker.blocked_reason() == ""
    breaker.begin_try()
    assert breaker.record_failure("no route", 0.1) is True
    return breaker, clock


def half_opened():
    breaker, clock = opened()
    clock.now_s += 3.0
    breaker.half_open()
    return breaker, clock


def test_it_opens_after_failures_in_a_row():
    breaker = Breaker(3, 2.0, Clock())
    assert [breaker.record_failure("no"), breaker.record_failure("no")] == [True, False]
    assert breaker.record_success() is True
    for expected in (BreakerState.closed, BreakerState.closed, BreakerState.open):
        assert breaker.blocked_reason() == ""
        breaker.record_failure("no")
        assert breaker.state is expected
    assert "next try in 2.00 s: no" in breaker.blocked_reason()


def test_one_failure_that_took_longer_than_it_would_stay_open_opens_it():
    breaker = Breaker(3, 2.0, Clock())
    breaker.record_failure("no answer in 2.1 s", 2.1)
    assert breaker.state is BreakerState.open


def test_while_open_nothing_is_sent_and_the_reason_is_told():
    breaker, clock = opened()
    clock.now_s += 0.5
    assert breaker.blocked_reason() == "the cloud failed, next try in 1.50 s: no route"
    assert (breaker.wait_s, breaker.reason) == (1.5, "no route")


def test_half_open_one_request_tries_and_the_others_do_not_wait_for_it():
    breaker, _ = half_opened()
    assert breaker.blocked_reason() == ""
    breaker.begin_try()
    assert "one request is trying it again" in breaker.blocked_reason()


def test_a_success_opens_the_way_for_all():
    breaker, _ = half_opened()
    breaker.begin_try()
    assert breaker.record_success() is True
    assert (breaker.state, breaker.blocked_reason()) == (BreakerState.closed, "")
    assert breaker.record_success() is False  # only the first one ends a failure


def test_a_failure_while_half_open_opens_it_again_and_is_no_new_failure():
    breaker, _ = half_opened()
    breaker.begin_try()
    assert breaker.record_failure("still no route", 0.1) is False
    assert breaker.blocked_reason() == "the cloud failed, next try in 2.00 s: still no route"


def test_a_cancelled_try_lets_the_next_one_try():
    breaker, _ = half_opened()
    breaker.begin_try()
    breaker.abandon_try()
    assert breaker.blocked_reason() == ""


@pytest.mark.parametrize("took_s", [0.1, 10.0])
def test_without_a_wait_it_never_opens(took_s):
    breaker = Breaker(1, 0.0, Clock())
    for _ in range(3):
        breaker.begin_try()
        breaker.record_failure("no route", took_s)
        assert (breaker.state, breaker.blocked_reason()) == (BreakerState.closed, "")


def test_slow_failures_are_tried_again_after_as_long_then_twice_then_four_times_as_long():
    clock = Clock()
    breaker = Breaker(3, 2.0, clock)
    for number, rest_s in enumerate((10.0, 20.0, 40.0, 40.0)):
        breaker.begin_try()
        assert breaker.record_failure("no answer in 10 s", 10.0) is (number == 0)
        assert breaker.blocked_reason() == f"the cloud failed, next try in {rest_s:.2f} s: no answer in 10 s"
        clock.now_s += rest_s
        breaker.half_open()
    breaker.record_success()
    breaker.record_failure("no answer in 10 s", 10.0)
    assert breaker.wait_s == 10.0  # a success ends the series


def test_a_cloud_that_fails_for_ever_is_tried_for_ever():
    clock = Clock()
    breaker = Breaker(1, 1.0, clock)
    for _ in range(2000):
        breaker.begin_try()
        breaker.record_failure("500", 3.0)
        assert breaker.wait_s <= 12.0
        clock.now_s += breaker.wait_s
        breaker.half_open()


def test_requests_that_fail_together_count_as_one_try():
    breaker = Breaker(3, 2.0, Clock())
    for _ in range(5):  # all were sent before the first one failed
        breaker.record_failure("no answer in 10 s", 10.0)
    assert breaker.wait_s == 10.0


def test_a_cloud_that_asks_to_be_left_alone_is():
    breaker = Breaker(3, 2.0, Clock())
    breaker.record_failure("503: busy", 0.01, requested_s=7.0)
    assert (breaker.state, breaker.wait_s) == (BreakerState.open, 7.0)
    breaker.record_failure("503: busy", 0.01, requested_s=1e9)
    assert breaker.wait_s == 60.0


def test_a_requested_wait_is_kept_also_where_every_failure_is_tried_again_at_once():
    clock = Clock()
    breaker = Breaker(1, 0.0, clock)
    breaker.record_failure("503: busy", 0.01, requested_s=7.0)
    breaker.record_failure("reset")  # of a request that was under way
    assert (breaker.state, breaker.wait_s) == (BreakerState.open, 7.0)
    clock.now_s += 7.0
    breaker.half_open()
    breaker.begin_try()
    breaker.record_failure("reset")
    assert (breaker.state, breaker.blocked_reason()) == (BreakerState.closed, "")


def test_a_request_that_was_under_way_does_not_shorten_a_requested_wait():
    breaker = Breaker(3, 2.0, Clock())
    breaker.record_failure("503: busy", 0.01, requested_s=7.0)
    breaker.record_failure("reset")
    assert breaker.wait_s == 7.0
    assert breaker.record_success() is False
    assert (breaker.state, breaker.wait_s) == (BreakerState.open, 7.0)


def test_after_a_requested_wait_a_success_closes_it_and_the_next_wait_is_a_new_one():
    clock = Clock()
    breaker = Breaker(3, 2.0, clock)
    breaker.record_failure("503: busy", 0.01, requested_s=7.0)
    clock.now_s += 7.0
    breaker.half_open()
    assert breaker.record_success() is True
    breaker.record_failure("no answer", 3.0)
    assert (breaker.state, breaker.wait_s) == (BreakerState.open, 3.0)
    assert breaker.record_success() is True  # nobody asked for this wait
    assert breaker.state is BreakerState.closed


def test_a_closed_one_does_not_half_open():
    breaker = Breaker(1, 2.0, Clock())
    breaker.half_open()
    assert breaker.state is BreakerState.closed
