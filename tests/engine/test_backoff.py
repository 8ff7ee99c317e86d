from __future__ import annotations

from midcut.engine.backoff import Backoff


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def failed_once(retry_after_s=2.0):
    clock = Clock()
    backoff = Backoff(retry_after_s, clock)
    assert backoff.why_not() == ""
    backoff.trying()
    assert backoff.failed("no route", 0.1) is True
    return backoff, clock


def test_after_a_failure_nothing_is_sent_for_a_while_and_the_reason_is_told():
    backoff, clock = failed_once()
    clock.now_s += 0.5
    assert backoff.why_not() == "the cloud failed, next try in 1.50 s: no route"


def test_then_one_request_tries_and_the_others_do_not_wait_for_it():
    backoff, clock = failed_once()
    clock.now_s += 2.0
    assert backoff.why_not() == ""
    backoff.trying()
    assert "one request is trying it again" in backoff.why_not()


def test_a_success_opens_the_way_for_all():
    backoff, clock = failed_once()
    clock.now_s += 3.0
    backoff.trying()
    assert backoff.succeeded() is True
    assert backoff.why_not() == ""
    assert backoff.succeeded() is False  # only the first one ends a failure


def test_another_failure_waits_again_and_is_no_new_failure():
    backoff, clock = failed_once()
    clock.now_s += 3.0
    backoff.trying()
    assert backoff.failed("still no route", 0.1) is False
    assert backoff.why_not() == "the cloud failed, next try in 2.00 s: still no route"


def test_a_cancelled_try_lets_the_next_one_try():
    backoff, clock = failed_once()
    clock.now_s += 3.0
    backoff.trying()
    backoff.abandoned()
    assert backoff.why_not() == ""


def test_without_a_wait_every_request_tries():
    backoff, _ = failed_once(retry_after_s=0.0)
    assert backoff.why_not() == ""


def test_a_try_that_failed_slowly_is_repeated_more_seldom():
    backoff, clock = failed_once()
    clock.now_s += 3.0
    backoff.trying()
    backoff.failed("no answer in 10 s", 10.0)
    assert backoff.why_not() == "the cloud failed, next try in 40.00 s: no answer in 10 s"


def test_without_a_wait_requests_at_once_all_try():
    backoff, _ = failed_once(retry_after_s=0.0)
    backoff.trying()
    assert backoff.why_not() == ""
