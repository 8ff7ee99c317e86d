"""Three tiers for real: a device, a relay and a cloud over HTTP, against the unsplit model."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
import torch

import midcut
from midcut.api.cutting import CutModel
from midcut.types import Placement

pytestmark = pytest.mark.usefixtures("single_threaded")
FAST = ("upstream.retry_after_s=0.05", "server.port=0", "telemetry=constant")


@pytest.fixture(scope="module")
def net(tiny, tiny_model):
    return CutModel(tiny_model, tiny)


@asynccontextmanager
async def route(net, *device, relay=()):
    """A cloud, a relay and an edge that begins at it, as a mapping."""
    async with (
        midcut.Cloud("server.port=0", models=[net]) as cloud,
        midcut.Cloud(f"upstream_url={cloud.url}", *FAST, *relay, models=[net]) as middle,
        midcut.Edge(
            f"cloud_url={middle.url}", "engine.retry_after_s=0.05", "telemetry=constant", *device, model=net
        ) as edge,
    ):
        yield {"cloud": cloud, "relay": middle, "edge": edge._assembled.engine}


def whole(net):
    with torch.inference_mode():
        return net.loaded.module(*net.loaded.example)


def test_every_pair_of_cuts_gives_the_bits_of_the_unsplit_model(net, tiny):
    async def go():
        async with route(net) as tiers:
            engine, expected = tiers["edge"], whole(net)
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
