from __future__ import annotations

import asyncio
import threading
import time

import pytest
import structlog

from midcut.config.settings import Fallback
from midcut.edge import planning_loop
from midcut.edge.frontend.answers import decision_fields
from midcut.edge.planning_loop import PlanningLoop
from midcut.errors import ConfigError, TelemetryError

FAST = {"bandwidth_kbps": 1e6, "clock_mhz": 1000.0}  # link 1 ms: cut 0
SLOW = {"bandwidth_kbps": 1.0, "clock_mhz": 1000.0}  # link 1000 s: the last cut


async def test_the_cut_follows_the_link(bench):
    async with bench(script=[FAST, SLOW]) as b:
        assert b.engine.decision.placement.cut == 0
        await b.until(lambda: b.engine.decision.placement.cut == 9)
        assert b.engine.decision.reason.startswith("at w=0 of 10 placements: 0 are faster")
    assert [decision.placement.cut for decision in b.watch.decisions][:1] == [0]


async def test_every_planning_step_is_told_to_observers(bench):
    async with bench() as b:
        await b.until(lambda: len(b.watch.decisions) >= 3)
    assert all(decision.forecast is not None for decision in b.watch.decisions)


async def test_a_move_is_logged_with_what_it_was_made_on(bench):
    with structlog.testing.capture_logs() as logs:
        async with bench(script=[FAST, SLOW]) as b:
            await b.until(lambda: b.engine.decision.placement.cut == 9)
            await b.until(lambda: sum(entry["event"] == "cut stays" for entry in logs) >= 2)
    first = next(entry for entry in logs if entry["event"] == "first cut")
    assert first["log_level"] == "info"
    assert first["observation"] == {"clock_mhz": 1000.0, "bandwidth_kbps": 1e6, "ping_ms": None}
    # 1000 Mbit/s over weight 1: the link takes 1 ms. Cut 1 is next, 10 ms of edge on top.
    assert first["chosen"]["latency_s"] == pytest.approx(0.001)
    assert (first["runner_up"]["cut"], first["runner_up"]["latency_s"]) == (1, pytest.approx(0.011))
    move = next(entry for entry in logs if entry["event"] == "cut moves")
    assert (move["was"], move["cut"]) == ("cut 0", 9)
    assert move["reason"].startswith("at w=0 of 10 placements: 0 are faster")
    assert all(entry["log_level"] == "debug" for entry in logs if entry["event"] == "cut stays")


@pytest.mark.parametrize(("fallback", "cut"), [(Fallback.edge, 9), (Fallback.cloud, 0), (Fallback.hold, 9)])
async def test_without_telemetry_the_fallback_runs_and_says_what_is_missing(bench, fallback, cut):
    async with bench(script=[TelemetryError("cable cut")], fallback=fallback) as b:
        decision = b.engine.decision
    assert decision.placement.cut == cut
    assert decision.forecast is None
    assert decision.index == -1
    assert decision.reason.startswith(f"fallback {fallback.value}: no bandwidth_kbps: ")
    assert "cable cut" in decision.reason


async def test_hold_keeps_the_cut_when_a_value_grows_too_old(bench):
    async with bench(script=[FAST, {"clock_mhz": 1000.0}], fallback=Fallback.hold, max_age_s=0.2) as b:
        await b.until(lambda: b.engine.decision.forecast is None)
        assert b.engine.decision.placement.cut == 0
        assert "over max_age_s=0.2" in b.engine.decision.reason


async def test_losing_and_regaining_the_telemetry_is_logged_also_where_the_cut_stays(bench):
    with structlog.testing.capture_logs() as logs:
        async with bench(script=[SLOW, {}], max_age_s=0.1) as b:
            await b.until(lambda: b.engine.decision.forecast is None)
            assert b.engine.decision.placement.cut == 9
            b.telemetry._script = [SLOW]
            await b.until(lambda: b.engine.decision.forecast is not None)
    events = [entry["event"] for entry in logs if entry["event"].startswith("planning")]
    assert events == ["planning stopped", "planning resumed", "planning ended"]


async def test_it_falls_back_within_the_legal_cuts(bench):
    async with bench(script=[TelemetryError("no")], legal=(2, 3, 5)) as b:
        assert b.engine.decision.placement.cut == 5


async def test_a_planner_that_raises_costs_a_fallback_and_no_more(bench):
    async with bench() as b:
        good = b.policy.planner

        class Broken:
            w = 0.5

            def choose(self, forecast, w):  # noqa: ARG002
                raise ZeroDivisionError("in a stranger's planner")

        b.policy.planner = Broken()
        await b.until(lambda: b.engine.decision.forecast is None)
        assert "ZeroDivisionError: in a stranger's planner" in b.engine.decision.reason
        b.policy.planner = good
        await b.until(lambda: b.engine.decision.forecast is not None)


async def test_a_slow_planner_blocks_no_inference(bench, tiny_model):
    async with bench() as b:
        planning, go_on = threading.Event(), threading.Event()
        choose = b.policy.planner.choose

        def slow(forecast, w):
            planning.set()
            go_on.wait(60)
            return choose(forecast, w)

        b.policy.planner.choose = slow
        await b.until(planning.is_set)
        for _ in range(5):
            await b.engine.infer(tiny_model.example)
        assert not go_on.is_set()  # five answers while one planning step was under way
        go_on.set()


async def test_a_planner_that_hangs_does_not_keep_the_edge_from_ending(bench, monkeypatch):
    monkeypatch.setattr(planning_loop, "_LAST_STEP_S", 0.05)
    planning, go_on = threading.Event(), threading.Event()

    def hang(_forecast, _w):
        planning.set()
        go_on.wait()
        raise AssertionError("nobody waits for it")

    async with bench() as b:
        b.policy.planner.choose = hang
        await b.until(planning.is_set)
    (left,) = [thread for thread in threading.enumerate() if thread.name.startswith("planning")]
    assert left.daemon  # Python waits for others before it exits
    go_on.set()
    left.join(60)


async def test_events_do_not_put_periodic_steps_off(bench):
    """The dwell of a cut is counted in periodic steps."""
    async with bench() as b:
        periodic_steps, step = [], b.planning.step

        async def step_and_ask_for_another(*, periodic=False):
            periodic_steps.append(periodic)
            b.planning._step_requested.set()
            return await step(periodic=periodic)

        b.planning.step = step_and_ask_for_another
        await b.until(lambda: sum(periodic_steps) >= 3)  # there were none as long as events came


async def test_no_legal_cut_is_a_config_error(bench):
    async with bench() as b:
        empty = b.policy
        empty.placements = type(empty.placements)(
            **{name: getattr(empty.placements, name) for name in ("model", "nodes", "layers")},
            **{
                name: getattr(empty.placements, name)[:0]
                for name in ("cut", "layer", "payload_bytes", "request_bytes", "reply_bytes", "on_edge")
            },
        )
        with pytest.raises(ConfigError, match="no cut is legal"):
            PlanningLoop(empty, b.hub, b.settings, b.watch)


async def test_closing_ends_the_loop(bench):
    async with bench() as b:
        pass
    count = len(b.watch.decisions)
    await asyncio.sleep(0.1)
    assert len(b.watch.decisions) == count
    assert b.telemetry.closed


async def test_a_planner_that_knows_no_runner_up_still_decides(bench):
    class Once:
        """Chooses among all ten placements, and fails where one is left out."""

        w = 0.0

        def choose(self, forecast, w):  # noqa: ARG002
            if len(forecast) < 10:
                raise ZeroDivisionError("only nine")
            return 3

    async with bench() as b:
        b.policy.planner = Once()
        await b.until(lambda: b.engine.decision.placement.cut == 3)
        assert b.engine.decision.forecast is not None


async def test_an_observer_or_a_hub_that_raises_does_not_end_the_loop(bench):
    async with bench() as b:
        observe, b.hub.observe = b.hub.observe, None  # not callable
        with structlog.testing.capture_logs() as logs:
            await b.until(lambda: any(entry["event"] == "planning step failed" for entry in logs))
        b.hub.observe = observe
        count = len(b.watch.decisions)
        await b.until(lambda: len(b.watch.decisions) > count)


async def test_observers_of_decisions_run_beside_the_event_loop(bench):
    names = set()
    async with bench() as b:
        b.watch.decided = lambda _: names.add(threading.current_thread().name)
        await b.until(lambda: names)
    assert names == {"planning_0"}


async def test_every_step_is_logged_with_how_old_its_values_are(bench):
    began = time.perf_counter()
    with structlog.testing.capture_logs() as logs:
        async with bench() as b:
            await b.until(lambda: sum(entry["event"] == "cut stays" for entry in logs) >= 2)
            assert set(decision_fields(b.engine.decision)["observation"]["age_s"]) == {"clock_mhz", "bandwidth_kbps"}
    stays = next(entry for entry in logs if entry["event"] == "cut stays")
    assert set(stays["age_s"]) == {"clock_mhz", "bandwidth_kbps"}
    assert 0.0 <= stays["age_s"]["clock_mhz"] < time.perf_counter() - began
    assert {"observation", "chosen", "runner_up", "reason"} <= set(stays)
