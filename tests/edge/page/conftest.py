from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from midcut import Cloud, Edge

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


@pytest.fixture(scope="session")
def run_edge(on_a_thread):
    """An edge, a relay if wanted, and a cloud, on a thread and a loop of their own; gives the edge's address."""

    def start(*overrides, relay=False):
        async def go(ready, stop):
            async with AsyncExitStack() as stack:
                tier = await stack.enter_async_context(Cloud("model=mnist", "server.port=0"))
                if relay:
                    upstream = (f"upstream_url={tier.url}", "telemetry=constant")
                    tier = await stack.enter_async_context(Cloud("model=mnist", "server.port=0", *upstream))
                edge = Edge(*SETTINGS, f"cloud_url={tier.url}", *overrides, serve=True)
                ready((await stack.enter_async_context(edge)).url)
                await stop.wait()

        return on_a_thread(go)

    return start


@pytest.fixture(scope="module")
def edge_url(run_edge):
    with run_edge() as url:
        yield url


@pytest.fixture(scope="module")
def three_tiers_url(run_edge):
    """An edge before a relay before a cloud."""
    second_hop = "telemetry.constant.others={second_bandwidth_kbps: 4000, second_ping_ms: 20}"
    with run_edge(second_hop, relay=True) as url:
        yield url


@pytest.fixture(scope="module")
def guarded_url(run_edge, tmp_path_factory):
    """An edge that asks for a token, and for another one of whoever changes it."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "user").write_text("reader")
    (folder / "admin").write_text("keeper")
    with run_edge(f"input.token_file={folder / 'user'}", f"input.admin_token_file={folder / 'admin'}") as url:
        yield url
