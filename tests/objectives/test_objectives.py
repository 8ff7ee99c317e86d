"""Energy and period against numbers computed by hand, and every planner on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from midcut.errors import ConfigError, ForecastError
from midcut.planning.policy import check_columns
from midcut.testing import ObjectiveSuite
from midcut.types import Forecast, Observation
from midcut_objectives.energy import Energy
from midcut_objectives.period import Period
from midcut_planners.algorithm1 import Algorithm1
from midcut_planners.epsilon_constraint import EpsilonConstraint
from midcut_planners.knee import Knee
from midcut_planners.weighted_sum import WeightedSum

SEEN = Observation(clock_mhz=1500.0, bandwidth_kbps=8000.0, ping_ms=0.0)
LATENCY_S = [0.62, 0.156, 0.13, 0.2]
ENERGY_J = {
    "wifi": [1.438932, 0.439822, 0.547964, 1.0],
    "lte": [2.877096, 0.679516, 0.595903, 1.0],
}


def with_column(forecast, objective, aim):
    columns = {objective.column: objective.values(forecast, SEEN)}
    return Forecast(
        forecast.placements, forecast.edge_s, forecast.link_s, forecast.cloud_s, forecast.cost_usd, None, columns, aim
    )


@pytest.mark.parametrize("radio", ["wifi", "lte"])
def test_energy_of_the_worked_example(chain, radio):
    energy = Energy(chain.placements, radio=radio, busy_w=[5.0])
    np.testing.assert_allclose(energy.values(chain, SEEN), ENERGY_J[radio], rtol=0, atol=5e-7)
    np.testing.assert_allclose(chain.latency_s, LATENCY_S, rtol=1e-12)


def test_another_radio_moves_the_cut_of_least_energy_and_not_the_fastest_one(chain):
    picks = {}
    for radio in ENERGY_J:
        seen = with_column(chain, Energy(chain.placements, radio=radio), ("latency_s", "energy_j")).aimed()
        picks[radio] = [int(WeightedSum(0.0).choose(seen, w)) for w in (0.0, 1.0)]
    assert picks == {"wifi": [2, 1], "lte": [2, 2]}


def test_energy_against_the_sum_written_out(chain):
    rng = np.random.default_rng(0)
    for _ in range(200):
        clock, bandwidth, down = rng.uniform(600, 1500), rng.uniform(500, 50_000), rng.uniform(500, 50_000)
        wait_w, tail_s, tail_w, pause_s = rng.uniform(0, 3, 4)
        chain.placements.reply_bytes[:3] = rng.integers(100, 10_000)
        energy = Energy(
            chain.placements, "3g", [2.0, 5.0], [600.0, 1500.0], None, wait_w, tail_s, tail_w, downlink_kbps=down
        )
        got = energy.values(chain, Observation(clock, bandwidth, 10.0, pause_s=pause_s))
        busy_w = 2.0 + 3.0 * (clock - 600) / 900
        for row in range(4):
            sent, reply = chain.placements.request_bytes[row], chain.placements.reply_bytes[row]
            joules = chain.edge_s[row] * busy_w + (chain.link_s[row] + chain.cloud_s[row]) * wait_w
            joules += sent * 8 / (bandwidth * 1000) * (868.98 * bandwidth / 1000 + 817.88) / 1000
            joules += reply * 8 / (down * 1000) * (122.12 * down / 1000 + 817.88) / 1000
            joules += (row < 3) * min(tail_s, pause_s) * tail_w
            assert got[row] == pytest.approx(joules, rel=1e-12)


def test_the_tail_of_lte_is_what_running_all_at_the_edge_saves(chain):
    without, with_tail = (
        Energy(chain.placements, "lte", tail_s=tail_s, tail_w=1.06).values(chain, SEEN) for tail_s in (0.0, 11.576)
    )
    np.testing.assert_allclose(with_tail - without, [12.27056, 12.27056, 12.27056, 0.0], rtol=1e-9)


def test_period_of_the_worked_example(chain):
    period = Period(chain.placements)
    np.testing.assert_allclose(period.values(chain, SEEN), [0.6, 0.1, 0.1, 0.2], rtol=1e-12)


@pytest.mark.parametrize("make", [Energy, Period])
def test_a_larger_request_takes_its_own_bytes(chain, make):
    """Requests of other sizes, and pictures of other sizes as files, are weighed with the objectives of the usual."""
    usual = chain.placements
    larger = replace(usual, request_bytes=9 * usual.request_bytes, reply_bytes=2 * usual.reply_bytes)
    forecast = replace(chain, placements=larger)
    expected = make(larger).values(forecast, SEEN)
    assert make(usual).values(forecast, SEEN).tolist() == expected.tolist()
    assert (expected > make(usual).values(chain, SEEN)).any()


class TestEnergy(ObjectiveSuite):
    def make(self, placements):
        return Energy(placements, "lte", [2.0, 5.0], [600.0, 1500.0], wait_w=0.5, tail_s=1.0, tail_w=1.0)


class TestPeriod(ObjectiveSuite):
    def make(self, placements):
        return Period(placements)


PLANNERS = [Algorithm1(0.5), Algorithm1(0.5, "offset"), WeightedSum(0.5), Knee(), EpsilonConstraint(max_first=0.5)]


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: type(planner).__name__)
@pytest.mark.parametrize("aim", [("energy_j", "latency_s"), ("latency_s", "energy_j"), ("energy_j", "cost_usd")])
def test_a_planner_picks_as_if_the_two_columns_were_latency_and_cost(planner, aim):
    rng = np.random.default_rng(4)
    for _ in range(50):
        edge_s, cost_usd, energy_j = rng.integers(1, 9, (3, 12)) / 10
        zero = np.zeros(12)
        placed = chain_of(12)
        forecast = Forecast(placed, edge_s, zero, zero, cost_usd, None, {"energy_j": energy_j}, aim)
        columns = {"latency_s": edge_s, "cost_usd": cost_usd, "energy_j": energy_j}
        swapped = Forecast(placed, columns[aim[0]], zero, zero, columns[aim[1]])
        w = float(rng.random())
        pick = int(planner.choose(forecast.aimed(), w))
        assert pick == int(planner.choose(swapped, w))
        first, second = columns[aim[0]], columns[aim[1]]
        no_worse = (first <= first[pick]) & (second <= second[pick])
        assert not (no_worse & ((first < first[pick]) | (second < second[pick]))).any()


def chain_of(count):
    from midcut.testing import chain_placements

    return chain_placements([1000.0] * count)


def test_a_view_keeps_the_columns_under_their_own_names(chain):
    seen = with_column(chain, Energy(chain.placements), ("energy_j", "cost_usd")).aimed()
    assert seen.latency_s.tolist() == seen.column("energy_j").tolist()
    assert seen.column("latency_s").tolist() == chain.latency_s.tolist()
    fewer = seen.only(np.array([True, False, True, True]))
    assert fewer.latency_s.tolist() == np.delete(seen.latency_s, 1).tolist()
    assert fewer.row(0)["energy_j"] == pytest.approx(1.438932, abs=5e-7)
    with pytest.raises(ForecastError, match=r"no column 'joules'; it has latency_s, cost_usd, energy_j"):
        seen.column("joules")


@pytest.mark.parametrize("setting", ["max_latency_s", "max_cost_usd"])
def test_a_limit_on_latency_does_not_silently_limit_something_else(chain, setting):
    seen = with_column(chain, Energy(chain.placements), ("energy_j", "latency_s")).aimed()
    with pytest.raises(ForecastError, match=f"{setting} limits .* planners weigh energy_j and latency_s"):
        EpsilonConstraint(**{setting: 0.2}).choose(seen, 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radio": "5g"}, r"objective.energy.radio must be one of none, wifi, lte, 3g, got '5g'"),
        ({"busy_w": [-1.0]}, r"objective.energy.busy_w must be a finite number, 0 or more, got -1"),
        ({"wait_w": -0.1}, r"objective.energy.wait_w must be a finite number, 0 or more, got -0.1"),
        ({"tail_s": float("nan")}, r"objective.energy.tail_s must be"),
        ({"busy_w": [1.0, 2.0]}, r"busy_w has 2 values for 0 clocks_mhz"),
        ({"busy_w": [1.0, 2.0], "clocks_mhz": [900.0, 600.0]}, r"clocks_mhz must be over 0 and ascending"),
        ({"downlink_kbps": 0.0}, r"downlink_kbps must be over 0 or null"),
        ({"profile": "pi4"}, r"no run of it has a measured power"),
    ],
)
def test_bad_settings_get_one_line(settings, message):
    from dataclasses import replace

    placements = replace(chain_of(4), model="alexnet")
    with pytest.raises(ConfigError, match=message):
        Energy(placements, **settings)


@pytest.mark.parametrize(
    ("columns", "aim", "message"),
    [
        (["energy_j", "energy_j"], ("latency_s", "energy_j"), "comes from two objectives"),
        (["latency_s"], ("latency_s", "cost_usd"), "comes from two objectives"),
        ([], ("latency_s", "energy_j"), r"aim.second=energy_j: the forecast has latency_s, cost_usd; objective=NAME"),
        ([], ("joules", "cost_usd"), r"aim.first=joules"),
        (["energy_j"], ("energy_j", "energy_j"), "are both energy_j"),
    ],
)
def test_an_aim_that_cannot_be_met_gets_one_line(columns, aim, message):
    with pytest.raises(ConfigError, match=message):
        check_columns(columns, aim)
