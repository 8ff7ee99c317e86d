"""A running edge that finds out what its predictors do not know."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import aiohttp
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from midcut.config.settings import CalibrationSettings, InputServer
from midcut.edge.calibration.calibration import Calibration
from midcut.edge.frontend.server import make_app
from midcut.serving import serve
from midcut.serving.metrics import EdgeMetrics, new_registry
from midcut.testing import LoopbackTransport, TorchExecutor
from midcut.types import Placement

# Cuts 4 and 9: 0 and 10 ms at the edge by the predictor; sending takes 1 s at 1 Mbit/s: here 100 ms, or 20 ms.
NEAR, NEARER = ({"bandwidth_kbps": kbps, "clock_mhz": 1000.0} for kbps in (10_000.0, 50_000.0))
SENT, HERE = Placement(4), Placement(9)


class Throttled(TorchExecutor):
    """Takes as long as the predictor says (10 ms for the whole, nothing for the first cut), times a factor.

    It states that time, and not what a busy machine makes of it.
    """

    def __init__(self, partition):
        self.factor = 1.0
        self.is_ready = True
        self._whole_s = 0.01
        self._last = partition.table.last

    def run(self, segment):
        started = time.perf_counter()
        with torch.inference_mode():
            values = segment()
        whole = segment.args[:2] == (0, self._last)  # the whole model, of (start, stop)
        takes_s = self._whole_s * self.factor if whole else 0.0
        time.sleep(max(takes_s - (time.perf_counter() - started), 0.0))
        return values, takes_s

    def ready(self, network, start, stop):  # noqa: ARG002
        return self.is_ready

    def close(self):
        pass


@pytest.fixture
def device(tiny):
    return Throttled(tiny)


async def planned(b):
    """The next planning step that began after now."""
    seen = len(b.watch.decisions)
    await b.until(lambda: len(b.watch.decisions) >= seen + 2)
    return b.engine.decision


async def asked(b, tiny_model, times, placement=None):
    return [await b.engine.infer(tiny_model.example, placement=placement) for _ in range(times)]


def off_by(decision, results):
    """Of the whole on the edge."""
    measured_s = float(np.median([result.edge_s for result in results]))
    return abs(decision.forecast.edge_s[decision.forecast.find(HERE)] / measured_s - 1.0)


async def test_a_throttled_edge_is_left_within_ten_requests_and_tried_again(bench, device, tiny_model):
    ahead_s = 0.0
    calibration = Calibration(CalibrationSettings(), lambda: time.monotonic() + ahead_s)
    async with bench(executor=device, script=[NEARER], legal=(4, 9), calibration=calibration) as b:
        assert b.engine.decision.placement == HERE  # 10 ms against 20 ms
        device.factor = 2.5
        slow = []
        while b.engine.decision.placement == HERE and len(slow) < 40:
            slow += await asked(b, tiny_model, 1)
        assert len(slow) <= 10
        assert off_by(await planned(b), slow) < 0.05
        device.factor = 1.0
        ahead_s = 1000.0
        await b.until(lambda: b.engine.decision.placement == HERE)  # forgotten


async def test_surprises_are_learnt_without_waiting_for_the_next_planning_step(bench, device, tiny_model):
    calibration = Calibration(CalibrationSettings())
    given = {"script": [NEARER], "legal": (4, 9), "interval_s": 600.0}
    async with bench(executor=device, calibration=calibration, **given) as b:
        device.factor = 2.5
        await asked(b, tiny_model, 10)
        await b.until(lambda: b.engine.decision.placement == SENT)
    assert len(b.watch.decisions) < 10


async def test_comparing_cuts_teaches_too_and_the_predictors_word_is_kept(bench, device, tiny_model):
    calibration = Calibration(CalibrationSettings())
    device.factor = 2.5
    async with bench(executor=device, script=[NEARER], legal=(4, 9), calibration=calibration) as b:
        results = await asked(b, tiny_model, 10, HERE)
        decision = await planned(b)
    assert off_by(decision, results) < 0.05
    forecast = decision.forecast
    assert forecast.uncorrected.edge_s.tolist() == [0.0, 0.01]
    assert forecast.cost_usd[1] == pytest.approx(forecast.edge_s[1])
    # What a later request is told to expect is the corrected row.
    assert results[0].predicted["edge_s"] == 0.01


async def test_the_overhead_of_an_exchange_is_learnt(bench, device, tiny_model):
    calibration = Calibration(CalibrationSettings())
    async with bench(executor=device, script=[NEAR], legal=(4, 9), calibration=calibration) as b:
        # The loopback cloud answers at once what should take 100 ms.
        results = await asked(b, tiny_model, 18, SENT)
        forecast = (await planned(b)).forecast
    assert forecast.uncorrected.link_s[0] == pytest.approx(0.1)
    whole_s = [result.latency_s - result.edge_s - result.cloud_s for result in results]
    assert min(whole_s) - 0.005 <= forecast.link_s[0] <= max(whole_s) + 0.005
    assert forecast.link_s[1] == 0.0


async def test_a_batch_is_answered_and_teaches_nothing(bench, device, tiny_model):
    calibration = Calibration(CalibrationSettings())
    async with bench(executor=device, script=[NEAR], legal=(4, 9), calibration=calibration) as b:
        for _ in range(5):
            await b.engine.infer([torch.cat([tiny_model.example[0]] * 3)])
        await planned(b)
    assert calibration.state()["parts"]["edge"]["samples"] == 0


def learnt(calibration):
    return {name: part["samples"] for name, part in calibration.state()["parts"].items()}


async def test_what_pytorch_computes_in_place_of_a_runtime_is_not_learnt(bench, device, tiny_model):
    calibration = Calibration(CalibrationSettings())
    async with bench(executor=device, script=[NEARER], legal=(4, 9), calibration=calibration) as b:
        device.is_ready = False
        results = await asked(b, tiny_model, 5, HERE)
        assert {result.stand_in for result in results} == {("edge",)}
        await planned(b)
        assert learnt(calibration)["edge"] == 0
        device.is_ready = True
        results = await asked(b, tiny_model, 5, HERE)
        assert {result.stand_in for result in results} == {()}
        await planned(b)
        assert learnt(calibration)["edge"] == 5


async def test_a_runtime_that_is_not_ready_after_a_minute_is_taken_for_one_that_never_is(bench, device, tiny_model):
    ahead_s = 0.0
    calibration = Calibration(CalibrationSettings(forget_s=None), lambda: time.monotonic() + ahead_s)
    async with bench(executor=device, script=[NEARER], legal=(4, 9), calibration=calibration) as b:
        device.is_ready = False
        await asked(b, tiny_model, 3, HERE)
        await planned(b)
        assert learnt(calibration)["edge"] == 0
        ahead_s = 61.0
        await asked(b, tiny_model, 3, HERE)
        await planned(b)
        assert learnt(calibration)["edge"] == 3


async def test_nor_what_pytorch_computes_so_in_the_cloud(bench, tiny, tiny_model):
    class Young(LoopbackTransport):
        async def infer(self, request):
            return replace(await super().infer(request), stand_in=True)

    calibration = Calibration(CalibrationSettings())
    given = {"transport": Young(tiny), "script": [NEARER], "legal": (4, 9)}
    async with bench(calibration=calibration, **given) as b:
        results = await asked(b, tiny_model, 5, SENT)
        await planned(b)
    assert {result.stand_in for result in results} == {("cloud",)}
    assert learnt(calibration) == {"edge": 0, "link": 5, "cloud": 0, "here": 0}


async def test_without_calibration_forecasts_stay_the_predictors_own(bench, device, tiny_model):
    device.factor = 2.5
    async with bench(executor=device, script=[NEARER], legal=(4, 9)) as b:
        await asked(b, tiny_model, 10)
        decision = await planned(b)
    assert decision.placement == HERE
    assert decision.forecast.uncorrected is None
    assert decision.forecast.edge_s.tolist() == [0.0, 0.01]


@asynccontextmanager
async def listening(b, tiny_model, registry=None):
    bound, stop, given = asyncio.get_running_loop().create_future(), asyncio.Event(), InputServer(port=0)
    task = asyncio.create_task(serve(make_app(b.engine, tiny_model, given, registry), given, bound.set_result, stop))
    async with aiohttp.ClientSession(await bound, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session
    stop.set()
    await task


async def test_what_was_learnt_can_be_seen_and_forgotten_over_http(bench, device, tiny_model):
    calibration, metrics, began = Calibration(CalibrationSettings()), EdgeMetrics(new_registry()), time.monotonic()
    metrics.show_calibration(calibration.state)
    device.factor = 2.5
    async with bench(executor=device, script=[NEARER], legal=(4, 9), calibration=calibration) as b:
        await asked(b, tiny_model, 9, HERE)
        await planned(b)
        async with listening(b, tiny_model, metrics.registry) as session:
            async with session.get("/v1/calibration") as response:
                seen = await response.json()
            async with session.get("/metrics") as response:
                families = text_string_to_metric_families(await response.text())
                gauges = {
                    (sample.name, sample.labels["part"]): sample.value
                    for family in families
                    for sample in family.samples
                    if "calibration" in sample.name
                }
            async with session.delete("/v1/calibration") as response:
                forgotten = await response.json()
        decision = await planned(b)
    assert (seen["enabled"], seen["window"], seen["forget_s"]) == (True, 9, 60.0)
    edge = seen["parts"]["edge"]
    assert edge["ratio"] * 0.01 + edge["offset_s"] == pytest.approx(0.025, rel=0.05)
    assert (edge["samples"], seen["parts"]["link"]["samples"]) == (9, 0)
    assert 0.0 <= edge["age_s"] < time.monotonic() - began
    assert gauges["midcut_edge_calibration_ratio", "edge"] == pytest.approx(edge["ratio"], rel=0.01)
    assert gauges["midcut_edge_calibration_offset_seconds", "link"] == 0.0
    assert gauges["midcut_edge_calibration_samples", "edge"] == 9.0
    assert forgotten["parts"]["edge"] == {"ratio": 1.0, "offset_s": 0.0, "samples": 0, "age_s": None}
    assert decision.forecast.uncorrected is None


async def test_an_edge_without_calibration_says_so(bench, tiny_model):
    async with bench() as b, listening(b, tiny_model) as session:
        for method in ("GET", "DELETE"):
            async with session.request(method, "/v1/calibration") as response:
                assert (response.status, await response.json()) == (200, {"enabled": False})
