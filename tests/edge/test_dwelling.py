"""Dwell in the engine: the same sequence as `midcut.planning.dwell` gives, and what goes beyond it."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from midcut.config.settings import EngineSettings
from midcut.edge.dwelling import Dwelling, PlanningCounts
from midcut.errors import ConfigError
from midcut.planning.dwell import Dwell
from midcut.planning.policy import Policy
from midcut.testing import FixedSeconds, chain_placements
from midcut.types import Decision, Observation, Placement
from midcut_planners.epsilon_constraint import EpsilonConstraint
from midcut_planners.weighted_sum import WeightedSum

FAST = {"bandwidth_kbps": 1e6, "clock_mhz": 1000.0}  # link 1 ms: cut 0
SLOW = {"bandwidth_kbps": 1.0, "clock_mhz": 1000.0}  # link 1000 s: the last cut


class EdgeSeconds:
    def cost_usd(self, edge_s, link_s, cloud_s):
        return edge_s + 0.0 * (link_s + cloud_s)


class Scripted:
    """Picks what it is told, whatever the forecast says."""

    w = None

    def __init__(self, picks):
        self._picks = iter(picks)

    def choose(self, forecast, w):  # noqa: ARG002
        return np.asarray(next(self._picks))


def policy_of(planner, cuts=4):
    placements = chain_placements([1000.0] * cuts)
    still = FixedSeconds(np.zeros(cuts))
    return Policy(placements, FixedSeconds(np.arange(cuts, dtype=float)), still, still, EdgeSeconds(), planner)


def settled(dwelling, policy, steps):
    """Decisions in use over some planning steps; `fallback` cuts are given as strings."""
    used = []
    for step in steps:
        if isinstance(step, str):
            wanted = Decision(Placement(int(step)), -1, "fallback edge: no ping_ms", None, Observation())
        else:
            wanted = policy.decide(Observation())
        used.append(dwelling.settle(policy, wanted, used[-1] if used else None))
    return used


@settings(max_examples=300)
@given(picks=st.lists(st.integers(0, 3), min_size=1, max_size=40), ticks=st.integers(0, 6))
def test_the_same_picks_give_the_same_sequence_as_in_simulation(picks, ticks):
    used = settled(Dwelling(ticks), policy_of(Scripted(picks)), picks)
    assert [decision.placement.cut for decision in used] == Dwell(ticks).apply(np.array(picks)).tolist()
    assert [bool(decision.held) for decision in used] == [
        decision.placement.cut != pick for decision, pick in zip(used, picks, strict=True)
    ]


def test_by_hand():
    # With 3 ticks: 0 at steps 1 to 3, whatever is wanted; the 2 of step 4 may move, and stays for steps 4 to 6.
    picks = [0, 1, 1, 2, 0, 2, 0, 0]
    used = settled(Dwelling(3), policy_of(Scripted(picks)), picks)
    assert [decision.placement.cut for decision in used] == [0, 0, 0, 2, 2, 2, 0, 0]
    counts = PlanningCounts()
    for before, decision in zip([None, *used], used, strict=False):
        counts.add(decision, before)
    assert asdict(counts) == {"steps": 8, "switches": 2, "held": 3, "fallbacks": 0, "unmet": 0}


def test_a_held_decision_says_so_and_keeps_its_own_forecast_row():
    _, held = settled(Dwelling(2), policy_of(Scripted([1, 3])), [1, 3])
    assert (held.placement.cut, held.index) == (1, 1)
    assert held.forecast.row(held.index)["latency_s"] == 1.0
    assert held.reason == (
        "dwell: step 2 of 2 at cut 1, the planner would go to cut 3; of 4 placements: 1 are faster, 1 are cheaper"
    )


def test_a_fallback_takes_effect_at_once_and_is_left_at_once():
    picks = [0, 2, 3, 3]
    used = settled(Dwelling(3), policy_of(Scripted(picks)), [0, "3", 2, 3, 3])
    # Step 2 falls back; the 2 of step 3 is followed at once, and then kept for its three steps.
    assert [decision.placement.cut for decision in used] == [0, 3, 2, 2, 2]


def test_a_placement_no_longer_on_offer_is_left_at_once():
    dwelling = Dwelling(5)
    (before,) = settled(dwelling, policy_of(Scripted([3])), [3])
    fewer = policy_of(Scripted([1, 0]), cuts=2)
    after = dwelling.settle(fewer, fewer.decide(Observation()), before)
    assert (after.placement.cut, after.held) == (1, "")
    assert dwelling.settle(fewer, fewer.decide(Observation()), after).placement.cut == 1, "it begins to count anew"


def test_a_limit_that_the_held_placement_does_not_keep_is_said():
    dwelling = Dwelling(4)
    lax = policy_of(EpsilonConstraint(2.0, None, strict=False))  # latency 0 to 3 s, cost likewise: cut 0
    first = dwelling.settle(lax, lax.decide(Observation()), None)
    before = replace(first, placement=Placement(3), index=3)
    held = dwelling.settle(lax, lax.decide(Observation()), before)
    assert (held.placement.cut, held.met) == (3, False)
    assert "; limit not met: latency at most 2 s; of 4 placements: 3 are faster" in held.reason


def test_steps_between_the_periodic_ones_make_it_no_older():
    dwelling, policy = Dwelling(3), policy_of(Scripted([3, 1, 1, 1, 1, 1, 1]))
    used = None
    for periodic, cut in ((True, 3), (False, 3), (False, 3), (True, 3), (False, 3), (True, 3), (True, 1)):
        used = dwelling.settle(policy, policy.decide(Observation()), used, periodic=periodic)
        assert used.placement.cut == cut


async def test_the_engine_stays_counts_and_logs(bench):
    with structlog.testing.capture_logs() as logs:
        async with bench(script=[FAST, SLOW], dwell=1_000_000) as b:
            await b.until(lambda: len(b.watch.decisions) >= 10 and b.engine.decision.held)
            assert b.engine.decision.placement.cut == 0
    held = [decision for decision in b.watch.decisions if decision.held]
    counts = b.planning.counts
    assert (counts.steps, counts.switches, counts.held) == (len(b.watch.decisions), 0, len(held))
    (ended,) = [entry for entry in logs if entry["event"] == "planning ended"]
    assert {name: ended[name] for name in asdict(counts)} == asdict(counts)
    told = [entry for entry in logs if entry["event"] == "switch held back"]
    assert len(told) == len(held)
    assert told[0]["reason"].endswith("of 10 placements: 1 are faster, 0 are cheaper")
    assert told[0]["runner_up"]["cut"] == 9, "what the planner would take instead"


async def test_without_dwell_the_engine_follows_at_once(bench):
    async with bench(script=[FAST, SLOW]) as b:
        await b.until(lambda: b.engine.decision.placement.cut == 9)
    assert (b.planning.counts.switches, b.planning.counts.held) == (1, 0)


async def test_losing_and_regaining_a_limit_is_logged_also_where_the_cut_stays(bench):
    # The edge takes 90 ms for all of it at 1000 MHz, and 180 ms at 500 MHz: over the limit, and still the fastest.
    with structlog.testing.capture_logs() as logs:
        async with bench(script=[SLOW]) as b:
            b.policy.planner = EpsilonConstraint(0.1, None, strict=False)
            await b.until(lambda: b.engine.decision.limit)
            b.telemetry._script = [SLOW | {"clock_mhz": 500.0}]
            await b.until(lambda: not b.engine.decision.met)
            b.telemetry._script = [SLOW]
            await b.until(lambda: b.engine.decision.met)
    assert b.planning.counts.unmet == sum(not decision.met for decision in b.watch.decisions) > 0
    told = [entry for entry in logs if entry["event"].startswith("limit")]
    assert [entry["event"] for entry in told] == ["limit not met", "limit met"]
    assert told[0]["reason"].startswith("no placement has latency at most 0.1 s, this is the nearest; of 10")
    assert told[1]["reason"].startswith("with latency at most 0.1 s, of 10 placements: 0 are faster")


def costs(cheapest, w):
    """A policy whose first cut costs 1 and whose second one costs what is given; latencies likewise."""
    placements, zero = chain_placements([1000.0] * 2), FixedSeconds([0.0, 0.0])
    return Policy(placements, FixedSeconds([1.0, cheapest]), zero, zero, EdgeSeconds(), WeightedSum(w))


def test_a_gain_that_is_too_small_holds_a_switch_back():
    for second, used_cut in ((0.95, 0), (0.89, 1)):
        before = costs(2.0, 0.0).decide(Observation())
        policy = costs(second, 0.0)
        decision = Dwelling(0, min_gain=0.1).settle(policy, policy.decide(Observation()), before)
        assert decision.placement.cut == used_cut
        assert decision.held == ("" if used_cut else "the gain is under 0.1 at cut 0, the planner would go to cut 1")


def test_a_small_gain_that_keeps_a_limit_is_no_reason_to_hold_back():
    placements, zero = chain_placements([1000.0] * 2), FixedSeconds([0.0, 0.0])
    planner = EpsilonConstraint(max_latency_s=0.97)
    first = Policy(placements, FixedSeconds([0.5, 2.0]), zero, zero, EdgeSeconds(), planner)
    policy = Policy(placements, FixedSeconds([1.0, 0.95]), zero, zero, EdgeSeconds(), planner)
    before = first.decide(Observation())
    assert before.placement.cut == 0
    dwelling = Dwelling(0, min_gain=0.1)
    assert dwelling.settle(policy, policy.decide(Observation()), before).placement.cut == 1


def test_turns_let_a_share_of_the_steps_switch_and_come_to_rest():
    first, second = costs(2.0, 0.0), costs(0.5, 0.0)
    dwelling, used, at = Dwelling(0, turn_share=0.3), first.decide(Observation()), []
    dwelling._random.seed(1)
    for step in range(1200):
        policy = first if used.placement.cut else second  # the other one is always much better
        decision = dwelling.settle(policy, policy.decide(Observation()), used)
        if decision.placement != used.placement:
            at.append(step)
        used = decision
    assert at[0] < 30
    assert 5 <= len(at) <= 40  # 360 without rest


def test_bad_inertia_is_one_clear_line():
    for chosen, text in (
        ({"turn_share": 0.0}, "engine.turn_share must be over 0, got 0"),
        ({"turn_share": 1.5}, "engine.turn_share must be from 0 to 1, got 1.5"),
        ({"min_gain": -0.1}, "engine.min_gain must be from 0 to 1, got -0.1"),
        ({"min_gain": float("nan")}, "engine.min_gain must be from 0 to 1, got nan"),
    ):
        with pytest.raises(ConfigError, match=text):
            EngineSettings(**chosen)
