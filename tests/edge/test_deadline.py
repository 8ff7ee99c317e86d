"""Requests with a deadline: who finishes, and that somebody always does."""

from __future__ import annotations

import asyncio
import threading

import pytest
import structlog
import torch

from midcut.edge.tails import TailTimes
from midcut.testing import LoopbackTransport, TorchExecutor

ALWAYS = (4,)


class Gated(TorchExecutor):
    """An executor whose tails wait for a gate."""

    def __init__(self):
        self.runs, self.gate, self.begun = 0, threading.Event(), threading.Event()

    def run(self, segment):
        self.runs += 1
        if self.runs > 2:  # after the warm-up and the head
            self.begun.set()
            assert self.gate.wait(60)
        with torch.inference_mode():
            return segment(), 0.001

    def close(self): ...


def whole(tiny_model):
    with torch.inference_mode():
        return tiny_model.module(*tiny_model.example)


@pytest.mark.parametrize("settings", [{"deadline_s": 1.0}, {}])
async def test_a_cloud_that_does_not_answer_is_not_waited_for_beyond_the_deadline(
    bench, held_cloud, tiny_model, settings
):
    async with bench(legal=ALWAYS, transport=held_cloud, **settings) as b:
        own = None if settings else 1.0
        result = await b.engine.infer(tiny_model.example, deadline_s=own)
    assert torch.equal(result.output, whole(tiny_model))
    assert result.finished_by == "edge"
    assert result.fallback.startswith("no answer ")
    assert result.edge_s + result.link_s <= result.latency_s
    assert 0.0 < held_cloud.asked[0].timeout_s <= 1.0  # the cloud is told, too


async def test_a_cloud_that_answers_in_time_is_used(bench, tiny_model):
    async with bench(legal=ALWAYS, deadline_s=30.0) as b:
        result = await b.engine.infer(tiny_model.example)
    assert (result.finished_by, result.fallback) == ("cloud", "")
    assert torch.equal(result.output, whole(tiny_model))


async def test_the_first_of_both_counts_when_the_time_is_short(bench, held_cloud, tiny_model):
    executor = Gated()
    async with bench(legal=ALWAYS, transport=held_cloud, executor=executor) as b:
        b.engine._tails._times.record(0, 60.0)  # so that it begins here after 0.5 s, and the cloud still has 75
        asking = asyncio.create_task(b.engine.infer(tiny_model.example, deadline_s=75.5))
        assert await asyncio.to_thread(executor.begun.wait, 60)  # the tail has begun here
        held_cloud.go_on.set()
        result = await asking
        executor.gate.set()
    assert (result.finished_by, result.fallback) == ("cloud", "")
    assert torch.equal(result.output, whole(tiny_model))


class Failing(TorchExecutor):
    """An executor whose tails fail, though it has begun well."""

    def __init__(self):
        self.runs, self.failed = 0, threading.Event()

    def run(self, segment):
        self.runs += 1
        if self.runs > 2:  # after the warm-up and the head
            self.failed.set()
            raise MemoryError("cannot allocate 400 MB")
        with torch.inference_mode():
            return segment(), 0.001

    def close(self): ...


async def test_where_the_tail_fails_here_the_answer_of_the_cloud_is_waited_for(bench, held_cloud, tiny_model):
    executor = Failing()
    async with bench(legal=ALWAYS, transport=held_cloud, executor=executor, give_up_factor=1e-6) as b:
        asking = asyncio.create_task(b.engine.infer(tiny_model.example))
        assert await asyncio.to_thread(executor.failed.wait, 60)
        await asyncio.sleep(0.01)
        held_cloud.go_on.set()
        result = await asking
    assert (result.finished_by, result.fallback) == ("cloud", "")
    assert torch.equal(result.output, whole(tiny_model))


async def test_where_both_fail_the_error_here_is_told(bench, held_cloud, tiny_model):
    executor = Failing()
    async with bench(legal=ALWAYS, transport=held_cloud, executor=executor, give_up_factor=1e-6) as b:
        asking = asyncio.create_task(b.engine.infer(tiny_model.example))
        assert await asyncio.to_thread(executor.failed.wait, 60)
        held_cloud.up = False
        held_cloud.go_on.set()
        with pytest.raises(MemoryError, match="400 MB"):
            await asking


async def test_where_an_answer_cannot_be_computed_again_it_is_used_and_the_cloud_is_not_to_blame(bench, tiny_model):
    async with bench(legal=ALWAYS, executor=Failing(), recheck="1", retry_after_s=60.0) as b:
        with structlog.testing.capture_logs() as logs:
            result = await b.engine.infer(tiny_model.example)
        assert b.clouds.why == ""
    assert (result.finished_by, result.fallback) == ("cloud", "")
    (line,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert (line["event"], line["reason"]) == (
        "an answer could not be computed again",
        "MemoryError: cannot allocate 400 MB",
    )


async def test_a_cloud_that_fails_at_once_is_finished_for_at_once(bench, tiny, tiny_model):
    transport = LoopbackTransport(tiny)
    transport.up = False
    async with bench(legal=ALWAYS, transport=transport, deadline_s=30.0) as b:
        result = await b.engine.infer(tiny_model.example)
    assert (result.finished_by, result.fallback) == ("edge", "the loopback cloud is switched off")


async def test_a_deadline_that_is_over_already_still_gets_its_answer(bench, held_cloud, tiny_model):
    async with bench(legal=ALWAYS, transport=held_cloud) as b:
        result = await b.engine.infer(tiny_model.example, deadline_s=1e-9)
    assert torch.equal(result.output, whole(tiny_model))
    assert (result.finished_by, held_cloud.asked) == ("edge", [])
    assert result.fallback == "the deadline was over before the cloud was asked"


async def test_a_deadline_too_short_for_the_edge_leaves_the_time_to_the_cloud(bench, held_cloud, tiny_model):
    async with bench(legal=ALWAYS, transport=held_cloud) as b:
        b.engine._tails._times.record(0, 600.0)  # the tail would take ten minutes here
        asking = asyncio.create_task(b.engine.infer(tiny_model.example, deadline_s=60.0))
        await b.until(lambda: held_cloud.asked)
        held_cloud.go_on.set()
        assert (await asking).finished_by == "cloud"


async def test_a_request_given_up_gives_up_the_cloud_too(bench, held_cloud, tiny_model):
    async with bench(legal=ALWAYS, transport=held_cloud) as b:
        asking = asyncio.create_task(b.engine.infer(tiny_model.example, deadline_s=60.0))
        await b.until(lambda: held_cloud.asked)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await b.until(lambda: not b.engine._tails._background)


def test_tails_are_estimated_by_the_slowest_seen_from_there_or_before():
    times = TailTimes()
    assert times.seconds(3) == 0.0
    times.record(0, 1.0)
    assert times.seconds(3) == pytest.approx(1.252)
    times.record(2, 0.4)
    assert times.seconds(3) == pytest.approx(0.502)
    assert times.seconds(1) == pytest.approx(1.252)
    times.record(2, 0.2)  # it fades: 0.9 * 0.4 + 0.1 * 0.2
    assert times.seconds(2) == pytest.approx(1.25 * 0.38 + 0.002)


async def test_a_cloud_that_takes_longer_than_was_predicted_is_given_up(bench, held_cloud, tiny_model):
    async with bench(legal=ALWAYS, transport=held_cloud, give_up_factor=1.5) as b:
        decision = b.engine.decision
        predicted_s = float((decision.forecast.link_s + decision.forecast.cloud_s)[decision.index])
        result = await asyncio.wait_for(b.engine.infer(tiny_model.example), 60.0)
    assert torch.equal(result.output, whole(tiny_model))
    assert result.finished_by == "edge"
    assert result.fallback.startswith("no answer ")
    assert result.link_s >= 1.5 * predicted_s * 0.99


async def test_a_cloud_that_answers_as_predicted_is_not_given_up(bench, tiny_model):
    async with bench(legal=ALWAYS, give_up_factor=1e6) as b:
        result = await b.engine.infer(tiny_model.example)
    assert (result.finished_by, result.fallback) == ("cloud", "")
