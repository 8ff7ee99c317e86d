"""Requests that arrive when the one before has ended, with times worked out beside them."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from midcut.config.settings import Arrivals, Observed, ScenarioTrace
from midcut.errors import ConfigError
from midcut.planning import OUTAGE_KBPS
from midcut.planning.policy import Forecaster, Policy
from midcut.simulation.chunks import ForecastChunks
from midcut.simulation.link_capacity import LinkCapacity
from midcut.simulation.run import ResultHeader, Setup, simulate
from midcut.testing import chain_placements
from midcut_planners.linucb import LinUcb
from midcut_planners.weighted_sum import WeightedSum

HEADER = ResultHeader("title", {}, {}, {}, "free", ())
KBIT = np.array([1000.0, 0.0])


class Seconds:
    """The same seconds at any time."""

    needs = frozenset()

    def __init__(self, *seconds):
        self._seconds = np.array(seconds)

    def seconds(self, _observation):
        return self._seconds


class Link:
    """1000 kbit at cut 0, nothing at cut 1."""

    needs = frozenset({"bandwidth_kbps"})

    def seconds(self, observation):
        return KBIT / np.maximum(np.asarray(observation.bandwidth_kbps), OUTAGE_KBPS)[..., None]


class EdgeCosts:
    def cost_usd(self, edge_s, _link_s, _cloud_s):
        return edge_s


@pytest.fixture
def sent(tmp_path):
    """Sends requests over a link of 1000 kbit/s for 2 s, then 250 for 8 s; the edge needs 0.75 s."""

    def run(*, planners=None, systems=None, weights=(0.0,), step_s=2.5, rows=((0, 1000), (2, 250), (6, 250)), **given):
        (tmp_path / "link.csv").write_text("time_s,bandwidth_kbps\n" + "".join(f"{t},{kbps}\n" for t, kbps in rows))
        trace = {"arrivals": Arrivals.back_to_back}
        trace |= {key: given.pop(key) for key in ("arrivals", "observed", "lag_s", "interval_s") if key in given}
        scenario = ScenarioTrace(path=str(tmp_path / "link.csv"), step_s=step_s, **trace)
        parts = chain_placements([125_000.0, 0.0]), Seconds(0.0, 0.75), Link(), Seconds(0.0, 0.0), EdgeCosts()
        forecaster = Forecaster(*parts)
        given["systems"] = {name: Policy(*parts, planner=planner) for name, planner in (systems or {}).items()}
        setup = Setup(
            forecaster, forecaster, planners or {"weighted_sum": WeightedSum(0.0)}, weights, scenario, **given
        )
        several = len(weights) > 1
        return {
            (series.strategy, series.dwell, *((series.w,) if several else ())): series
            for series in simulate(setup, HEADER).series
        }

    return run


def test_each_request_arrives_when_the_one_before_has_ended(sent):
    series = sent(step_s=1.5)  # 6 s from the first row to the last: five requests
    cloud = series["cloud_only", 0]
    # The trace lasts 10 s: its last row as long as the one before. From 0 and 1 s: 1 s each. From 2 s: 1000 kbit at
    # 250 kbit/s. From 6 s: as many. At 10 s it starts again.
    assert cloud.over_trace.time_s == pytest.approx((0.0, 1.0, 2.0, 6.0, 10.0))
    assert cloud.sample_latency_s == pytest.approx((1.0, 1.0, 4.0, 4.0, 1.0))
    assert cloud.latency_s == pytest.approx(11 / 5)
    assert cloud.latency_regret == pytest.approx(2.2 / 0.75 - 1)  # the edge is the fastest at all these times
    edge = series["edge_only", 0]
    assert edge.over_trace.time_s == pytest.approx((0.0, 0.75, 1.5, 2.25, 3.0))
    assert edge.latency_s == series["oracle", 0].latency_s == pytest.approx(0.75)


def test_a_transfer_may_begin_at_one_rate_and_end_at_another(sent):
    series = sent(step_s=3.0, rows=((0, 1600), (1, 400), (6, 400)))  # three requests
    # From 0: 0.625 s. From 0.625: 600 kbit until 1 s, 400 more in 1 s. From 2 s: 2.5 s.
    assert series["cloud_only", 0].over_trace.time_s == pytest.approx((0.0, 0.625, 2.0))
    assert series["cloud_only", 0].sample_latency_s == pytest.approx((0.625, 1.375, 2.5))
    # Who knows the link sends the first, and computes from then on: 0.75 s each.
    oracle = series["oracle", 0]
    assert (oracle.picks, oracle.over_trace.time_s) == ((0, 1, 1), pytest.approx((0.0, 0.625, 1.375)))


def test_a_planner_sees_what_its_own_transfers_have_shown(sent):
    rows = ((0, 2000), (2, 400), (30, 400))
    series = sent(step_s=10.0, rows=rows, observed=Observed.last_transfer, interval_s=0.0)["weighted_sum", 0]
    # Four requests. Nothing is known at 0 s: the edge, and a probe of 1600 kbit, which ends at 0.8 s and shows
    # 2000 kbit/s. The second, at 0.75 s, does not see it yet. At 1.5 s cut 0 looks like 0.5 s, and takes it to the
    # last kbit: 1000 kbit until 2 s. The next is sent at 2 s by that rate, and takes 2.5 s.
    assert series.picks == (1, 1, 0, 0)
    assert series.over_trace.time_s == pytest.approx((0.0, 0.75, 1.5, 2.0))
    assert series.sample_latency_s == pytest.approx((0.75, 0.75, 0.5, 2.5))
    assert series.over_trace.seen_kbps == pytest.approx((0.0, 0.0, 2000.0, 2000.0))
    perfect = sent(step_s=10.0, rows=rows, observed=Observed.perfect)["weighted_sum", 0]
    assert perfect.picks == (0, 0, 0, 0)  # 0.5 s each: at 2 s
    assert perfect.over_trace.time_s == pytest.approx((0.0, 0.5, 1.0, 1.5))


def test_the_edge_goes_on_when_it_gives_up_and_the_transfer_is_still_seen(sent):
    rows = ((0, 2000), (2, 400), (30, 400))
    given = {"observed": Observed.last_transfer, "interval_s": 0.0, "give_up_factor": 1.5}
    series = sent(step_s=7.5, rows=rows, **given)["weighted_sum", 0]
    # As above until 2 s. Then the edge waits 1.5 times 0.5 s, and takes 0.75 s itself. At 3.5 s the transfer still
    # runs, until 4.5 s, and the last one that has ended shows 2000 kbit/s: again.
    # Patience goes by the nearest of the levels of bandwidth, which are 3 % apart.
    assert series.over_trace.time_s == pytest.approx((0.0, 0.75, 1.5, 2.0, 3.5), abs=0.01)
    assert series.sample_latency_s == pytest.approx((0.75, 0.75, 0.5, 1.5, 1.5), abs=0.01)
    assert series.over_trace.ended == (0, 0, 0, 1, 1)


def test_dwell_and_time_outs_go_with_it(sent):
    rows = ((0, 2000), (2, 0), (22, 2000), (24, 2000))
    given = {"observed": Observed.perfect, "reply_timeout_s": 3.0, "dwell": (0, 3)}
    series = sent(step_s=4.0, rows=rows, **given)  # seven requests
    # Cloud only: four in 0.5 s each; from 2 s on a time-out of 3 s and the edge's 0.75 s, three times.
    cloud = series["cloud_only", 0]
    assert cloud.over_trace.time_s == pytest.approx((0.0, 0.5, 1.0, 1.5, 2.0, 5.75, 9.5))
    assert cloud.over_trace.ended == (0, 0, 0, 0, 2, 2, 2)
    # The planner sees the outage at 2 s, and with a dwell of 3 too, as cut 0 has been in use for four.
    assert series["weighted_sum", 0].picks == series["weighted_sum", 3].picks == (0, 0, 0, 0, 1, 1, 1)
    held = sent(step_s=4.0, rows=rows, **given | {"dwell": (5,)})["weighted_sum", 5]
    assert held.picks == (0, 0, 0, 0, 0, 1, 1)
    assert held.sample_latency_s[4] == pytest.approx(3.75)


def test_dwell_goes_with_systems_too_however_requests_arrive(sent):
    rows = ((0, 2000), (2, 0), (22, 2000), (24, 2000))
    given = {"observed": Observed.perfect, "reply_timeout_s": 3.0, "dwell": (0, 3, 5), "step_s": 4.0, "rows": rows}
    series = sent(systems={"system": WeightedSum(0.0)}, **given)
    # As the planner above: four requests in 0.5 s each, then the outage.
    assert series["system", 0].picks == series["system", 3].picks == (0, 0, 0, 0, 1, 1, 1)
    assert series["system", 5].picks == series["weighted_sum", 5].picks == (0, 0, 0, 0, 0, 1, 1)
    assert series["system", 5].sample_latency_s[4] == pytest.approx(3.75)
    # One request every 4 s: the outage from the second to the sixth. Cut 0 has been in use for three at the fourth.
    steady = sent(systems={"system": WeightedSum(0.0)}, arrivals=Arrivals.steady, **given)
    assert steady["system", 0].picks == (0, 1, 1, 1, 1, 1, 0)
    assert steady["system", 3].picks == steady["weighted_sum", 3].picks == (0, 0, 0, 1, 1, 1, 0)
    assert steady["system", 5].picks == (0, 0, 0, 0, 0, 1, 1)


@pytest.mark.parametrize("arrivals", list(Arrivals))
def test_a_system_gives_up_and_leaves_out_what_is_late_as_a_planner_does(sent, arrivals):
    # A cheap system computes nothing at the edge: 1000 kbit in 1 s, then in 4 s.
    cheap = {"systems": {"cheap": WeightedSum(CHEAP)}, "arrivals": arrivals, "observed": Observed.perfect}
    waits, late = (sent(reply_timeout_s=s, **cheap)["cheap", 0] for s in (None, 3.0))
    assert set(waits.picks) == {0}
    assert late.picks == tuple(int(at >= 2.0) for at in late.over_trace.time_s or (0.0, 2.5, 5.0))
    assert late.picks[-1] == 1
    assert late.over_trace.seen_kbps == pytest.approx(tuple(250.0 if pick else 1000.0 for pick in late.picks))
    # It sees the rate as it was 3 s ago, and waits 1.5 s for what takes 4: from 2 s on, until it sees the new rate.
    given = cheap | {"lag_s": 3.0, "give_up_factor": 1.5, "step_s": 1.0, "rows": ((0, 1000), (2, 250), (9, 250))}
    given_up = sent(**given, planners={"same": WeightedSum(CHEAP)}, weights=(CHEAP,))
    system, planner = given_up["cheap", 0], given_up["same", 0]
    assert system.sample_latency_s == planner.sample_latency_s
    assert system.over_trace == planner.over_trace
    assert set(system.over_trace.ended) == {0, 1}
    assert 2.25 in system.sample_latency_s  # 1.5 s, and the edge's 0.75


FAST, CHEAP = 0.0, 1.0


@pytest.mark.parametrize(
    ("timeout_s", "at_last"),
    [(None, 0), (2.0, 1)],  # 1000 kbit at 400 kbit/s are on offer without a time-out, and late with one of 2 s
)
def test_each_weight_goes_its_own_way(sent, timeout_s, at_last):
    # Six requests. Until 2 s cut 0 takes 0.5 s, from then on 2.5 s; the edge takes 0.75 s and is what costs.
    given = {"rows": ((0, 2000), (2, 400), (30, 400)), "step_s": 6.0, "observed": Observed.perfect, "dwell": (6,)}
    series = sent(weights=(FAST, CHEAP), reply_timeout_s=timeout_s, **given)
    for strategy in ("weighted_sum", "oracle"):
        assert series[strategy, 0, FAST].picks == (0, 0, 0, 0, 1, 1)
        assert series[strategy, 0, FAST].over_trace.time_s == pytest.approx((0.0, 0.5, 1.0, 1.5, 2.0, 2.75))
        assert series[strategy, 0, CHEAP].picks == (0, 0, 0, 0, at_last, at_last)
    assert series["weighted_sum", 6, FAST].picks == series["weighted_sum", 6, CHEAP].picks == (0,) * 6
    # At steady times cut 0 is the fastest for the first of six requests only.
    assert series["static_best", 0, FAST].picks == (1,) * 6
    assert series["cost_optimal", 0, CHEAP].picks == (0,) * 6
    assert series["latency_optimal", 0, FAST].picks == (0, 0, 0, 0, 1, 1)


def test_each_request_asks_a_planner_for_its_own_weight_only(sent):
    class Counting(WeightedSum):
        decisions = 0

        def choose(self, forecast, w):
            picks = super().choose(forecast, w)
            Counting.decisions += picks.size
            return picks

    given = {"observed": Observed.perfect, "weights": (0.0, 0.5, 1.0), "dwell": (2,), "step_s": 1.5}
    sent(planners={"counting": Counting(0.0)}, **given)
    assert Counting.decisions == 5 * 3 * 2  # requests, weights, with and without dwell


def test_the_best_fixed_placement_is_looked_for_once_only(sent, monkeypatch):
    passes = []
    plain = ForecastChunks.static_best.func
    counted = functools.cached_property(lambda chunks: passes.append(chunks) or plain(chunks))
    counted.__set_name__(ForecastChunks, "static_best")
    monkeypatch.setattr(ForecastChunks, "static_best", counted)
    sent(weights=(0.0, 0.5, 1.0))
    assert len(passes) == 1


def test_transfers_are_computed_once_and_those_beyond_the_limit_of_memory_again(sent, monkeypatch):
    monkeypatch.setattr("midcut.simulation.chunks.CHUNK_VALUES", 4)  # two requests
    computed, transfer_s = [], LinkCapacity.transfer_s

    def count(link, start_s, kbit):
        computed.append(start_s.shape)
        return transfer_s(link, start_s, kbit)

    monkeypatch.setattr(LinkCapacity, "transfer_s", count)
    found = {}
    for kept_values in (100, 8, 0):
        monkeypatch.setattr("midcut.simulation.chunks.KEPT_VALUES", kept_values)
        computed.clear()
        found[kept_values] = sent(arrivals=Arrivals.steady, step_s=1.0, reply_timeout_s=3.0)  # seven requests
        of_all = [shape for shape in computed if len(shape) == 2]
        # Four chunks; where the first two are kept, the other two are computed twice.
        assert len(of_all) == {100: 4, 8: 6, 0: 8}[kept_values]
    assert found[100] == found[8] == found[0]


def test_only_a_planner_that_sees_its_own_transfers_has_a_circuit_breaker(sent):
    # One request every 2 s over 2000 kbit/s, an outage from 2 to 32 s, and a time-out of 1.5 s.
    given = {"rows": ((0, 2000), (2, 0), (32, 2000), (34, 2000)), "reply_timeout_s": 1.5, "step_s": 2.0}
    given |= {"arrivals": Arrivals.steady, "systems": {"system": WeightedSum(0.0)}}
    late = sent(observed=Observed.perfect, lag_s=100.0, **given)
    # What shows the rate of 100 s before shows 2000 kbit/s throughout: each request of the outage waits.
    assert late["weighted_sum", 0].over_trace.ended == (0, *(2,) * 15, 0, 0)
    assert late["system", 0].over_trace.ended == late["cloud_only", 0].over_trace.ended == (0, *(2,) * 15, 0, 0)
    # With a breaker: nothing is known at 0 s; the probe shows 2000 kbit/s at 0.8 s. The request at 2 s fails at 3.5 s,
    # after longer than `engine.retry_after_s`. The edge computes for 1.5 s, until 5 s; the next one, at 6 s, fails at
    # 7.5 s. Then for 3 s, until 10.5 s; the one at 12 s fails at 13.5 s. Then for 6 s at a time: those at 20 and 28 s.
    own = sent(observed=Observed.last_transfer, interval_s=0.0, **given)["weighted_sum", 0]
    assert [2 * number for number, ended in enumerate(own.over_trace.ended) if ended == 2] == [2, 6, 12, 20, 28]
    assert [2 * number for number, pick in enumerate(own.picks) if pick == 0] == [2, 6, 12, 20, 28]


def test_a_planner_that_learns_is_refused_in_one_line(sent):
    with pytest.raises(ConfigError, match=r"takes no planner that learns, got linucb$"):
        sent(planners={"linucb": LinUcb()})


def test_steady_requests_have_one_time_for_all_and_need_no_field_that_no_predictor_needs(sent):
    series = sent(step_s=1.5, arrivals=Arrivals.steady, observed=Observed.decay)
    cloud = series["cloud_only", 0]
    # From 0 s: 1 s. From 1.5 s: 500 kbit until 2 s, then 2 s. From 3, 4.5 and 6 s at 250 kbit/s: 4 s.
    assert cloud.sample_latency_s == pytest.approx((1.0, 2.5, 4.0, 4.0, 4.0))
    assert cloud.over_trace.time_s == ()
    assert series["weighted_sum", 0].picks[0] == 1
