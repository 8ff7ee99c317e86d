from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import torch

import midcut
from midcut.api.cutting import CutModel


@pytest.fixture(autouse=True)
def one_thread(single_threaded):
    """The unsplit model is the reference."""


@pytest.fixture(scope="session")
def net(tiny, tiny_model):
    return CutModel(tiny_model, tiny)


@pytest.fixture(scope="session")
def whole(net):
    """What the unsplit model gives for some inputs, or for its example."""

    def run(inputs=None):
        with torch.inference_mode():
            return net.loaded.module(*(inputs or net.loaded.example))

    return run


@pytest.fixture
def start(net):
    """`start.cloud(...)`, `start.relay(upstream, ...)` and `start.edge(cloud, ...)`: context managers of a server."""

    def relay(upstream, *settings):
        return midcut.Cloud(
            *(f"upstream_url={upstream}", "upstream.retry_after_s=0.05", "server.port=0", "telemetry=constant"),
            *settings,
            models=[net],
        )

    def edge(cloud, *settings):
        fixed = ("engine.retry_after_s=0.05", "telemetry=constant", "executor=native")
        return midcut.Edge(f"cloud_url={cloud}", *fixed, *settings, model=net)

    return SimpleNamespace(
        cloud=lambda *settings: midcut.Cloud("server.port=0", *settings, models=[net]), relay=relay, edge=edge
    )


@pytest.fixture
def route(start):
    """`async with route(...) as tiers`: a cloud, a relay before it, and the engine of an edge before both."""

    @asynccontextmanager
    async def run(*, cloud=(), relay=(), edge=()):
        async with (
            start.cloud(*cloud) as last,
            start.relay(last.url, *relay) as middle,
            start.edge(middle.url, *edge) as first,
        ):
            yield SimpleNamespace(cloud=last, relay=middle, engine=first._assembled.engine)

    return run
