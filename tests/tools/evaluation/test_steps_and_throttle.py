"""How soon a change was followed, and how long an unseen throttle made predictions wrong, worked out by hand."""

from __future__ import annotations

import pytest
from evaluation.best_cut import best_measured
from evaluation.statistics import streak_start
from evaluation.steps import report as steps
from evaluation.throttle import report as throttle


def forced(cut: int, latency_s: float, **labels: object) -> dict[str, object]:
    return {"kind": "forced", "asked": cut, "cut": cut, "latency_s": latency_s, **labels}


def dynamic(began_s: float, cut: int, latency_s: float, **labels: object) -> dict[str, object]:
    return {"kind": "dynamic", "asked": None, "began_s": began_s, "cut": cut, "latency_s": latency_s, **labels}


AT_REST = [forced(0, 0.30), forced(0, 0.34), forced(0, 0.31), forced(5, 0.20), forced(7, 0.209), forced(9, 0.25)]


def test_the_best_cut_and_those_as_good() -> None:
    best = best_measured(AT_REST)
    assert best is not None
    assert best.latencies_s == {0: 0.31, 5: 0.20, 7: 0.209, 9: 0.25}
    assert (best.cut, best.latency_s) == (5, 0.20)
    assert best.as_good == {5, 7}
    assert best_measured([*AT_REST, forced(5, 0.01, fallback="the cloud was away")]) == best
    assert best_measured([{"kind": "forced", "asked": 3, "lost": "timed out"}]) is None


def test_streak_start() -> None:
    assert streak_start([1, 5, 1, 1, 1, 5], lambda some: max(some) < 2) == 2
    assert streak_start([1, 1], lambda some: max(some) < 2) is None


def test_reaction_counts_from_the_change_to_three_in_a_row() -> None:
    best = best_measured(AT_REST)
    assert best is not None
    answered = [
        dynamic(100.1, 0, 0.90),
        dynamic(101.0, 5, 0.50),  # at the best cut once, but not to stay
        dynamic(101.5, 0, 0.90),
        dynamic(102.5, 7, 0.40),
        dynamic(103.0, 5, 0.21),
        dynamic(103.3, 5, 0.22),
        dynamic(103.6, 5, 0.60),
        dynamic(104.3, 5, 0.20),
    ]
    reaction = steps.reaction_to_change(answered, 100.0, best)
    assert reaction.cut_s == pytest.approx(2.5)
    assert reaction.cut_requests == 3
    # 0.22 = 1.1 * 0.20 holds for the fifth request, and by the median of .21 .22 .60.
    assert reaction.latency_s == pytest.approx(3.0)
    assert reaction.latency_requests == 4
    never = steps.reaction_to_change(answered[:3], 100.0, best)
    assert (never.cut_s, never.latency_s) == (None, None)


def test_steps_are_reported_forth_and_back() -> None:
    labels = {"model": "alexnet", "case": "clock"}
    rows = [forced(9, 0.1, side="before", **labels), forced(0, 0.3, side="after", **labels)]
    for repeat in (0, 1):
        for side, cut, at in (("before", 9, 10.0), ("after", 0, 20.0)):
            rows += [
                dynamic(at + 30 * repeat + n, cut, 0.3 if cut == 0 else 0.1, side=side, repeat=repeat, **labels)
                | {"changed_s": at + 30 * repeat - 0.5}
                for n in range(4)
            ]
    result = steps.evaluation(rows, {})
    # Two steps forth; one back, since nothing comes before the first run.
    assert [row[1:3] for row in result.tables[0].rows] == [["clock", 1], ["clock, back", 2], ["clock", 2]]
    assert result.values["alexnet_clock_until_best_cut_s"] == pytest.approx(0.5)
    assert result.values["alexnet_clock_back_requests_until_best_cut"] == 0
    assert result.values["lost"] == 0


def test_requests_until_accurate_and_regret() -> None:
    errors = [0.6, 0.5, 0.02, 0.4, 0.04, 0.03, 0.01, 0.3]
    assert throttle.requests_until_accurate(errors) == 2  # .02, and the median of .02 .4 .04
    assert throttle.mean_regret([0.2, 0.4], 0.2) == pytest.approx(0.5)
    assert throttle.mean_regret([], 0.2) is None


def test_a_throttled_run_by_phase() -> None:
    rows = []
    for phase, held, predicted_s, latency_s in (("before", 1.0, 0.1, 0.1), ("throttled", 2.4, 0.24, 0.25)):
        labels = {"model": "alexnet", "way": "calibrated", "phase": phase}
        rows += [dynamic(n, 9, latency_s, held=held, predicted_s=predicted_s, **labels) for n in range(5)]
        rows += [forced(9, latency_s, **labels), forced(0, 0.2, **labels)]
    rows += [
        dynamic(n, 0, 0.2, held=1.5, predicted_s=0.2, model="alexnet", way="calibrated", phase="afterwards")
        for n in range(5)
    ]
    result = throttle.evaluation(rows, {})
    assert result.values["calibrated_before_regret_first_10"] == pytest.approx(0.0)
    assert result.values["calibrated_throttled_regret_last_20"] == pytest.approx(0.25)
    assert result.values["calibrated_throttled_until_right"] == 0  # an error of 4 %
    # Afterwards the edge is as fast as before: cut 9 takes 0.1 again.
    assert result.values["calibrated_afterwards_regret_last_20"] == pytest.approx(1.0)
