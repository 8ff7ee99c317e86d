"""Small simulations whose numbers are worked out beside them."""

from __future__ import annotations

import numpy as np
import pytest

from midcut.config.settings import ClaimSettings, Metric
from midcut.errors import PluginError
from midcut_planners.epsilon_constraint import EpsilonConstraint
from midcut_planners.knee import Knee
from midcut_planners.weighted_sum import WeightedSum


def test_by_hand(simulated, find):
    # Two samples, three placements. Truth: latencies 2 3 6 and 4 3 3, money 3 2 1 and 1 2 3.
    # Sample 1, scaled: latency 0 1/4 1, money 1 1/2 0; sample 2: latency 1 0 0, money 0 1/2 1 (the last is dominated).
    truth = ([[4.0, 5.0, 8.0], [6.0, 5.0, 5.0]], [[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    done = simulated(truth, weights=(0.5,), planners={"weighted_sum": WeightedSum(0.5)})
    edge = find(done, "edge_only", None)
    assert (edge.latency_s, edge.cost_usd, edge.dominated, edge.distinct) == (6.5, 2.0, 0.5, 1)
    assert edge.latency_regret == pytest.approx(6.5 / 4.5 - 1)
    assert edge.latency_p95_s == pytest.approx(5 + 3 * 0.95)
    # J at w = 0.5: 0.5, 0.375, 0.5 and 0.5, 0.25, 0.5: the middle one, both for the oracle and for a single one.
    assert find(done, "oracle", 0.5).picks == find(done, "static_best", 0.5).picks == (1, 1)
    assert find(done, "latency_optimal", 0.0).picks == (0, 1)
    assert find(done, "cost_optimal", 1.0).picks == (2, 0)
    assert find(done, "cost_optimal", 1.0).switches_per_100 == 50.0
    # J at w = 0 of what is cheapest: 1 and 1 over 0 and 0. At its own weight it has none.
    assert find(done, "cost_optimal", 1.0).objective_regret == 0.0


def test_hypervolume_by_hand(simulated):
    # Front (1, 4), (2, 2), (4, 1), worst point (4, 4): all reach 2 x (4-2) + 0 x 3 = 4 (the first has no height).
    # The knee alone reaches the same; the cheapest alone nothing: 0.
    truth = ([[6.0, 7.0, 9.0]], [[4.0, 2.0, 1.0]])
    done = simulated(truth, weights=(0.0, 1.0))
    (algorithm1, _) = done.fronts
    assert (algorithm1.hypervolume, algorithm1.front_share, algorithm1.distinct) == (0.0, pytest.approx(2 / 3), 2.0)
    knee = simulated(truth, weights=(0.0, 1.0), planners={"knee": Knee()}).fronts[0]
    assert (knee.hypervolume, knee.front_share, knee.distinct) == (1.0, pytest.approx(1 / 3), 1.0)


def test_the_truth_judges_what_the_picking_set_chose(simulated, find):
    # The picking set has the placements' latencies the wrong way round.
    truth = ([[6.0, 9.0]], [[2.0, 1.0]])
    done = simulated(truth, ([[9.0, 6.0]], [[1.0, 2.0]]), weights=(0.0,))
    pick = find(done, "algorithm1", 0.0)
    assert (pick.picks, pick.latency_s, pick.latency_regret) == ((1,), 9.0, 0.5)
    errors = {error.part: error for error in done.errors}
    # Latencies 9 6 instead of 6 9: +1/2 and -1/3. Money 1 2 instead of 2 1: -1/2 and +1.
    assert errors["latency"].mape == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert errors["latency"].bias == pytest.approx((1 / 2 - 1 / 3) / 2)
    assert errors["latency"].p95 == pytest.approx(1 / 3 + (1 / 2 - 1 / 3) * 0.95)
    assert errors["cost"].mape == pytest.approx(0.75)
    assert errors["cost"].bias == pytest.approx(0.25)
    assert "link" not in errors  # 0 throughout: nothing to compare


def test_a_limit_that_nothing_meets_is_counted(simulated, find):
    truth = ([[6.0, 9.0], [8.0, 9.0], [9.0, 9.0]], [[2.0, 1.0]] * 3)
    planners = {"fast_enough": EpsilonConstraint(7.0, None, strict=False), "weighted_sum": WeightedSum(0.5)}
    done = simulated(truth, planners=planners, weights=(0.0, 1.0))
    rows = [one for one in done.series if one.strategy == "fast_enough"]
    assert [(one.w, one.objective_regret) for one in rows] == [(None, None)]  # it follows no weight: once
    assert rows[0].unmet == pytest.approx(2 / 3)
    assert find(done, "weighted_sum", 0.0).unmet is None
    assert {front.planner for front in done.fronts} == {"fast_enough", "weighted_sum"}


def test_samples_are_kept_up_to_a_number(simulated, find):
    truth = ([[6.0, 9.0]] * 4, [[2.0, 1.0]] * 4)
    kept, left_out = (simulated(truth, keep_samples=most) for most in (4, 3))
    assert kept.bandwidth_kbps == (1.0, 2.0, 3.0, 4.0)
    assert find(kept, "oracle", 0.5).picks
    assert left_out.bandwidth_kbps == left_out.clock_mhz == ()
    assert all(one.picks == one.sample_latency_s == () for one in left_out.series)
    assert [one.latency_s for one in kept.series] == [one.latency_s for one in left_out.series]


def test_claims_by_hand(simulated):
    truth = ([[6.0, 9.0], [6.0, 12.0]], [[2.0, 0.0], [2.0, 0.0]])

    def claim(metric, strategy, against, published=0.0, w=None):
        return ClaimSettings("Figure 9", "words", metric, strategy, against, published, w)

    claims = (
        claim(Metric.latency_s, "cost_optimal", "latency_optimal", 70.0),
        claim(Metric.cost_usd, "latency_optimal", "cost_optimal"),
        claim(Metric.latency_s, "weighted_sum", "static_best", w=1.0),
    )
    done = simulated(truth, weights=(1.0,), claims=claims)
    # Means 10.5 over 6; money over 0 has no ratio; the cheapest is the last one throughout.
    assert [one.simulated for one in done.claims] == [pytest.approx(75.0), None, 0.0]
    assert done.claims[0].published == 70.0
    assert done.claims[0].population is None
    assert done.claims[0].w == 1.0


def test_with_several_codecs_a_pick_is_a_cut_and_a_codec(simulated, find):
    # Cut 0 as a or b, cut 1 as a or b, cut 2 on the edge. Latency, money:
    rows = ([[9.0, 7.0, 6.0, 8.0, 5.0], [8.0, 9.0, 6.0, 6.0, 5.0]], [[1.0, 1.0, 2.0, 2.0, 3.0]] * 2)
    codecs = {"cut": (0, 0, 1, 1, 2), "codec": ("a", "b", "a", "b", "raw")}
    done = simulated(rows, weights=(0.5, 1.0), planners={"weighted_sum": WeightedSum(0.5)}, columns=codecs)
    assert (done.cuts, done.codecs) == ((0, 0, 1, 1, 2), ("a", "b", "a", "b", "raw"))
    cloud = find(done, "cloud_only", None)
    assert (cloud.picks, cloud.codecs, cloud.latency_s) == ((0, 0), ("b", "a"), 7.5)  # by the faster codec
    assert (cloud.distinct, cloud.switches_per_100) == (2, 50.0)
    edge = find(done, "edge_only", None)
    assert (edge.picks, edge.codecs, edge.distinct) == ((2, 2), ("raw", "raw"), 1)
    # All codecs of a cut cost the same here, so the cheapest is the faster of both at cut 0.
    assert find(done, "weighted_sum", 1.0).codecs == find(done, "oracle", 1.0).codecs == ("b", "a")
    # Scaled, sample 1: latency 1 1/2 1/4 3/4 0, money 0 0 1/2 1/2 1, so J at 0.5 is 1/2 1/4 3/8 5/8 1/2;
    # sample 2: latency 3/4 1 1/4 1/4 0, so 3/8 1/2 3/8 3/8 1/2: of equals the faster, then the first.
    assert find(done, "oracle", 0.5).codecs == ("b", "a")
    assert find(done, "oracle", 0.5).picks == (0, 1)
    (front,) = done.fronts
    assert front.distinct == 1.5  # one placement at both weights in sample 1, two in sample 2
    plain = simulated(rows)
    assert find(plain, "cloud_only", None).codecs == ()


class Wrong:
    """A planner that answers what it was made with."""

    w = 0.5

    def __init__(self, picks):
        self.picks = picks

    def choose(self, _forecast, _w):
        return self.picks


@pytest.mark.parametrize(
    ("picks", "got"),
    [
        (0, "int64 of shape () from 0 to 0"),
        (np.zeros((2, 1), dtype=int), "int64 of shape (2, 1) from 0 to 0"),
        (np.zeros((2, 2)), "float64 of shape (2, 2) from 0.0 to 0.0"),
        (np.array([[0, 1], [-1, 0]]), "int64 of shape (2, 2) from -1 to 1"),
        (np.array([[0, 1], [2, 0]]), "int64 of shape (2, 2) from 0 to 2"),
        (None, "object of shape ()"),
    ],
)
def test_a_planner_that_answers_nonsense_is_named(simulated, picks, got):
    truth = ([[6.0, 9.0]] * 2, [[2.0, 1.0]] * 2)
    with pytest.raises(PluginError) as caught:
        simulated(truth, weights=(0.0, 1.0), planners={"theirs": Wrong(picks)})
    assert str(caught.value) == (
        "planner 'theirs': choose must return rows 0 to 1, integers of shape (2, 2) for 2 weights and 2 samples; "
        f"got {got}"
    )
