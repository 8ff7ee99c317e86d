"""What is learnt from answered requests, on a clock of the test's own."""

from __future__ import annotations

import errno
import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from midcut.config.settings import CalibrationSettings
from midcut.edge.calibration.calibration import Calibration
from midcut.edge.calibration.robust_fit import Prior
from midcut.edge.calibration.sample_window import Sample, SampleWindow
from midcut.edge.calibration.store import CalibrationStore
from midcut.planning.policy import Policy
from midcut.testing import chain_placements
from midcut.types import InferenceResult, Observation, Placement

# Request seconds at 10 Mbit/s: (4/3 * bytes + 500) * 8 / 1e7; 150 kB: 160.4 ms; 30 kB: 32.4 ms.
PLACED = chain_placements([150_000, 30_000, 600_000, 4_000])
EDGE_S = np.array([0.0, 0.02, 0.05, 0.2])  # at 1000 MHz
CLOUD_S = np.array([0.04, 0.03, 0.02, 0.0])


class Edge:
    needs = frozenset({"clock_mhz"})

    def seconds(self, observation):
        return EDGE_S * 1000.0 / observation.clock_mhz


class Link:
    needs = frozenset({"bandwidth_kbps", "ping_ms"})

    def seconds(self, observation):
        sent_s = PLACED.request_bytes * 8 / (observation.bandwidth_kbps * 1000.0)
        return np.where(PLACED.on_edge, 0.0, sent_s + observation.ping_ms / 1000.0)


class Cloud:
    needs = frozenset()

    def seconds(self, _):
        return CLOUD_S


class Priced:
    def cost_usd(self, edge_s, link_s, cloud_s):
        return edge_s + 2.0 * cloud_s + 0.0 * link_s


class Fastest:
    w = 0.0

    def choose(self, forecast, _):
        return int(np.argmin(forecast.latency_s))


class World:
    """A device and its cloud, of which telemetry does not tell everything."""

    def __init__(self, scatter=0.0, **chosen):
        self.now_s = 1000.0
        self.settings = CalibrationSettings(**chosen)
        self.calibration = Calibration(self.settings, lambda: self.now_s)
        self.policy = Policy(PLACED, Edge(), Link(), Cloud(), Priced(), Fastest())
        self.clock_mhz = self.told_clock_mhz = 1000.0
        self.bandwidth_kbps = self.told_bandwidth_kbps = 10_000.0
        self.clock_age_s = 0.05
        self.throttle = self.busy = 1.0
        self.overhead_s = 0.0
        self._random, self._scatter = np.random.default_rng(0), scatter
        self.decision = None
        self.plan()

    def plan(self):
        observation = Observation(
            clock_mhz=self.told_clock_mhz,
            bandwidth_kbps=self.told_bandwidth_kbps,
            ping_ms=20.0,
            age_s={"clock_mhz": self.clock_age_s},
        )
        self.calibration.learn(self.policy, observation)
        self.decision = self.policy.decide(observation, self.calibration.correct)
        return self.decision.forecast

    def takes(self, cut):
        true = SimpleNamespace(clock_mhz=self.clock_mhz, bandwidth_kbps=self.bandwidth_kbps, ping_ms=20.0)
        link_s = Link().seconds(true)[cut]
        return (
            Edge().seconds(true)[cut] * self.throttle,
            link_s + (self.overhead_s if link_s else 0.0),
            CLOUD_S[cut] * self.busy,
        )

    def ask(self, cut, /, *, alone=True, rest_s=0.0, **changed):
        parts = self.takes(cut) * np.exp(self._random.normal(0.0, self._scatter, 3))
        self.now_s += float(parts.sum())
        values = {
            "request_id": "x", "output": None, "cut": cut, "finished_by": "edge" if cut == 3 else "cloud",
            "fallback": "", "edge_s": parts[0], "link_s": parts[1], "cloud_s": parts[2],
            "latency_s": parts.sum() + rest_s, "cost_usd": 0.0, "sent_bytes": 0, "predicted": {},
        }  # fmt: skip
        self.calibration.answered(self.decision, InferenceResult(**values | changed), alone=alone)

    def off_by(self, cut):
        """|predicted / measured - 1|."""
        truth = sum(self.takes(cut))
        return abs(self.plan().latency_s[cut] / truth - 1.0)

    def asked_until(self, cuts, cut, within=0.05, most=60):
        for count in range(1, most + 1):
            self.ask(cuts[count % len(cuts)])
            if self.off_by(cut) < within:
                return count
        raise AssertionError(f"still off by {self.off_by(cut):.1%} after {most}")

    def part(self, name):
        return self.calibration.state()["parts"][name]


def test_without_evidence_forecasts_are_the_predictors_own():
    world = World()
    assert world.decision.forecast.uncorrected is None
    assert world.plan().edge_s.tolist() == EDGE_S.tolist()


@pytest.mark.parametrize("scatter", [0.0, 0.03])
def test_a_throttle_nobody_told_of_is_learnt_in_ten_requests_and_forgotten_in_ten(scatter):
    world = World(scatter)
    for index in range(20):
        world.ask(index % 4)
        world.plan()
    world.throttle = 2.5
    assert world.off_by(3) == pytest.approx(0.6, abs=0.05)
    assert world.asked_until([3, 1, 2, 3], 3) <= 10
    for _ in range(5):
        world.ask(3)
    assert world.plan().edge_s[2] == pytest.approx(0.125, rel=0.05)
    world.throttle = 1.0
    assert world.asked_until([3, 1, 2, 3], 3) <= 10


def test_a_busy_cloud_is_learnt_and_the_rest_is_left_as_predicted():
    world = World()
    world.busy = 4.0
    assert world.asked_until([0, 1, 2], 0) <= 10
    forecast = world.plan()
    assert forecast.cloud_s[0] == pytest.approx(0.16, rel=0.02)
    assert forecast.edge_s.tolist() == pytest.approx(EDGE_S.tolist(), abs=1e-6)
    assert forecast.uncorrected.cloud_s.tolist() == CLOUD_S.tolist()
    # Priced() on corrected seconds: no edge, twice 0.16 s in the cloud.
    assert forecast.cost_usd[0] == pytest.approx(0.32, rel=0.02)
    assert forecast.latency_s[3] == pytest.approx(0.2, rel=1e-6)


def test_the_overhead_of_a_request_is_learnt_and_what_is_not_sent_pays_none():
    world = World()
    world.overhead_s = 0.004
    for index in range(18):
        world.ask(index % 3)
    forecast = world.plan()
    learnt_s = forecast.link_s - forecast.uncorrected.link_s
    assert learnt_s[:2] == pytest.approx([0.004, 0.004], abs=0.0008)
    assert forecast.link_s[3] == forecast.cloud_s[3] == 0.0
    assert world.part("link")["samples"] == 18


def test_what_a_lone_request_waited_for_counts_with_the_link():
    for alone, expected_s in ((True, 0.003), (False, 0.0)):
        world = World()
        for index in range(18):
            world.ask(index % 2, alone=alone, rest_s=0.003)
        forecast = world.plan()
        before = forecast.uncorrected or forecast
        assert forecast.link_s[1] - before.link_s[1] == pytest.approx(expected_s, abs=0.0005)


def test_what_a_lone_request_that_sends_nothing_waited_for_is_in_its_latency_and_not_in_its_cost():
    for alone, expected_s in ((True, 0.2004), (False, 0.2)):
        world = World()
        for _ in range(9):
            world.ask(3, alone=alone, rest_s=0.0004)
        forecast = world.plan()
        assert forecast.latency_s[3] == pytest.approx(expected_s, abs=2e-5)
        assert forecast.cost_usd[3] == pytest.approx(0.2, abs=1e-6)
        before = forecast.uncorrected or forecast
        assert forecast.latency_s[:3].tolist() == pytest.approx(before.latency_s[:3].tolist(), abs=1e-6)


def test_three_requests_of_nine_that_went_wrong_teach_nothing():
    world = World()
    for index in range(9):
        slow = index in {2, 5, 8}
        world.ask(3, **({"edge_s": 1.7} if slow else {}))
    assert world.off_by(3) < 0.01


def test_a_clock_that_telemetry_tells_late_is_not_learnt_as_a_throttle():
    world = World()
    for _ in range(9):
        world.ask(3)
    world.plan()
    world.clock_mhz = 400.0
    world.clock_age_s = 10.0  # telemetry has not read it since
    for _ in range(3):
        world.ask(3)
        world.plan()
    world.told_clock_mhz, world.clock_age_s = 400.0, 0.01
    assert world.off_by(3) < 0.01
    assert world.part("edge")["ratio"] == pytest.approx(1.0, abs=0.01)
    world.ask(3)
    assert world.off_by(3) < 0.01


def test_a_clock_that_changes_later_leaves_what_was_learnt():
    world = World()
    world.throttle = 2.5
    for _ in range(6):
        world.ask(3)
    world.now_s += 0.1  # the clock has been read since
    world.plan()
    world.clock_mhz = world.told_clock_mhz = 500.0
    assert world.off_by(3) < 0.02
    assert world.plan().edge_s[3] == pytest.approx(1.0, rel=0.02)


def test_a_link_that_telemetry_tells_late_is_withdrawn():
    world = World()
    world.bandwidth_kbps = 1000.0
    for _ in range(2):
        world.ask(1)
        world.plan()
    assert world.part("link")["samples"] == 2
    world.told_bandwidth_kbps = 1000.0
    assert world.off_by(1) < 0.01
    assert world.part("link")["samples"] == 0


def test_a_correction_fades_where_nothing_is_asked_and_is_believed_again_at_once():
    world = World(forget_s=60.0)
    world.throttle = 2.5
    for _ in range(9):
        world.ask(3)
    assert world.plan().edge_s[3] == pytest.approx(0.5, rel=0.01)
    # exp(-(age / 60 s)^2): 1.5 * 0.368 after 60 s, 1.5 * 0.018 after 120 s.
    world.now_s += 60.0
    assert world.part("edge")["ratio"] == pytest.approx(1.552, abs=0.01)
    world.now_s += 60.0
    assert world.part("edge")["ratio"] == pytest.approx(1.027, abs=0.005)
    world.throttle = 1.0
    world.ask(3)
    assert world.off_by(3) < 0.05


def test_requests_that_compute_next_to_nothing_here_leave_what_was_learnt():
    world = World()
    world.throttle = 2.5
    for _ in range(9):
        world.ask(3)
    assert world.plan().edge_s[3] == pytest.approx(0.5, rel=0.05)
    for _ in range(20):
        world.ask(0)
    assert world.plan().edge_s[3] == pytest.approx(0.5, rel=0.05)
    assert world.part("edge")["age_s"] > 2.0  # so that it fades, and the edge is tried again


def test_a_server_that_tells_no_seconds_of_its_own_teaches_nothing_of_cloud_and_link():
    world = World()
    for _ in range(9):
        world.ask(0, link_s=world.takes(0)[1] + 0.04, cloud_s=0.0)
    assert world.plan().uncorrected is None
    assert world.part("cloud")["samples"] == world.part("link")["samples"] == 0


def test_a_measurement_that_is_no_number_teaches_nothing():
    world = World()
    for _ in range(9):
        world.ask(3, edge_s=math.nan)
    assert world.plan().latency_s[3] == pytest.approx(0.2)


def test_a_link_that_is_predicted_for_what_sends_nothing_is_corrected(monkeypatch):
    monkeypatch.setattr(Link, "seconds", lambda *_: PLACED.request_bytes * 8 / 1e7 + 0.02)
    world = World()
    for _ in range(9):
        world.ask(3, link_s=0.0, latency_s=0.2)
    assert world.plan().latency_s[3] == pytest.approx(0.2, rel=0.02)


def test_a_predictor_that_takes_its_time_holds_nobody_up(monkeypatch):
    world = World()
    world.ask(3)
    asked, answered = threading.Event(), threading.Event()

    def slowly(*_):
        asked.set()
        assert answered.wait(60.0)
        return EDGE_S

    monkeypatch.setattr(Edge, "seconds", slowly)
    learning = threading.Thread(target=world.plan)
    learning.start()
    try:
        assert asked.wait(60.0)
        assert world.part("edge")["samples"] == 1
    finally:
        answered.set()
        learning.join(60.0)


def test_null_forgets_nothing():
    world = World(forget_s=None)
    world.busy = 3.0
    for _ in range(9):
        world.ask(0)
    world.plan()
    world.now_s += 1e6
    assert world.part("cloud")["ratio"] == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize("changed", [{"fallback": "the cloud is away", "finished_by": "edge"}, {"cut": 7}])
def test_what_went_otherwise_than_planned_teaches_nothing(changed):
    world = World()
    for _ in range(9):
        world.ask(1, edge_s=5.0, **changed)
    world.plan()
    assert [world.part(name)["samples"] for name in ("edge", "link", "cloud", "here")] == [0, 0, 0, 0]


def test_a_decision_without_a_forecast_teaches_nothing():
    world = World()
    world.decision = SimpleNamespace(forecast=None)
    world.ask(1)
    world.plan()
    assert world.part("edge")["samples"] == 0


def test_the_runner_up_and_a_forecast_with_one_row_less_go_on():
    world = World()
    world.throttle = 2.5
    for _ in range(9):
        world.ask(3)
    world.plan()
    assert world.policy.runner_up(world.decision)["cut"] != world.decision.placement.cut
    assert len(world.decision.forecast.without(3)) == 3
    # Uncorrected, the whole on the edge would be the fastest of 200 ms and 20 + 52.8 + 30 ms or more.
    assert world.decision.placement == Placement(1)


def test_other_cuts_on_offer_leave_what_was_learnt():
    world = World()
    world.throttle = 2.5
    for _ in range(9):
        world.ask(3)
    world.plan()

    class Slowed(Edge):
        def seconds(self, observation):
            return super().seconds(observation)[[1, 3]]

    less = chain_placements([0, 0])
    object.__setattr__(less, "cut", np.array([1, 3]))
    parts = (Slowed(), SimpleNamespace(needs=frozenset(), seconds=lambda _: np.zeros(2)))
    narrower = Policy(less, parts[0], parts[1], parts[1], Priced(), Fastest())
    seen = Observation(clock_mhz=1000.0, bandwidth_kbps=1e4, ping_ms=20.0)
    world.calibration.learn(narrower, seen)
    assert narrower.decide(seen, world.calibration.correct).forecast.edge_s == pytest.approx([0.05, 0.5], rel=0.01)


def test_forgetting_begins_anew_at_once():
    world = World()
    world.throttle = 2.5
    for _ in range(9):
        world.ask(3)
    world.plan()
    world.ask(3)
    world.calibration.forget()
    assert world.plan().uncorrected is None
    assert world.part("edge") == {"ratio": 1.0, "offset_s": 0.0, "samples": 0, "age_s": None}


def test_a_correction_that_moves_is_said_once():
    world = World()
    with capture_logs() as logs:
        for _ in range(6):
            world.ask(3)
            world.plan()
        world.throttle = 2.5
        for _ in range(12):
            world.ask(3)
            world.plan()
    said = [(one["part"], round(one["ratio"], 1)) for one in logs if one["event"] == "calibrated"]
    assert said == [("edge", 2.5)]


BASED_ON = {"model": "chain 0-0", "predictor": "edge=profile"}


def test_a_restarted_edge_goes_on_where_it_ended(tmp_path):
    path = tmp_path / "state.json"
    world = World()
    world.throttle, world.overhead_s = 2.5, 0.004
    for _ in range(9):
        world.ask(1)
    before = world.plan().latency_s
    CalibrationStore(world.calibration, str(path), BASED_ON).save(now=True)
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]
    again = World()
    again.now_s = 5.0  # a monotonic clock begins anew with the machine
    CalibrationStore(again.calibration, str(path), BASED_ON).load()
    assert again.plan().latency_s == pytest.approx(before, rel=1e-3)


def test_time_passes_between_two_runs(tmp_path):
    path = tmp_path / "state.json"
    world = World()
    world.throttle = 2.5
    for _ in range(9):
        world.ask(3)
    world.plan()
    CalibrationStore(world.calibration, str(path), BASED_ON).save(now=True)
    kept = msgspec.json.decode(path.read_bytes())
    kept["parts"]["edge"] = [[p, m, at_s - 120.0] for p, m, at_s in kept["parts"]["edge"]]
    path.write_bytes(msgspec.json.encode(kept))
    again = World()
    CalibrationStore(again.calibration, str(path), BASED_ON).load()
    assert again.part("edge")["ratio"] == pytest.approx(1.027, abs=0.01)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "truncated"),
        (b'{"format":"midcut-calibration/1","rests_on":{},"par', "truncated"),
        (b'{"format": "midcut-calibration/9", "rests_on": {}, "parts": {}}', "expected 'midcut-calibration/1'"),
        (
            b'{"format": "midcut-calibration/1", "rests_on": {}, "parts": {"edge": []}}',
            "must be cloud, edge, here, link, and may be relay, second_link as well",
        ),
        (
            b'{"format":"midcut-calibration/1","rests_on":{},"parts":{"edge":[],"link":[],"cloud":[],"here":[],"x":[]}}',
            "must be cloud, edge, here, link, and may be relay, second_link as well",
        ),
        (
            b'{"format":"midcut-calibration/1","rests_on":{},"parts":{"edge":[[-1,2,3]],"link":[],"cloud":[],"here":[]}}',
            "is not a valid sample",
        ),
        (
            b'{"format":"midcut-calibration/1","rests_on":{},"parts":{"edge":[[1,1e308,3]],"link":[],"cloud":[],"here":[]}}',
            "is not a valid sample",
        ),
    ],
)
def test_a_file_that_is_not_usable_is_said_in_one_line_and_begun_anew(tmp_path, content, why):
    path = tmp_path / "state.json"
    path.write_bytes(content)
    world = World()
    with capture_logs() as logs:
        CalibrationStore(world.calibration, str(path), BASED_ON).load()
    assert len(logs) == 1
    assert "starts empty" in logs[0]["event"]
    assert why in logs[0]["reason"]
    assert "\n" not in logs[0]["reason"]
    assert world.plan().uncorrected is None
    assert not path.exists()
    assert path.with_name("state.json.old").read_bytes() == content  # it may be somebody else's


@pytest.mark.parametrize(
    "content",
    [b"[1, 2]", b'{"format": "midcut-profile/1", "rests_on": {}, "parts": {}}', b"\xff\xfe\x00", b"#!/bin/sh\n"],
)
def test_a_file_that_is_no_calibration_is_left_as_it_is(tmp_path, content):
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    assert _save_at(path) == ["calibration starts empty and is not saved: its file is no calibration"]
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe", "device"])
def test_what_is_no_file_is_neither_followed_nor_replaced(tmp_path, kind):
    path, target = tmp_path / "state.json", tmp_path / "target"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/null")
    else:
        if kind == "link":
            target.write_bytes(b'{"format":"midcut-calibration/1"')
        path.symlink_to(target)
    before = {each: each.lstat().st_mode for each in tmp_path.iterdir()}
    assert _save_at(path) == ["calibration starts empty and is not saved: its file is no calibration"]
    assert {each: each.lstat().st_mode for each in tmp_path.iterdir()} == before
    assert path.lstat().st_mode & 0o170000 != 0o100000


def test_what_is_in_the_way_of_the_old_file_is_left_as_it_is(tmp_path):
    path, old = tmp_path / "state.json", tmp_path / "state.json.old"
    path.write_bytes(b'{"format":"midcut-calibration/1"')
    old.write_bytes(b"a letter")
    with capture_logs() as logs:
        CalibrationStore(World().calibration, str(path), BASED_ON).load()
    assert [entry["event"] for entry in logs][1:] == ["calibration will not be saved: state.json.old is in the way"]
    assert old.read_bytes() == b"a letter"
    assert path.exists()


def test_a_link_at_a_guessed_temporary_name_is_not_written_through(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "state.json"
    victim.write_bytes(b"precious")
    (tmp_path / f"state.json.{os.getpid()}.part").symlink_to(victim)
    assert _save_at(path) == []
    assert victim.read_bytes() == b"precious"
    assert path.read_bytes().startswith(b'{"format":"midcut-calibration/1"')


def test_a_disk_that_is_full_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    assert _save_at(path) == []
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", _no_space)
    assert _save_at(path)[-1:] == ["calibration cannot be saved"]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def _no_space(_):
    raise OSError(errno.ENOSPC, "No space left on device")


def _save_at(path):
    """Load and save a calibration with a sample there; returns the warnings."""
    world = World()
    world.ask(3)
    store = CalibrationStore(world.calibration, str(path), BASED_ON)
    with capture_logs() as logs:
        store.load()
        world.ask(3)
        store.save(now=True)
        store.save(now=True)
    return [entry["event"] for entry in logs if entry["log_level"] == "warning"]


@pytest.mark.parametrize("seconds", [1.7e308, 1e300, float("inf"), float("nan"), -1.0])
def test_seconds_that_cannot_be_leave_a_line_that_can(seconds):
    window = SampleWindow(Prior(1.0, 0.0003, 0.001, 1000.0), 9, 60.0)
    window.extend([Sample(0.01, seconds, 0.0)] * 6)
    assert all(math.isfinite(number) for number in window.line(0.0))


def test_a_file_of_another_model_or_profile_is_not_used(tmp_path):
    path = tmp_path / "state.json"
    world = World()
    world.throttle = 2.5
    for _ in range(9):
        world.ask(3)
    world.plan()
    CalibrationStore(world.calibration, str(path), BASED_ON).save(now=True)
    again = World()
    with capture_logs() as logs:
        CalibrationStore(again.calibration, str(path), BASED_ON | {"model": "chain 1-1"}).load()
    assert [(one["log_level"], one["differing"]) for one in logs] == [("warning", "model")]
    assert again.plan().uncorrected is None


def with_other_seconds_of_the_cloud(policy, source, factor=1.0):
    """The same policy with placements of its own, as an edge builds one when a profile arrives."""
    cloud = SimpleNamespace(needs=frozenset(), seconds=lambda _: CLOUD_S * factor, based_on=source)
    return Policy(replace(PLACED), policy.edge, policy.link, cloud, policy.cost, policy.planner)


def test_a_profile_in_place_of_an_estimate_takes_the_samples_of_its_part_away():
    world = World()
    world.policy = with_other_seconds_of_the_cloud(world.policy, "an estimate", 1 / 3)
    world.plan()
    world.throttle = 2.0
    for _ in range(7):
        world.ask(1)
    world.plan()
    assert world.part("cloud")["ratio"] == pytest.approx(3.0, rel=0.05)
    edge = world.part("edge")
    assert edge["samples"]
    world.policy = with_other_seconds_of_the_cloud(world.policy, "the cloud's own")
    sent_by_the_estimate = world.decision
    world.plan()
    assert world.part("cloud")["samples"] == 0
    assert world.part("edge")["ratio"] == pytest.approx(edge["ratio"], rel=0.01)
    assert world.decision.forecast.cloud_s == pytest.approx(CLOUD_S)
    world.decision = sent_by_the_estimate  # a request that was under way
    world.ask(1)
    world.plan()
    assert world.part("cloud")["samples"] == 0
    assert world.part("edge")["samples"] == edge["samples"] + 1
    world.ask(1)
    world.plan()
    assert world.part("cloud")["samples"] == 1


def test_a_restart_keeps_what_was_learnt_of_the_parts_whose_seconds_have_the_same_source(tmp_path):
    world, path = World(), str(tmp_path / "state.json")
    world.policy = with_other_seconds_of_the_cloud(world.policy, "an estimate")
    world.plan()
    store = CalibrationStore(world.calibration, path, BASED_ON, world.policy.based_on)
    world.policy = with_other_seconds_of_the_cloud(world.policy, "the cloud's own")
    world.plan()
    world.throttle = world.busy = 2.5
    for _ in range(9):
        world.ask(1)
    world.plan()
    store.save(now=True)
    counts = {}
    for source in ("the cloud's own", "an estimate"):
        again = World()
        CalibrationStore(again.calibration, path, BASED_ON, {"cloud": source}).load()
        counts[source] = {name: again.part(name)["samples"] for name in ("edge", "cloud")}
    assert counts == {"the cloud's own": {"edge": 9, "cloud": 9}, "an estimate": {"edge": 9, "cloud": 0}}


def test_what_has_not_changed_is_not_written_again(tmp_path):
    path = tmp_path / "state.json"
    world = World()
    world.ask(3)
    store = CalibrationStore(world.calibration, str(path), BASED_ON)
    store.save(now=True)
    path.unlink()
    store.save(now=True)
    assert not path.exists()
    world.ask(3)
    store.save(now=True)
    assert path.exists()


def test_a_folder_that_is_not_there_is_said_once_and_costs_nothing(tmp_path):
    store = CalibrationStore(World().calibration, str(tmp_path / "none" / "state.json"), BASED_ON)
    with capture_logs() as logs:
        store.load()
        store.save(now=True)
        store.save(now=True)
    assert [one["event"] for one in logs] == ["calibration cannot be saved"]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(0.0, 50.0), st.floats(0.0, 50.0), st.floats(0.0, 50.0)), max_size=40
    ),
    st.floats(0.0, 500.0),
)
def test_whatever_is_measured_a_forecast_stays_one_that_planners_accept(asked, pause_s):
    world = World()
    for cut, edge_s, link_s, cloud_s in asked:
        sent = {} if cut == 3 else {"link_s": link_s, "cloud_s": cloud_s}
        world.ask(cut, edge_s=edge_s, **sent)
        forecast = world.plan()
        for part in (forecast.edge_s, forecast.link_s, forecast.cloud_s, forecast.cost_usd):
            assert np.isfinite(part).all()
            assert (part >= 0.0).all()
        assert forecast.cloud_s[3] == 0.0
    world.now_s += 400.0 + pause_s
    assert world.plan().uncorrected is None
