"""Small simulations whose numbers are worked out beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from midcut.config.settings import ClaimSettings, Metric
from midcut.errors import ConfigError, PluginError
from midcut_planners.epsilon_constraint import EpsilonConstraint
from midcut_planners.knee import Knee
from midcut_planners.weighted_sum import WeightedSum


def test_by_hand(simulated, series_of):
    # Two samples, three placements. Truth: latencies 2 3 6 and 4 3 3, cost 3 2 1 and 1 2 3.
    # Sample 1, scaled: latency 0 1/4 1, cost 1 1/2 0; sample 2: latency 1 0 0, cost 0 1/2 1 (the last is dominated).
    truth = ([[4.0, 5.0, 8.0], [6.0, 5.0, 5.0]], [[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    result = simulated(truth, weights=(0.5,), planners={"weighted_sum": WeightedSum(0.5)})
    edge = series_of(result, "edge_only", None)
    assert (edge.latency_s, edge.cost_usd, edge.dominated, edge.distinct) == (6.5, 2.0, 0.5, 1)
    assert edge.latency_regret == pytest.approx(6.5 / 4.5 - 1)
    assert edge.latency_p95_s == pytest.approx(5 + 3 * 0.95)
    # J at w = 0.5: 0.5, 0.375, 0.5 and 0.5, 0.25, 0.5: the middle one, both for the oracle and for a single one.
    assert series_of(result, "oracle", 0.5).picks == series_of(result, "static_best", 0.5).picks == (1, 1)
    assert series_of(result, "latency_optimal", 0.0).picks == (0, 1)
    assert series_of(result, "cost_optimal", 1.0).picks == (2, 0)
    assert series_of(result, "cost_optimal", 1.0).switches_per_100 == 50.0
    # J at w = 0 of what is cheapest: 1 and 1 over 0 and 0. At its own weight it has none.
    assert series_of(result, "cost_optimal", 1.0).objective_regret == 0.0


def test_hypervolume_by_hand(simulated):
    # Front (1, 4), (2, 2), (4, 1), worst point (4, 4): all reach 2 x (4-2) + 0 x 3 = 4 (the first has no height).
    # The knee alone reaches the same; the cheapest alone nothing: 0.
    truth = ([[6.0, 7.0, 9.0]], [[4.0, 2.0, 1.0]])
    result = simulated(truth, weights=(0.0, 1.0))
    (algorithm1, _) = result.fronts
    assert (algorithm1.hypervolume, algorithm1.front_share, algorithm1.distinct) == (0.0, pytest.approx(2 / 3), 2.0)
    knee = simulated(truth, weights=(0.0, 1.0), planners={"knee": Knee()}).fronts[0]
    assert (knee.hypervolume, knee.front_share, knee.distinct) == (1.0, pytest.approx(1 / 3), 1.0)


def test_picks_made_on_the_forecast_are_judged_by_the_truth(simulated, series_of):
    # The predicted latencies of the two placements are swapped.
    truth = ([[6.0, 9.0]], [[2.0, 1.0]])
    result = simulated(truth, ([[9.0, 6.0]], [[1.0, 2.0]]), weights=(0.0,))
    pick = series_of(result, "algorithm1", 0.0)
    assert (pick.picks, pick.latency_s, pick.latency_regret) == ((1,), 9.0, 0.5)
    errors = {error.part: error for error in result.errors}
    # Latencies 9 6 instead of 6 9: +1/2 and -1/3. Cost 1 2 instead of 2 1: -1/2 and +1.
    assert errors["latency"].mape == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert errors["latency"].bias == pytest.approx((1 / 2 - 1 / 3) / 2)
    assert errors["latency"].p95 == pytest.approx(1 / 3 + (1 / 2 - 1 / 3) * 0.95)
    assert errors["cost"].mape == pytest.approx(0.75)
    assert errors["cost"].bias == pytest.approx(0.25)
    assert "link" not in errors  # 0 throughout: nothing to compare


def test_samples_where_no_placement_meets_the_limit_are_counted(simulated, series_of):
    truth = ([[6.0, 9.0], [8.0, 9.0], [9.0, 9.0]], [[2.0, 1.0]] * 3)
    planners = {"fast_enough": EpsilonConstraint(7.0, None, strict=False), "weighted_sum": WeightedSum(0.5)}
    result = simulated(truth, planners=planners, weights=(0.0, 1.0))
    rows = [series for series in result.series if series.strategy == "fast_enough"]
    assert [(row.w, row.objective_regret) for row in rows] == [
        (None, None)
    ]  # it follows no weight, so there is one row
    assert rows[0].unmet == pytest.approx(2 / 3)
    assert series_of(result, "weighted_sum", 0.0).unmet is None
    assert {front.planner for front in result.fronts} == {"fast_enough", "weighted_sum"}


def test_samples_are_kept_up_to_a_number(simulated, series_of):
    truth = ([[6.0, 9.0]] * 4, [[2.0, 1.0]] * 4)
    kept, left_out = (simulated(truth, keep_samples=most) for most in (4, 3))
    assert kept.bandwidth_kbps == (1.0, 2.0, 3.0, 4.0)
    assert series_of(kept, "oracle", 0.5).picks
    assert left_out.bandwidth_kbps == left_out.clock_mhz == ()
    assert all(series.picks == series.sample_latency_s == () for series in left_out.series)
    assert [series.latency_s for series in kept.series] == [series.latency_s for series in left_out.series]


def test_claims_by_hand(simulated):
    truth = ([[6.0, 9.0], [6.0, 12.0]], [[2.0, 0.0], [2.0, 0.0]])

    def claim(metric, strategy, against, published=0.0, w=None):
        return ClaimSettings("Figure 9", "words", metric, strategy, against, published, w)

    claims = (
        claim(Metric.latency_s, "cost_optimal", "latency_optimal", 70.0),
        claim(Metric.cost_usd, "latency_optimal", "cost_optimal"),
        claim(Metric.latency_s, "weighted_sum", "static_best", w=1.0),
    )
    result = simulated(truth, weights=(1.0,), claims=claims)
    # Means 10.5 over 6; cost over 0 has no ratio; the cheapest is the last one throughout.
    assert [entry.simulated for entry in result.claims] == [pytest.approx(75.0), None, 0.0]
    assert result.claims[0].published == 70.0
    assert result.claims[0].population is None
    assert result.claims[0].w == 1.0


def test_a_claim_is_about_its_weight_in_any_order_and_no_weight_is_repeated(simulated):
    truth = ([[2.0, 4.0, 8.0]], [[4.0, 2.0, 1.0]])
    claims = [
        ClaimSettings("Figure 9", "words", Metric.latency_s, "weighted_sum", "edge_only", 0.0, w) for w in (1.0, 0.0)
    ]
    result = simulated(truth, weights=(1.0, 0.5, 0.0), claims=tuple(claims))
    # At w = 1 the cheapest, the edge alone with 8 s; at w = 0 the fastest with 2 s.
    assert [entry.simulated for entry in result.claims] == pytest.approx([0.0, -75.0])
    with pytest.raises(ConfigError, match=r"^w must not repeat a number, got 0.2 more than once$"):
        simulated(truth, weights=(0.2, 0.2, 0.5), claims=(replace(claims[0], w=0.5),))
    with pytest.raises(ConfigError, match=r"^dwell must not repeat a number, got 3 more than once$"):
        simulated(truth, dwell=(0, 3, 3))


def test_with_several_codecs_a_pick_is_a_cut_and_a_codec(simulated, series_of):
    # Cut 0 as a or b, cut 1 as a or b, cut 2 on the edge. Latency, cost:
    rows = ([[9.0, 7.0, 6.0, 8.0, 5.0], [8.0, 9.0, 6.0, 6.0, 5.0]], [[1.0, 1.0, 2.0, 2.0, 3.0]] * 2)
    codecs = {"cut": (0, 0, 1, 1, 2), "codec": ("a", "b", "a", "b", "raw")}
    result = simulated(rows, weights=(0.5, 1.0), planners={"weighted_sum": WeightedSum(0.5)}, columns=codecs)
    assert (result.cuts, result.codecs) == ((0, 0, 1, 1, 2), ("a", "b", "a", "b", "raw"))
    cloud = series_of(result, "cloud_only", None)
    assert (cloud.picks, cloud.codecs, cloud.latency_s) == ((0, 0), ("b", "a"), 7.5)  # by the faster codec
    assert (cloud.distinct, cloud.switches_per_100) == (2, 50.0)
    edge = series_of(result, "edge_only", None)
    assert (edge.picks, edge.codecs, edge.distinct) == ((2, 2), ("raw", "raw"), 1)
    # All codecs of a cut cost the same here, so the cheapest is the faster of both at cut 0.
    assert series_of(result, "weighted_sum", 1.0).codecs == series_of(result, "oracle", 1.0).codecs == ("b", "a")
    # Scaled, sample 1: latency 1 1/2 1/4 3/4 0, cost 0 0 1/2 1/2 1, so J at 0.5 is 1/2 1/4 3/8 5/8 1/2;
    # sample 2: latency 3/4 1 1/4 1/4 0, so 3/8 1/2 3/8 3/8 1/2: of equals the faster, then the first.
    assert series_of(result, "oracle", 0.5).codecs == ("b", "a")
    assert series_of(result, "oracle", 0.5).picks == (0, 1)
    (front,) = result.fronts
    assert front.distinct == 1.5  # one placement at both weights in sample 1, two in sample 2
    plain = simulated(rows)
    assert series_of(plain, "cloud_only", None).codecs == ()


class ConstantPicks:
    """A planner that returns whatever it was created with."""

    w = 0.5

    def __init__(self, picks):
        self.picks = picks

    def choose(self, _forecast, _w):
        return self.picks


@pytest.mark.parametrize(
    "picks",
    [0, np.zeros((2, 1), dtype=int), np.zeros((2, 2)), np.array([[0, 1], [-1, 0]]), np.array([[0, 1], [2, 0]]), None],
    ids=str,
)
def test_a_planner_that_returns_invalid_rows_is_named(simulated, picks):
    truth = ([[6.0, 9.0]] * 2, [[2.0, 1.0]] * 2)
    with pytest.raises(PluginError) as caught:
        simulated(truth, weights=(0.0, 1.0), planners={"theirs": ConstantPicks(picks)})
    said = str(caught.value)
    assert "ConstantPicks returned" in said
    assert said.endswith("integer row indices of shape (2, 2) of the forecast, here from 0 to 1")
    assert "\n" not in said
