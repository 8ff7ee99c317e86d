"""`/metrics` of an edge, as Prometheus reads it."""

from __future__ import annotations

import asyncio
from importlib import metadata

import aiohttp
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from midcut.config.settings import InputServer
from midcut.edge.assembly import CombinedObserver
from midcut.edge.frontend.server import make_app
from midcut.serving import serve
from midcut.serving.metrics import EdgeMetrics, labelled, new_registry
from midcut.types import Decision, InferenceResult, Observation, Placement


def samples(text):
    return {
        f"{sample.name}{''.join(sorted(sample.labels.values()))}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def decided(cut, codec="raw", held=""):
    return Decision(Placement(cut, codec), 0, held, 0.25, Observation(bandwidth_kbps=5000.0, ping_ms=20.0))


PREDICTED = {"edge_s": 0.002, "link_s": 0.04, "cloud_s": 0.003, "latency_s": 0.045}


def answered(cut, *, fallback="", cost_usd=0.0, sent_bytes=0, predicted=None):
    return InferenceResult(
        request_id="x",
        output=None,
        cut=cut,
        finished_by="edge" if fallback else "cloud",
        fallback=fallback,
        edge_s=0.002,
        link_s=0.03,
        cloud_s=0.004,
        latency_s=0.036,
        cost_usd=cost_usd,
        sent_bytes=sent_bytes,
        predicted=predicted or {},
    )


async def test_an_edge_tells_what_it_decided_what_it_answered_and_what_that_cost(make_engine, tiny_model):
    engine, metrics = make_engine(), EdgeMetrics(new_registry())
    metrics.show_breakers(lambda: {"http://a": "closed", "http://b": "half_open", "http://c": "open"})
    observers = CombinedObserver(metrics, metrics)  # told twice
    for decision in (decided(4), decided(4), decided(9, held="the cloud is away"), decided(4, "fp16")):
        metrics.decided(decision)
    observers.inferred(answered(4, cost_usd=0.25, sent_bytes=100))
    metrics.inferred(answered(4, predicted=PREDICTED))
    metrics.inferred(answered(4, fallback="the cloud is away", cost_usd=0.5))
    settings = InputServer(port=0)
    bound, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
    await engine.start()
    app = make_app(engine, tiny_model, settings, metrics.registry)
    task = asyncio.create_task(serve(app, settings, bound.set_result, stop))
    async with aiohttp.ClientSession(await bound) as session, session.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        found = samples(await response.text())
    stop.set()
    await task
    await engine.close()
    expected = {
        "midcut_edge_decisions_totalno": 3,
        "midcut_edge_decisions_totalyes": 1,
        "midcut_edge_switches_total": 2,
        "midcut_edge_cut": 4,
        "midcut_edge_codecfp16": 1,
        "midcut_edge_weight": 0.25,
        "midcut_edge_inferences_totalcloud": 3,
        "midcut_edge_inferences_totaledge": 1,
        "midcut_edge_fallbacks_total": 1,
        "midcut_edge_latency_seconds_count": 4,
        "midcut_edge_part_seconds_sumlink": pytest.approx(0.12),
        "midcut_edge_cost_usd_total": 1.0,
        "midcut_edge_sent_bytes_total": 200,
        "midcut_edge_breakerclosedhttp://a": 1,
        "midcut_edge_breakerhttp://aopen": 0,
        "midcut_edge_breakerhalf_openhttp://b": 1,
        "midcut_edge_breakerhttp://copen": 1,
        "midcut_edge_bandwidth_bits_per_second": 5e6,
        "midcut_edge_ping_seconds": pytest.approx(0.02),
        "midcut_edge_clock_hertz": None,
        "midcut_edge_predicted_seconds_totallatency": pytest.approx(0.045),
        "midcut_edge_measured_seconds_totallatency": pytest.approx(0.036),
        "midcut_edge_prediction_error_ratio_count": 1,
        "midcut_edge_prediction_error_ratio_sum": pytest.approx(0.25),
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "midcut_edge_codecraw" not in found


def test_every_metric_of_an_edge_names_its_model_and_the_process_its_versions():
    registry = new_registry()
    metrics = EdgeMetrics(registry, "alexnet")
    metrics.show_breakers(lambda: {"http://a": "open"})
    metrics.decided(decided(4))
    metrics.inferred(answered(4, predicted=PREDICTED))
    text = generate_latest(labelled(registry, replica="r1")).decode()
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    edge = [sample for sample in found if sample.name.startswith("midcut_edge_")]
    assert len(edge) > 30
    assert {sample.labels["model"] for sample in edge} == {"alexnet"}
    assert {sample.labels["replica"] for sample in found} == {"r1"}
    (build,) = (sample for sample in found if sample.name == "midcut_build_info")
    assert build.labels["version"] == metadata.version("midcut")
