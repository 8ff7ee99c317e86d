"""The second hop for real: codecs, batches, and a relay that leads back to itself."""

from __future__ import annotations

import asyncio
import socket

import pytest
import torch

from midcut.errors import MalformedError
from midcut.graph.segments import Segments
from midcut.proxies.link import ShapedLink
from midcut.types import Placement


async def passed_on(engine, inputs, placement):
    """The result of a request that relay and cloud share; the relay may still have to ask its upstream for models."""
    async with asyncio.timeout(60):
        while True:
            result = await engine.infer(inputs, placement=placement)
            if result.finished_by == "cloud" and not result.fallback:
                return result
            await asyncio.sleep(0.05)


def test_each_hop_has_a_codec_of_its_own(net, route, whole):
    async def go():
        async with route(edge=("codec=[raw,zstd,fp16]", "codec.fp16.agreement=1")) as tiers:
            for first, second, exact in (("raw", "zstd", True), ("zstd", "raw", True), ("raw", "fp16", False)):
                placement = Placement(2, first, Placement(5, second))
                result = await passed_on(tiers.engine, net.loaded.example, placement)
                assert (result.codec, result.onward.codec) == (first, second)
                assert torch.equal(result.output, whole()) == exact
                torch.testing.assert_close(result.output, whole(), rtol=0.01, atol=0.01)

    asyncio.run(go())


def test_a_relay_tells_that_pytorch_stood_in_for_its_upstreams_runtime(net, route, monkeypatch):
    monkeypatch.setattr(Segments, "ready", lambda _, __, start, *___: start != 5)

    async def go():
        async with route() as tiers:
            for cut, parts in ((5, ("relay", "cloud")), (4, ())):
                result = await passed_on(tiers.engine, net.loaded.example, Placement(2, "raw", Placement(cut)))
                assert result.stand_in == parts

    asyncio.run(go())


def test_a_codec_that_the_upstream_does_not_take_is_not_used_on_the_way_there(route):
    async def go():
        codecs = "codec=[raw,zstd,fp16]", "codec.fp16.agreement=1"
        async with route(cloud=("codec=[zstd]",), edge=codecs) as tiers:
            engine = tiers.engine
            async with asyncio.timeout(60):
                while engine.parts.planning.policy.placements.onward is None:  # noqa: ASYNC110 - two servers' state
                    await asyncio.sleep(0.05)
            placed = engine.parts.planning.policy.placements
            assert set(placed.onward.codec) == {"raw", "zstd"}
            assert set(placed.codec) == {"raw", "zstd", "fp16"}

    asyncio.run(go())


def test_requests_that_stop_at_a_relay_are_computed_there_together(net, route, whole):
    async def go():
        batching = ("cloud.batch_requests=4", "cloud.batch_delay_s=0.2")
        async with route(relay=batching) as tiers:
            engine = tiers.engine
            generator = torch.Generator().manual_seed(5)
            images = [torch.randn(net.loaded.example[0].shape, generator=generator) for _ in range(8)]
            placement = Placement(2, "raw", Placement(5))
            await passed_on(engine, images[:1], placement)
            results = await asyncio.gather(*(engine.infer([image], placement=placement) for image in images))
            for image, result in zip(images, results, strict=True):
                assert (result.finished_by, result.fallback) == ("cloud", "")
                torch.testing.assert_close(result.output, whole([image]), rtol=1e-4, atol=1e-5)

    asyncio.run(go())


def test_a_relay_that_leads_back_to_itself_by_another_address_says_so_and_the_edge_answers(net, start, whole):
    async def go():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with ShapedLink(f"127.0.0.1:{port}", dict) as link:
            async with (
                start.relay(f"http://{link.address}", f"server.port={port}") as relay,
                start.edge(relay.url) as edge,
            ):
                engine = edge._assembled.engine
                async with asyncio.timeout(60):
                    while True:
                        placement = Placement(2, "raw", Placement(5))
                        result = await engine.infer(net.loaded.example, placement=placement)
                        assert torch.equal(result.output, whole())
                        if "leads back to this relay" in result.fallback:
                            break
                        await asyncio.sleep(0.1)
                with pytest.raises(MalformedError, match="go back"):
                    await engine.infer(net.loaded.example, placement=Placement(5, "raw", Placement(2)))

    asyncio.run(go())
