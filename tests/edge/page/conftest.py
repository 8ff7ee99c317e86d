from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack, contextmanager

import pytest

from midcut import Cloud, Edge
from midcut.serving import event_loop

# A slow link and a modelled Raspberry Pi: at w = 0 everything runs at the edge, at w = 1 most of it in the cloud.
SETTINGS = (
    "model=mnist",
    "telemetry=constant",
    "telemetry.constant.bandwidth_kbps=1000",
    "planner.w=0",
    "calibration.enabled=false",
    "engine.interval_s=0.2",
    "input.port=0",
)


@contextmanager
def running(*overrides, relay=False):
    """An edge, a relay if wanted, and a cloud, on a thread and a loop of their own; gives the edge's address."""
    ready, ended = threading.Event(), {}

    async def go():
        ended["loop"], ended["stop"] = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as stack:
            tier = await stack.enter_async_context(Cloud("model=mnist", "server.port=0"))
            if relay:
                upstream = (f"upstream_url={tier.url}", "telemetry=constant")
                tier = await stack.enter_async_context(Cloud("model=mnist", "server.port=0", *upstream))
            edge = Edge(*SETTINGS, f"cloud_url={tier.url}", *overrides, serve=True)
            ended["url"] = (await stack.enter_async_context(edge)).url
            ready.set()
            await ended["stop"].wait()

    thread = threading.Thread(target=lambda: event_loop.run(go()))
    thread.start()
    try:
        assert ready.wait(120)
        yield ended["url"]
    finally:
        ended["loop"].call_soon_threadsafe(ended["stop"].set)
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def run_edge():
    return running


@pytest.fixture(scope="module")
def edge_url():
    with running() as url:
        yield url


@pytest.fixture(scope="module")
def three_tiers_url():
    """An edge before a relay before a cloud."""
    second_hop = "telemetry.constant.others={second_bandwidth_kbps: 4000, second_ping_ms: 20}"
    with running(second_hop, relay=True) as url:
        yield url


@pytest.fixture(scope="module")
def guarded_url(tmp_path_factory):
    """An edge that asks for a token, and for another one of whoever changes it."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "user").write_text("reader")
    (folder / "admin").write_text("keeper")
    with running(f"input.token_file={folder / 'user'}", f"input.admin_token_file={folder / 'admin'}") as url:
        yield url
