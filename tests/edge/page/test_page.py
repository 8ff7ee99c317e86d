"""The live page's files, events and changes, by HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

import midcut_models

DIGIT = next((Path(midcut_models.__file__).parent / "digits").glob("*.png"))


async def next_event(content):
    lines = []
    while line := (await asyncio.wait_for(content.readline(), 60)).decode().strip():
        lines.append(line)
    name, data = (line.partition(": ")[2] for line in lines)
    return name, json.loads(data)


async def change(session, *, status=200, headers=None, **wanted):
    async with session.put("/v1/planning", json=wanted, headers=headers) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer


async def cut_in_use(session):
    async with session.get("/v1/decision") as response:
        return (await response.json())["cut"]


async def test_every_file_of_the_page_comes_from_the_edge_itself_and_nothing_inline_may_run(edge_url):
    async with aiohttp.ClientSession(edge_url) as session:
        for path in ("/", "/page/page.js", "/page/charts.js", "/page/page.css", "/page/uplot.js", "/page/uplot.css"):
            async with session.get(path) as response:
                text = await response.text()
                assert response.status == 200
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert 'src="http' not in text
            assert 'href="http' not in text
        async with session.get("/page/uplot.txt") as response:
            assert "MIT License" in await response.text()


async def test_events_show_what_is_decided_answered_and_spent(edge_url):
    async with aiohttp.ClientSession(edge_url) as session, session.get("/v1/events") as events:
        assert events.headers["Content-Type"] == "text/event-stream"
        name, state = await next_event(events.content)
        assert name == "first"
        assert state["decisions"]
        assert state["planning"]["w"] == 0
        forecast = state["decision"]["forecast"]
        rows = [dict(zip(forecast["columns"], row, strict=True)) for row in forecast["rows"]]
        assert [row["cut"] for row in rows] == state["planning"]["cuts"]
        async with session.get("/v1/decision") as response:
            exact = (await response.json())["forecast"]
        assert forecast["parts"] == ["edge", "link", "cloud"]
        for name in forecast["columns"][2:]:  # numbers of four digits
            assert [row[name] for row in rows] == pytest.approx([row[name] for row in exact], rel=5e-4)
        assert state["last"] is None
        before = state["requests"]
        sent = {"data": DIGIT.read_bytes(), "headers": {"Content-Type": "image/png"}}
        async with session.post("/v1/infer", **sent) as response:
            answer = await response.json()
        while state["requests"] == before:
            _, state = await next_event(events.content)
        assert state["last"]["label"] == answer["label"]
        assert state["last"]["picture"].startswith("data:image/jpeg;base64,")
        assert state["cost_usd"] >= answer["cost_usd"] > 0
        assert set(state["clouds"].values()) == {"closed"}


async def test_planner_weight_and_cut_are_changed_at_once_and_back(edge_url):
    async with aiohttp.ClientSession(edge_url) as session:
        assert (await change(session, w=0.0, pinned=None))["pinned"] is None
        fastest = await cut_in_use(session)
        await change(session, w=1.0)
        cheapest = await cut_in_use(session)
        assert cheapest != fastest
        await change(session, pinned=7)
        assert await cut_in_use(session) == 7
        limit = {"planner": "epsilon_constraint", "settings": {"max_cost_usd": 1.0}}
        assert (await change(session, pinned=None, **limit))["w"] is None
        assert await cut_in_use(session) == fastest
        assert (await change(session, planner="algorithm1", w=0.0))["planner"] == "algorithm1"
        assert await cut_in_use(session) == fastest


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"w": 1.5}, "planner.w must be from 0"),
        ({"w": "much"}, "Expected `float`"),
        ({"pinned": 99}, "cut 99 is not on offer"),
        ({"planner": "algorithm2"}, "there is no 'algorithm2'"),
        ({"planner": "epsilon_constraint"}, "exactly one"),
        ({"settings": {"speed": 1}}, "no setting 'speed'"),
        ({"settings": {"semantics": "${oc.env:HOME}"}}, "not a reference"),
        ({"settings": {"semantics": "neither"}}, "semantics"),
        ({"weight": 1}, "unknown field"),
    ],
)
async def test_a_change_that_is_not_possible_is_refused_in_one_line_and_changes_nothing(edge_url, wanted, why):
    async with aiohttp.ClientSession(edge_url) as session:
        async with session.get("/v1/planning") as response:
            before = await response.json()
        error = (await change(session, status=400, **wanted))["error"]
        assert why in error
        assert "\n" not in error
        async with session.get("/v1/planning") as response:
            assert await response.json() == before


async def test_dwell_does_not_hold_back_a_pinned_cut(run_edge):
    with run_edge("engine.dwell=1000") as url:
        async with aiohttp.ClientSession(url) as session:
            for cut in (4, 9):
                await change(session, pinned=cut)
                assert await cut_in_use(session) == cut


async def test_behind_a_token_the_page_is_empty_and_changes_need_administration(guarded_url):
    async with aiohttp.ClientSession(guarded_url) as session:
        async with session.get("/") as response:
            assert response.status == 200
        async with session.get("/v1/events") as response:
            assert response.status == 401
        await change(session, status=401, w=0.5)
        await change(session, status=403, headers={"Authorization": "Bearer reader"}, w=0.5)
        answer = await change(session, headers={"Authorization": "Bearer keeper"}, w=0.5)
        assert answer["w"] == 0.5


async def test_too_many_pages_are_refused_and_one_that_does_not_read_is_dropped(edge_url):
    address = urlsplit(edge_url)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((address.hostname, address.port))
        deaf.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        async with aiohttp.ClientSession(edge_url) as session:
            pages = [await session.get("/v1/events") for _ in range(7)]
            async with session.get("/v1/events") as response:
                assert response.status == 503
                assert "pages are open" in (await response.json())["error"]
            async with asyncio.timeout(120):  # until there is room again: changes send an event each
                while True:
                    await change(session, w=0.0)
                    await asyncio.gather(*(page.content.readany() for page in pages))
                    async with session.get("/v1/events") as response:
                        if response.status == 200:
                            break
            for page in pages:
                page.close()


async def test_without_the_page_there_is_none(run_edge):
    with run_edge("input.page=false") as url:
        async with aiohttp.ClientSession(url) as session:
            for path in ("/", "/page/page.js", "/v1/events"):
                async with session.get(path) as response:
                    assert response.status == 404
            await change(session, pinned=3)
            assert await cut_in_use(session) == 3


async def test_an_edge_with_open_pages_shuts_down(run_edge):
    async with aiohttp.ClientSession() as session:
        with run_edge("input.drain_s=60") as url:
            page = await session.get(f"{url}/v1/events")
            await next_event(page.content)
        await page.content.read()  # the stream has an end


async def test_on_three_tiers_the_parts_of_each_row_add_up_to_its_latency(three_tiers_url):
    async with aiohttp.ClientSession(three_tiers_url) as session, session.get("/v1/events") as events:
        _, state = await next_event(events.content)
        async with asyncio.timeout(120):
            while "second_cut" not in state["decision"]:  # until the edge knows what the relay passes on
                _, state = await next_event(events.content)
    decision, forecast = state["decision"], state["decision"]["forecast"]
    assert forecast["parts"] == ["edge", "link", "relay", "second_link", "cloud"]
    rows = [dict(zip(forecast["columns"], row, strict=True)) for row in forecast["rows"]]
    assert any(row["relay_s"] for row in rows)
    assert any(row["second_link_s"] for row in rows)
    for row in rows:
        assert sum(row[f"{part}_s"] for part in forecast["parts"]) == pytest.approx(row["latency_s"], rel=2e-3)
    names = ("cut", "codec", "second_cut", "second_codec")
    for placement in (decision, state["runner_up"]):
        assert sum(all(row[name] == placement[name] for name in names) for row in rows) == 1
