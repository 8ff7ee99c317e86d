"""Metrics, request ids and the end of a server, as a scraper, a reader of logs and a balancer see them."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
import structlog
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from midcut import wire
from midcut.config.settings import ServerSettings
from midcut.serving import DRAIN, REQUEST_ID, Drain, RefusedError, bind_request_id, new_app, serve
from midcut.serving.prometheus import FastHistogramRows
from midcut.testing import TorchExecutor
from midcut.types import TailRequest
from midcut.wire.trace_context import trace_headers


def ask(url, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def scrape(url):
    """Sample -> value, as Prometheus reads them: `name{label=value,...}`."""
    status, text = ask(url, "GET", "/metrics")
    assert status == 200
    samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}"] = sample.value
    return samples


def test_a_cloud_tells_what_it_answered_and_where_the_time_went(running_cloud, tiny, tiny_model):
    body = wire.encode_request(TailRequest("tiny", 4, tiny.table.fingerprint, tiny.head(4, tiny_model.example), "id-1"))
    with running_cloud() as url:
        for _ in range(3):
            assert ask(url, "POST", "/v1/infer", body)[0] == 200
        assert ask(url, "POST", "/v1/infer", b"{}")[0] == 400
        assert ask(url, "PROPFIND", "/coffee")[0] == 404
        samples = scrape(url)
    assert samples["midcut_requests_total{method=POST,route=/v1/infer,status=200}"] == 3
    assert samples["midcut_requests_total{method=POST,route=/v1/infer,status=400}"] == 1
    assert samples["midcut_requests_total{method=other,route=unknown,status=404}"] == 1
    assert samples["midcut_request_seconds_count{route=/v1/infer}"] == 4
    assert samples["midcut_cloud_inferences_total{codec=base64,model=tiny}"] == 3
    for part in ("read", "parse", "queue", "compute", "encode"):
        assert samples[f"midcut_cloud_part_seconds_count{{part={part}}}"] == 3
    parts_s = sum(samples[f"midcut_cloud_part_seconds_sum{{part={part}}}"] for part in ("parse", "compute", "encode"))
    assert 0.0 < parts_s < samples["midcut_request_seconds_sum{route=/v1/infer}"]
    assert samples["midcut_cloud_waiting{}"] == 0
    assert samples["midcut_requests_in_flight{}"] == 1  # the scrape
    assert samples["process_resident_memory_bytes{}"] > 1e7


def test_a_stranger_cannot_make_labels(running_cloud):
    with running_cloud() as url:
        ask(url, "GET", "/metrics")
        before = set(scrape(url))
        for number in range(20):
            ask(url, ("GET", "MKCOL", "PROPFIND", "LOCK")[number % 4], f"/path/{number}")
        after = set(scrape(url)) - before
    assert {re.sub(r"_(bucket|total|count|sum|created).*", "", name) for name in after} <= {
        "midcut_requests",
        "midcut_request_seconds",
    }
    assert len(after) < 25


def small_app(settings=None):
    app = new_app(1000, settings or ServerSettings())

    async def work(request):
        if request.query.get("id"):
            bind_request_id(request, request.query["id"])
        if request.query.get("refuse"):
            raise RefusedError(409, "not today", {"X-Why": "tired"})
        await asyncio.sleep(float(request.query.get("wait", 0)))
        structlog.get_logger("test").info("worked")
        return web.json_response({"id": request[REQUEST_ID]})

    app.router.add_get("/work", work)
    return app


async def start(app, settings=None):
    bound, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
    task = asyncio.create_task(serve(app, settings or ServerSettings(port=0), bound.set_result, stop))
    return await bound, stop, task


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({"X-Request-Id": "from-the-proxy.1"}, "", "from-the-proxy.1"),
        ({"X-Request-Id": "from-the-proxy.1"}, "?id=from-the-body", "from-the-body"),
        ({"X-Request-Id": "not an id\tat all"}, "", "[0-9a-f]{32}"),
        ({"X-Request-Id": "x" * 200}, "", "[0-9a-f]{32}"),
        ({}, "", "[0-9a-f]{32}"),
        ({}, "?id=spoils%0Aa%20log", "[0-9a-f]{32}"),
    ],
)
async def test_the_request_id_stands_in_every_line_of_the_log(headers, query, expected):
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, structlog.testing.LogCapture()])
    logs = structlog.get_config()["processors"][-1].entries
    url, stop, task = await start(small_app())
    async with ClientSession(url) as session:
        async with session.get(f"/work{query}", headers=headers) as response:
            request_id = (await response.json())["id"]
        async with session.get(f"/work{query or '?'}&refuse=1", headers=headers) as response:
            assert (response.status, response.headers["X-Why"]) == (409, "tired")
    stop.set()
    await task
    assert re.fullmatch(expected, request_id)
    worked, refused = [entry for entry in logs if entry["event"] in ("worked", "refused")]
    assert worked["request_id"] == request_id
    assert re.fullmatch(expected, refused["request_id"])
    assert all("request_id" not in entry for entry in logs if entry["event"] == "draining")


async def test_readiness_ends_first_then_new_work_then_what_is_in_flight():
    settings = ServerSettings(port=0, leave_s=1.5, drain_s=60.0)
    app, go_on = small_app(settings), asyncio.Event()

    async def held(_):
        await go_on.wait()
        return web.json_response({})

    app.router.add_get("/held", held)

    async def health(request):
        return web.json_response({}, status=200 if request.app[DRAIN].ready else 503)

    app.router.add_get("/health", health)
    url, stop, task = await start(app, settings)
    async with ClientSession(url) as session:
        long = asyncio.create_task(session.get("/held"))
        assert (await session.get("/health")).status == 200
        stop.set()
        while (await session.get("/health")).status != 503:  # noqa: ASYNC110 - the server is what is waited for
            await asyncio.sleep(0.01)
        assert (await session.get("/work")).status == 200  # leaving: still taken
        while (refused := await session.get("/work")).status == 200:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.1)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        go_on.set()
        assert (await long).status == 200
    await task


def test_a_drain_without_work_is_over_at_once():
    drain = Drain()
    drain.enter()
    drain.leave()
    drain.begin()
    assert drain.idle.is_set()
    with pytest.raises(RefusedError, match="shutting down"):
        drain.enter()


class Held(TorchExecutor):
    """An executor that waits until it may go on, and counts."""

    def __init__(self):
        self.runs, self.begun, self.go_on = 0, threading.Event(), threading.Event()

    def run(self, segment):
        self.runs += 1
        self.begun.set()
        assert self.go_on.wait(60)
        return segment(), 0.5

    def close(self):
        pass


def until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_full_cloud_answers_before_the_body_and_drops_whom_nobody_waits_for(running_cloud, tiny, tiny_model):
    body = wire.encode_request(TailRequest("tiny", 4, tiny.table.fingerprint, tiny.head(4, tiny_model.example), "id-1"))
    header = b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    executor = Held()
    with running_cloud(executor=executor, cloud_settings={"workers": 1, "queue": 1}) as url:
        parts = urlsplit(url)
        first, second, third = [socket.create_connection((parts.hostname, parts.port), timeout=60) for _ in range(3)]
        first.sendall(header % len(body) + body)
        assert executor.begun.wait(60)
        second.sendall(header % len(body) + body)
        until(lambda: scrape(url)["midcut_cloud_waiting{}"] == 1)
        third.sendall(header % len(body))  # and not a byte of the body
        answer = third.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1" in answer
        assert b"this cloud is busy: 1 requests wait" in answer
        second.close()
        until(lambda: scrape(url)["midcut_cloud_waiting{}"] == 0)
        executor.go_on.set()
        assert first.recv(65536).startswith(b"HTTP/1.1 200")
        samples = scrape(url)
        first.close()
        third.close()
    assert executor.runs == 1
    assert samples["midcut_cloud_dropped_total{reason=busy}"] == 1
    assert samples["midcut_cloud_dropped_total{reason=gone}"] == 1
    assert samples["midcut_requests_total{method=POST,route=/v1/infer,status=499}"] == 1
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]


async def test_the_trace_context_of_a_request_ends_with_it():
    async def told(_):
        return web.Response(text=trace_headers())

    app = new_app(1000, ServerSettings())
    app.router.add_get("/told", told)
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    async with TestClient(TestServer(app)) as client:
        first = await client.get("/told", headers={"traceparent": parent})
        assert await first.text() == f"traceparent: {parent}\r\n"
        assert await (await client.get("/told")).text() == ""  # on the same connection


@pytest.mark.parametrize("count", [0, 3, 1000, 2501])
def test_a_histogram_of_rows_counts_as_one_of_single_values(count):
    bounds, columns = (0.1, 0.5, 1.0), ("read", "parse")
    rows = np.random.default_rng(count).choice([0.05, 0.1, 0.3, 0.5, 2.0], (count, 2))
    by_rows, singly = CollectorRegistry(), CollectorRegistry()
    fast = FastHistogramRows("parts", "Parts", "part", columns, bounds, by_rows)
    slow = Histogram("parts", "Parts", ("part",), buckets=bounds, registry=singly)
    for row in rows:
        fast.observe_row(tuple(row))
        for column, value in zip(columns, row, strict=True):
            slow.labels(column).observe(value)
    for name in columns:
        labels = {"part": name}
        assert by_rows.get_sample_value("parts_count", labels) == singly.get_sample_value("parts_count", labels)
        total = singly.get_sample_value("parts_sum", labels)
        assert by_rows.get_sample_value("parts_sum", labels) == (None if total is None else pytest.approx(total))
        for bound in ("0.1", "0.5", "1.0", "+Inf"):
            of_bound = {"part": name, "le": bound}
            assert by_rows.get_sample_value("parts_bucket", of_bound) == singly.get_sample_value(
                "parts_bucket", of_bound
            )
