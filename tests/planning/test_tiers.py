"""Three tiers on paper: the worked example of two layers, by hand, and planners that know of no tiers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from midcut.planning.pricing import request_usd
from midcut.testing import pair_placements
from midcut.types import Observation, Placement, Usage
from midcut_costs.busy_seconds import Rented
from midcut_planners.epsilon_constraint import EpsilonConstraint

BUDGET = Path(__file__).parents[1] / "third_party" / "midcut-budget" / "src" / "midcut_budget" / "planner.py"
ROWS = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
SEEN = Observation(1500.0, 8000.0, 0.0, others={"second_bandwidth_kbps": 4000.0, "second_ping_ms": 0.0})


@pytest.fixture
def placements():
    return pair_placements([100_000.0, 10_000.0, 0.0])


@pytest.fixture
def policy(three_tiers):
    cost = Rented(0.0, 3600.0, relay_usd_per_hour=7200.0)  # the device is free, 2 a second at the edge, 1 in the cloud
    seconds = [0.0, 0.1, 0.2], [0.08, 0.04, 0.0], [0.02, 0.01, 0.0]
    return lambda placements, planner: three_tiers(placements, *seconds, cost, planner)


def test_latency_and_money_of_every_pair_of_cuts_are_those_of_the_worked_example(placements, policy):
    forecast = policy(placements, None).forecast(SEEN)
    assert list(forecast.parts) == ["edge", "link", "relay", "second_link", "cloud"]
    assert forecast.latency_s == pytest.approx([0.32, 0.17, 0.18, 0.14, 0.15, 0.2])
    assert forecast.cost_usd == pytest.approx([0.02, 0.09, 0.16, 0.01, 0.08, 0.0])
    assert [forecast.placements[row].text for row in range(6)] == [
        "cuts 0, 0", "cuts 0, 1", "cut 0", "cuts 1, 1", "cut 1", "cut 2"
    ]  # fmt: skip
    assert forecast.only(forecast.latency_s < 0.16).placements[0] == Placement(1, "raw", Placement(1))


@pytest.mark.parametrize(("deadline_s", "met", "pick"), [
    (0.16, True, (1, 1)), (0.145, True, (1, 1)), (0.2001, True, (2, 2)), (0.13, False, (1, 1)),
])  # fmt: skip
def test_the_cheapest_pair_within_a_deadline_is_that_of_the_worked_example(placements, policy, deadline_s, met, pick):
    decision = policy(placements, EpsilonConstraint(max_latency_s=deadline_s)).decide(SEEN)
    assert ROWS[decision.index] == pick
    assert decision.met is met


def test_a_planner_written_before_there_were_three_tiers_picks_among_them(placements, policy):
    spec = importlib.util.spec_from_file_location("budget_planner", BUDGET)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for w, pick in ((0.0, (1, 1)), (1.0, (2, 2))):
        assert ROWS[policy(placements, module.Budget(w=w)).decide(SEEN).index] == pick


def test_a_cost_model_without_a_price_for_relays_prices_them_as_the_cloud():
    class Plain:
        def cost_usd(self, edge_s, link_s, cloud_s):
            return edge_s + 10 * link_s + 100 * cloud_s

    usage = Usage(1.0, 2.0, 3.0, 0, 0, 0, "raw", SEEN, relay_s=4.0, second_link_s=5.0)
    assert request_usd(Plain(), usage) == 1.0 + 10 * 7.0 + 100 * 7.0


def test_without_anything_passed_on_the_second_hop_need_not_be_known(placements, policy):
    alone = placements.take(np.array([2, 4, 5]))
    planned = policy(alone, None)
    assert not any(name.startswith("second") for name in planned.needs)
    assert planned.forecast(Observation(1500.0, 8000.0, 0.0)).latency_s == pytest.approx([0.18, 0.15, 0.2])
