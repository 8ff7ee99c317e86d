"""Users of one cloud whose price rises with its load: the worked example, and live they settle instead of flapping."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from midcut.cloud.load import CloudLoad
from midcut.config.settings import PriceSettings
from midcut.edge.dwelling import Dwelling
from midcut.errors import ConfigError, ForecastError
from midcut.planning.policy import Policy
from midcut.testing import FixedSeconds, ObjectiveSuite, chain_placements
from midcut.types import Forecast, Observation
from midcut_objectives.energy import Energy
from midcut_objectives.sharing import Sharing
from midcut_planners.weighted_sum import WeightedSum

PRICE, SLOPE = "cloud_price_usd_per_hour", "cloud_price_slope_usd_per_hour"


class TestSharing(ObjectiveSuite):
    observation = ObjectiveSuite.observation | {PRICE: 3.0, SLOPE: 2.0}

    def make(self, placements):
        return Sharing(placements, rate_hz=2.0, energy_weight=0.1)


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


class NoCost:
    def cost_usd(self, edge_s, link_s, cloud_s):
        return 0.0 * (edge_s + link_s + cloud_s)


def two_rows(local_s=10.0, away_s=4.0, cloud_s=1.0):
    """All in the cloud, or all at the edge."""
    edge_s, link_s, cloud = (np.array(pair) for pair in ((0.0, local_s), (away_s - cloud_s, 0.0), (cloud_s, 0.0)))
    return Forecast(chain_placements([1000, 0]), edge_s, link_s, cloud, np.zeros(2))


def test_the_worked_example_of_two_users():
    # Local 10; offloading 4 + 4 for each that offloads: load 1 each, slope 4.
    forecast, clock = two_rows(), Clock()
    for others, own, expected in ((0, 0, 8.0), (1, 0, 12.0), (0, 1, 8.0), (1, 1, 12.0)):
        sharing = Sharing(forecast.placements, rate_hz=1.0, clock=clock)
        if own:
            steady(sharing, clock)
        seen = Observation.of({PRICE: 4.0 * (others + own), SLOPE: 4.0})
        np.testing.assert_allclose(sharing.values(forecast, seen), [expected, 10.0], rtol=0.04)


def steady(sharing, clock, rate_hz=1.0, cloud_s=1.0):
    for _ in range(100):
        clock.now_s += 1.0 / rate_hz
        sharing.answered(None, None, SimpleNamespace(cloud_s=cloud_s))


def test_delay_energy_and_price_enter_with_their_weights():
    forecast = two_rows()
    energy = Energy(forecast.placements, "none", [3.0]).values(forecast, Observation())
    sharing = Sharing(forecast.placements, 2.0, 0.5, 0.25, 7.0, radio="none", busy_w=[3.0])
    seen = Observation.of({PRICE: 5.0, SLOPE: 1.5})
    pay = np.array([2.0 * (5.0 + 1.5 * 2.0), 0.0])
    expected = 0.5 * forecast.latency_s + 0.25 * energy + 7.0 * pay
    np.testing.assert_allclose(sharing.values(forecast, seen), expected, rtol=1e-12)


def test_a_rate_that_is_not_given_is_observed_or_counted():
    forecast, clock = two_rows(), Clock()
    sharing = Sharing(forecast.placements, clock=clock)
    assert sharing.values(forecast, Observation.of({PRICE: 6.0})).tolist() == [4.0, 10.0]  # nothing to pay for yet
    observed = sharing.values(forecast, Observation.of({PRICE: 6.0, "rate_hz": 2.0}))
    assert observed.tolist() == [4.0 + 2.0 * 6.0, 10.0]
    steady(sharing, clock, rate_hz=4.0)
    np.testing.assert_allclose(sharing.values(forecast, Observation.of({PRICE: 6.0})), [28.0, 10.0], rtol=0.05)


def test_without_a_price_there_is_nothing_to_go_by():
    forecast = two_rows()
    with pytest.raises(ForecastError, match=f"the observation has no {PRICE}"):
        Sharing(forecast.placements, 1.0).values(forecast, Observation())
    assert Sharing(forecast.placements, 1.0, price_weight=0.0).needs == frozenset()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"time_weight": -1.0}, "objective.sharing.time_weight must be a finite number, 0 or more, got -1"),
        ({"price_weight": float("nan")}, "objective.sharing.price_weight must be a finite number"),
        ({"energy_weight": float("inf")}, "objective.sharing.energy_weight must be a finite number"),
        ({"rate_hz": 0.0}, "objective.sharing.rate_hz must be a finite number over 0, got 0"),
        ({"window_s": -5.0}, "objective.sharing.window_s must be a finite number over 0, got -5"),
        ({"energy_weight": 1.0, "busy_w": [-1.0]}, "busy_w must be a finite number, 0 or more, got -1"),
    ],
)
def test_bad_settings_are_one_clear_line(given, text):
    with pytest.raises(ConfigError, match=text):
        Sharing(chain_placements([1, 0]), **given)


def play(turn_share, minutes, edges=3, seed=0):
    """Edges that plan once a second by a price read up to 2 s ago; switches of all in each minute."""
    clock = Clock()
    cloud = CloudLoad(PriceSettings(0.0, slope_usd_per_hour=4.0), clock)
    row = two_rows()
    users = []
    for number in range(edges):
        sharing = Sharing(row.placements, rate_hz=1.0, clock=clock)
        parts = (
            FixedSeconds(row.edge_s),
            FixedSeconds(row.link_s),
            FixedSeconds(row.cloud_s),
            NoCost(),
            WeightedSum(0.0),
        )
        policy = Policy(row.placements, *parts, objectives=(sharing,), aim=("user_cost", "cost_usd"))
        dwelling = Dwelling(0, turn_share)
        dwelling._random.seed(seed * edges + number)
        users.append((policy, dwelling))
    used, switches, seen = [None] * edges, [0] * minutes, {}
    for second in range(60 * minutes):
        clock.now_s = float(second)
        for index, decision in enumerate(used):
            away = decision is not None and decision.placement.cut == 0
            if away:
                cloud.computed(1.0, 0.0)
            users[index][0].answered(None, None, SimpleNamespace(cloud_s=1.0 if away else 0.0))
        if second % 2 == 0:
            seen = cloud.conditions()
        for index, (policy, dwelling) in enumerate(users):
            wanted = policy.decide(Observation.of(seen))
            decision = dwelling.settle(policy, wanted, used[index])
            before = used[index]
            switches[second // 60] += before is not None and before.placement != decision.placement
            used[index] = replace(decision)
    return switches, sum(decision.placement.cut == 0 for decision in used)


def test_edges_that_all_answer_at_once_flap_and_those_that_take_turns_settle():
    at_once, _ = play(1.0, 5)
    assert min(at_once[1:]) >= 3
    for seed in range(20):
        switches, offloading = play(0.1, 5, seed=seed)
        assert switches[1:] == [0, 0, 0, 0]
        assert offloading == 1  # the equilibrium of the worked example
