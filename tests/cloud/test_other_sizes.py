"""Requests of other sizes through an edge and a cloud, at every cut, and past a relay."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
import torch
from torch import nn
from torch.nn import functional

import midcut
from midcut.errors import MalformedError
from midcut.types import Placement, TailRequest
from midcut.wire.messages import encode_request

FAST = ("telemetry=constant", "executor=native")


class Net(nn.Module):
    """Its output is as large as its input; a chunk leaves gaps in memory."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, image):
        left, right = functional.silu(self.first(image)).chunk(2, 1)
        return functional.interpolate(self.last(left * right), size=image.shape[-2:])


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Net().eval()
    example = torch.rand(1, 3, 16, 16)
    return midcut.cut(module, example, name="net", ranges=[((3, 8, 8), (3, 48, 48))])


@asynccontextmanager
async def served(net, *edge, cloud=()):
    async with (
        midcut.Cloud("server.port=0", *cloud, models=[net]) as running,
        midcut.Edge(f"cloud_url={running.url}", *FAST, *edge, model=net) as asked,
    ):
        yield running, asked._assembled.engine


def whole(net, image):
    with torch.inference_mode():
        return net.loaded.module(image)


@pytest.mark.parametrize("codec", ["raw", "zstd", "base64"])
def test_every_cut_gives_the_bits_of_the_unsplit_model_at_other_sizes(net, codec):
    async def go():
        async with served(net, f"codec=[raw,{codec}]" if codec == "zstd" else "codec=raw") as (_, engine):
            for shape in ((1, 3, 48, 10), (1, 3, 21, 33), (1, 3, 16, 16)):
                image = torch.rand(shape)
                for cut in net.cuts:
                    result = await engine.infer([image], placement=Placement(cut, codec))
                    assert result.fallback == ""
                    assert result.finished_by == ("edge" if cut == net.cuts[-1] else "cloud")
                    assert torch.equal(result.output, whole(net, image)), (shape, cut)

    asyncio.run(go())


def test_a_batch_of_another_size_is_limited_as_any_other(net):
    async def go():
        async with served(net, cloud=["cloud.max_batch=2"]) as (_, engine):
            for batch, reason in ((2, ""), (3, "3 samples are over a batch of 2")):
                image = torch.rand(batch, 3, 20, 20)
                result = await engine.infer([image], placement=Placement(1))
                assert reason in result.fallback
                assert (not reason) == (result.fallback == "")
                assert torch.equal(result.output, whole(net, image))

    asyncio.run(go())


@pytest.mark.parametrize("samples", [3, 10**9])
def test_the_papers_route_limits_a_batch_of_another_size_before_anything_is_made(net, samples):
    fingerprint, shapes = net.partition.table.fingerprint, ((samples, 3, 48, 48),)
    request = TailRequest("net", 1, fingerprint, (torch.rand(1, 1),), "r", input_shapes=shapes)

    async def go():
        async with (
            midcut.Cloud("server.port=0", "cloud.max_batch=2", models=[net]) as cloud,
            aiohttp.ClientSession(cloud.url) as session,
            session.post("/v1/infer", data=encode_request(request)) as answer,
        ):
            assert answer.status == 413
            assert f"{samples} samples are over a batch of 2" in await answer.text()

    asyncio.run(go())


def test_a_relay_stops_and_passes_on_at_other_sizes(net):
    async def go():
        async with (
            midcut.Cloud("server.port=0", models=[net]) as last,
            midcut.Cloud(f"upstream_url={last.url}", "server.port=0", "telemetry=constant", models=[net]) as relay,
            midcut.Edge(f"cloud_url={relay.url}", *FAST, model=net) as edge,
        ):
            image = torch.rand(1, 3, 40, 24)
            result = await edge._assembled.engine.infer([image], placement=Placement(1, onward=Placement(4)))
            assert (result.finished_by, result.fallback) == ("cloud", "")
            assert torch.equal(result.output, whole(net, image))

    asyncio.run(go())


def test_a_size_that_is_not_taken_is_refused_by_the_edge(net):
    async def go():
        async with served(net) as (_, engine):
            with pytest.raises(MalformedError, match=r"input 'image' has shape \[1, 3, 49, 8\], it takes \[B, 3, 8 to"):
                await engine.infer([torch.rand(1, 3, 49, 8)])

    asyncio.run(go())


def test_a_cloud_asked_directly_takes_whole_models_of_any_size_and_says_which(net):
    async def go():
        async with midcut.Cloud("server.port=0", models=[net]) as cloud, aiohttp.ClientSession(cloud.url) as session:
            described = await (await session.get("/v2/models/net")).json()
            assert described["inputs"][0]["shape"] == [1, 3, -1, -1]
            assert described["outputs"][0]["shape"] == [1, 2, -1, -1]

            async def ask(image, cut=None, **parameters):
                named = {"name": "image", "datatype": "FP32", "shape": list(image.shape), "data": image.tolist()}
                path = "/v2/models/net/infer" if cut is None else f"/v2/models/net@{cut}/infer"
                async with session.post(path, json={"inputs": [named], "parameters": parameters}) as answer:
                    return answer.status, json.loads(await answer.text())

            image = torch.rand(1, 3, 11, 30)
            status, reply = await ask(image)
            assert status == 200
            expected = whole(net, image)
            assert torch.equal(torch.tensor(reply["outputs"][0]["data"]).reshape(expected.shape), expected)
            for parameters, reason in (
                ({"input_shapes": "1x3x11x30"}, ""),
                ({"input_shapes": "1x3x11x60"}, "has shape [1, 3, 11, 60], it takes [B, 3, 8 to 48, 8 to 48]"),
                ({"input_shapes": "1x3x11x31"}, "'image' has shape [1, 3, 11, 30], expected [1, 3, 11, 31]"),
                ({"input_shapes": "one"}, "parameter input_shapes must be shapes like 1x3x320x320"),
                ({"input_shapes": "1x3x11x30,1"}, "takes 1 inputs"),
                ({"input_shapes": 7}, "got `int` - at `$.parameters.input_shapes`"),
            ):
                status, reply = await ask(image, **parameters)
                assert status == (400 if reason else 200), reply
                assert reason in reply.get("error", "")

    asyncio.run(go())


def test_the_planner_weighs_the_bytes_and_the_work_of_the_request_at_hand():
    """Bytes go with the area, and so do seconds of convolutions, which are nearly all that this network computes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 64, 5), nn.Conv2d(64, 64, 5), nn.AdaptiveAvgPool2d(1)).eval()
    net = midcut.cut(module, torch.rand(1, 3, 32, 32), name="net", ranges=[((3, 16, 16), (3, 96, 96))])
    kbps = 4000.0
    settings = (f"telemetry.constant.bandwidth_kbps={kbps}", "telemetry.constant.ping_ms=1", "planner.w=0", "codec=raw")

    async def go():
        async with served(net, *settings) as (_, engine):
            decision = engine.decision
            for size in (20, 96):
                sized = net.partition.make_for_shapes(((1, 3, size, size),))
                made = engine._at_size.decide(decision, sized)
                usual, now = decision.forecast, made.forecast
                more_bits = 8 * 3 * 4 * (size**2 - 32**2)
                assert now.link_s[0] - usual.link_s[0] == pytest.approx(more_bits / 1000 / kbps, rel=0.2)
                macs = [sum(node.macs for node in table.nodes) for table in (sized.table, net.table)]
                assert now.edge_s[-1] / usual.edge_s[-1] == pytest.approx(macs[0] / macs[1], rel=0.2)
                assert now.cloud_s[0] / usual.cloud_s[0] == pytest.approx(macs[0] / macs[1], rel=0.2)
                assert now.link_s[-1] == now.cloud_s[-1] == now.edge_s[0] == 0.0
                assert now.latency_s[made.index] == now.latency_s.min()
                assert engine._at_size.decide(decision, sized) is made

    asyncio.run(go())
