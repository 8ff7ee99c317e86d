"""`/metrics` of an edge, as Prometheus reads it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from midcut.config.settings import InputServer
from midcut.edge.assembly import CombinedObserver
from midcut.edge.frontend.server import make_app
from midcut.serving import serve
from midcut.serving.metrics import EdgeMetrics, new_registry
from midcut.types import Decision, InferenceResult, Observation, Placement


def samples(text):
    return {
        f"{sample.name}{''.join(sorted(sample.labels.values()))}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def decided(cut, codec="raw", held=""):
    return Decision(Placement(cut, codec), 0, held, 0.25, Observation())


def answered(cut, *, fallback="", cost_usd=0.0, sent_bytes=0):
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
        predicted={},
    )


async def test_an_edge_tells_what_it_decided_what_it_answered_and_what_that_cost(make_engine, tiny_model):
    engine, metrics = make_engine(), EdgeMetrics(new_registry())
    metrics.show_breakers(lambda: {"http://a": "closed", "http://b": "half_open", "http://c": "open"})
    observers = CombinedObserver(metrics, metrics)  # told twice
    for decision in (decided(4), decided(4), decided(9, held="the cloud is away"), decided(4, "fp16")):
        metrics.decided(decision)
    observers.inferred(answered(4, cost_usd=0.25, sent_bytes=100))
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
        "midcut_edge_inferences_totalcloud": 2,
        "midcut_edge_inferences_totaledge": 1,
        "midcut_edge_fallbacks_total": 1,
        "midcut_edge_latency_seconds_count": 3,
        "midcut_edge_part_seconds_sumlink": pytest.approx(0.09),
        "midcut_edge_cost_usd_total": 1.0,
        "midcut_edge_sent_bytes_total": 200,
        "midcut_edge_breakerhttp://a": 0,
        "midcut_edge_breakerhttp://b": 1,
        "midcut_edge_breakerhttp://c": 2,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "midcut_edge_codecraw" not in found
