"""Calibration learns what a relay and the second hop take beside what was predicted of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from midcut.config.settings import CalibrationSettings
from midcut.edge.calibration.calibration import PARTS, THIRD_TIER_PARTS, Calibration
from midcut.edge.calibration.store import CalibrationStore
from midcut.testing import pair_placements
from midcut.types import InferenceResult, Observation
from midcut_costs.busy_seconds import Rented
from midcut_planners.weighted_sum import WeightedSum

SEEN = Observation(1500.0, 8000.0, 0.0, others={"second_bandwidth_kbps": 4000.0, "second_ping_ms": 0.0})
ROWS = [(first, second) for first in range(4) for second in range(first, 4)]
SIZES = [600_000.0, 200_000.0, 50_000.0, 0.0]


class World:
    """A relay that is `busy` times slower than predicted, behind which every transfer takes `wait_s` more."""

    def __init__(self, three_tiers, busy, wait_s):
        seconds = [0.0, 0.1, 0.2, 0.3], [0.12, 0.08, 0.04, 0.0], [0.03, 0.02, 0.01, 0.0]
        self.policy = three_tiers(pair_placements(SIZES), *seconds, Rented(0.0, 1.0), WeightedSum(0.0))
        self.true = self.policy.forecast(SEEN)
        self.busy, self.wait_s = busy, wait_s
        self.now_s = 0.0
        self.calibration = Calibration(CalibrationSettings(), lambda: self.now_s)

    def ask(self, row):
        """Answer a request at a placement, as far as it goes."""
        parts = {name: float(part_s[row]) for name, part_s in self.true.parts.items()}
        first, second = ROWS[row]
        parts["relay"] *= self.busy
        parts["second_link"] += self.wait_s * (second < 3)
        placement = self.policy.placements[row]
        result = InferenceResult(
            "x", None, first, "edge" if first == 3 else "relay" if second == 3 else "cloud", "",
            parts["edge"], parts["link"], parts["cloud"], sum(parts.values()), 0.0, 0, {},
            between={name: parts[name] for name in ("relay", "second_link")}, onward=placement.onward,
        )  # fmt: skip
        decision = SimpleNamespace(forecast=self.true, observation=SEEN)
        self.now_s += sum(parts.values())
        self.calibration.answered(decision, result, alone=True)

    def corrected(self):
        self.calibration.learn(self.policy, SEEN)
        return self.policy.decide(SEEN, self.calibration.correct).forecast


def test_a_slow_relay_and_an_overhead_behind_it_are_learnt_apart_from_the_rest(three_tiers):
    world = World(three_tiers, busy=2.5, wait_s=0.01)
    for round_ in range(30):
        world.ask((1, 2, 5, 3, 7)[round_ % 5])
        forecast = world.corrected()
    np.testing.assert_allclose(forecast.between["relay"], 2.5 * world.true.between["relay"], rtol=0.05, atol=1e-4)
    waits = np.array([0.01 if second < 3 else 0.0 for _, second in ROWS])
    np.testing.assert_allclose(
        forecast.between["second_link"], world.true.between["second_link"] + waits, rtol=0.1, atol=2e-3
    )
    for part in ("edge", "link", "cloud"):
        np.testing.assert_allclose(forecast.parts[part], world.true.parts[part], rtol=0.02, atol=5e-4)
    assert set(world.calibration.state()["parts"]) == PARTS | THIRD_TIER_PARTS


def test_a_busy_relay_is_left_for_the_cloud_behind_it_or_the_edge(three_tiers):
    world = World(three_tiers, busy=1.0, wait_s=0.0)
    fastest = ROWS[int(world.corrected().latency_s.argmin())]
    world.busy = 20.0
    for _ in range(12):
        world.ask(ROWS.index((0, 3)))
    forecast = world.corrected()
    first, second = ROWS[int(forecast.latency_s.argmin())]
    assert fastest != (first, second)
    assert second - first < 3
    truth = sum(world.true.parts.values()) + 19.0 * world.true.between["relay"]
    assert ROWS[int(truth.argmin())] == (first, second)


def test_requests_that_end_at_the_relay_teach_its_seconds_and_none_of_the_cloud(three_tiers):
    world = World(three_tiers, busy=3.0, wait_s=0.0)
    for _ in range(10):
        world.ask(ROWS.index((1, 3)))
    forecast = world.corrected()
    row = ROWS.index((1, 3))
    assert forecast.between["relay"][row] == pytest.approx(0.24, rel=0.05)
    assert world.calibration.state()["parts"]["cloud"]["samples"] == 0
    assert "second_link" not in world.calibration.state()["parts"]


def test_a_restarted_edge_goes_on_with_what_it_has_learnt_of_a_relay(three_tiers, tmp_path):
    path, based_on = str(tmp_path / "state.json"), {"model": "chain 0-0"}
    world = World(three_tiers, busy=2.5, wait_s=0.01)
    for row in (1, 2, 5, 3, 7) * 4:
        world.ask(row)
    before = world.corrected()
    CalibrationStore(world.calibration, path, based_on).save(now=True)
    again = World(three_tiers, busy=2.5, wait_s=0.01)
    CalibrationStore(again.calibration, path, based_on).load()
    after = again.corrected()
    for part in ("relay", "second_link"):
        samples, restored = (each.calibration.state()["parts"][part]["samples"] for each in (world, again))
        assert restored == samples > 0
        np.testing.assert_allclose(after.between[part], before.between[part], rtol=1e-2, atol=1e-4)
