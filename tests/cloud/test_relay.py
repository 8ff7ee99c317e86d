"""Three tiers for real: a device, a relay and a cloud over HTTP, against the unsplit model."""

from __future__ import annotations

import asyncio
import re

import pytest
import torch
from common.processes import free_port

from midcut.cloud.assembly import assemble
from midcut.config.composition import compose
from midcut.errors import ConfigError, MalformedError
from midcut.types import Placement
from midcut.wire.route import read_route, route_text
from midcut_telemetry.conditions import Conditions


def test_every_pair_of_cuts_gives_the_bits_of_the_unsplit_model(net, tiny, route, whole):
    async def go():
        async with route() as tiers:
            engine, expected = tiers.engine, whole()
            last = tiny.table.last
            for first in range(last):
                for second in range(first, last + 1):
                    result = await engine.infer(
                        net.loaded.example, placement=Placement(first, "raw", Placement(second))
                    )
                    assert torch.equal(result.output, expected)
                    assert not result.fallback
                    assert result.finished_by == ("relay" if second == last else "cloud")
                    assert list(result.parts) == ["edge", "link", "relay", "second_link", "cloud"]
                    assert (result.between["second_link"] > 0.0) == (second < last)
                    assert sum(result.parts.values()) <= result.latency_s * 1.001

    asyncio.run(go())


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the condition is another program's state
            await asyncio.sleep(0.02)


def test_the_edge_learns_of_the_relay_by_its_list_of_models_and_plans_two_cuts(net, route, whole):
    async def go():
        others = "telemetry.constant.others={second_bandwidth_kbps: 1e6, second_ping_ms: 1}"
        async with route(edge=(others, "planner.w=0")) as tiers:
            engine = tiers.engine
            await until(lambda: engine.decision.forecast is not None)
            forecast = engine.decision.forecast
            assert list(forecast.parts) == ["edge", "link", "relay", "second_link", "cloud"]
            assert len(forecast) == 10 * 11 / 2
            result = await engine.infer(net.loaded.example)
            assert torch.equal(result.output, whole())
            assert result.predicted["second_cut"] >= result.cut
            assert set(engine.calibration.state()["parts"]) >= {"edge", "link", "cloud", "here"}

    asyncio.run(go())


def test_a_relay_says_what_its_second_hop_is_like_and_a_cloud_its_load(route):
    async def go():
        async with route() as tiers:
            relay, cloud = (Conditions(server.url, 30.0, 1.0) for server in (tiers.relay, tiers.cloud))
            await until_values(relay, {"second_bandwidth_kbps": 10_000.0, "second_ping_ms": 20.0})
            assert await asyncio.to_thread(cloud.read) == {"cloud_load": 0.0}
            for source in (relay, cloud):
                source.close()

    asyncio.run(go())


async def until_values(source, expected):
    async with asyncio.timeout(60):
        while await asyncio.to_thread(source.read) != expected:  # noqa: ASYNC110 - another server's state
            await asyncio.sleep(0.05)


def test_without_its_upstream_a_relay_finishes_and_says_so_and_without_the_relay_the_edge_does(net, route, whole):
    async def go():
        async with route() as tiers:
            engine, placement = tiers.engine, Placement(2, "raw", Placement(5))
            await tiers.cloud.__aexit__()
            result = await engine.infer(net.loaded.example, placement=placement)
            assert torch.equal(result.output, whole())
            assert result.finished_by == "relay"
            assert result.fallback.startswith("the relay finished: ")
            await tiers.relay.__aexit__()
            result = await engine.infer(net.loaded.example, placement=placement)
            assert torch.equal(result.output, whole())
            assert result.finished_by == "edge"
            assert result.fallback

    asyncio.run(go())


def test_two_relays_that_name_each_other_refuse_what_would_go_in_circles(net, start, whole):
    async def go():
        port = free_port()
        async with (
            start.relay(f"http://127.0.0.1:{port}") as b,
            start.relay(b.url, f"server.port={port}") as a,
            start.edge(a.url) as edge,
        ):
            placement = Placement(2, "raw", Placement(3, "raw", Placement(4, "raw", Placement(5))))
            async with asyncio.timeout(60):
                while True:
                    result = await edge._assembled.engine.infer(net.loaded.example, placement=placement)
                    assert torch.equal(result.output, whole())
                    if "leads back to this relay" in result.fallback:
                        return
                    await asyncio.sleep(0.1)

    asyncio.run(go())


def test_a_cloud_without_an_upstream_refuses_a_route(net, start, whole):
    async def go():
        async with start.cloud() as cloud, start.edge(cloud.url) as edge:
            engine = edge._assembled.engine
            result = await engine.infer(net.loaded.example, placement=Placement(2, "raw", Placement(5)))
            assert torch.equal(result.output, whole())
            assert "this cloud is no relay" in result.fallback
            with pytest.raises(MalformedError, match="go back"):
                await engine.infer(net.loaded.example, placement=Placement(5, "raw", Placement(2)))

    asyncio.run(go())


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (("upstream_url=http://127.0.0.1:8700",), "upstream_url=http://127.0.0.1:8700 is this cloud itself"),
        (("upstream_url=5",), "upstream_url must be a URL"),
        (("upstream_url=nonsense",), "upstream_url must be http://host:port, or https://, got 'nonsense'"),
        (("upstream_url=ftp://x",), "upstream_url must be http://host:port, or https://, got 'ftp://x'"),
        (
            ("upstream_url='http://x:99999'",),
            "upstream_url must be http://host:port, or https://, got 'http://x:99999'",
        ),
        (("upstream_url='http://:80'",), "upstream_url must be http://host:port, or https://, got 'http://:80'"),
        (("upstream_url=[http://x,y]",), "upstream_url must be http://host:port, or https://, got 'y'"),
        (("upstream_url=[]",), "upstream_url must be a URL or a list of URLs"),
        (("upstream_url=http://x", "upstream.retry_after_s=-1"), "upstream.retry_after_s must be at least 0, got -1"),
        (("upstream_url=http://x", "upstream.max_age_s=0"), "upstream.max_age_s must be over 0, got 0"),
        (
            ("upstream_url=http://x", "price.base_usd_per_hour=-1"),
            "price.base_usd_per_hour must be at least",
        ),
        (("upstream_url=http://x", "upstream.breaker_failures=0"), "upstream.breaker_failures must be at least 1"),
    ],
)
def test_what_a_relay_cannot_be_is_one_line(net, overrides, part):
    given = {"tiny": (net.loaded, net.partition)}
    with pytest.raises(ConfigError, match=re.escape(part)) as error, assemble(compose("cloud", overrides), given):
        pass
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "x", "3:zstd,", "-1", "9" * 9, "5,4", "1,1,1,1,1"])
def test_a_route_that_goes_back_or_is_none_is_refused(text):
    with pytest.raises(MalformedError, match="route"):
        read_route(text, 0)


def test_a_route_is_read_as_it_was_written():
    placement = Placement(3, "zstd", Placement(9))
    assert route_text(placement) == "3:zstd,9"
    assert read_route("3:zstd,9", 3) == placement
