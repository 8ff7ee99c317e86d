"""Edges and clouds of other versions: what fits goes on, what does not is one line with both versions."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
import structlog

from midcut.edge.clouds.capabilities import find_mismatch
from midcut.errors import CloudVersionError, VersionError
from midcut.wire.version import OLDEST, VERSION, VERSION_HEADER, check_version, misfit, software
from midcut_transports.http import ListingTransport


@pytest.mark.parametrize(
    ("cloud", "edge", "to_update"),
    [
        ((1, 1), (1, 2), ""),
        ((1, 2), (1, 1), ""),
        ((2, 3), (1, 2), ""),
        ((1, 2), (2, 3), ""),
        ((3, 4), (1, 2), "this edge"),
        ((1, 2), (3, 4), "the cloud"),
    ],
)
def test_neighbouring_versions_fit_and_others_name_both_and_who_is_to_update(cloud, edge, to_update):
    if not to_update:
        check_version(cloud, edge)
        return
    with pytest.raises(VersionError) as caught:
        check_version(cloud, edge)
    for part in (f"{cloud[0]} to {cloud[1]}", f"{edge[0]} to {edge[1]}", f"update {to_update}"):
        assert part in str(caught.value)


def test_at_least_two_versions_are_understood():
    assert VERSION - OLDEST >= 1


def test_a_cloud_takes_headers_of_strangers_for_no_version():
    assert not any(misfit(header) for header in (None, "", "x", "-1", "9" * 50, str(OLDEST), str(VERSION), "99"))
    assert "update the edge" in misfit(str(OLDEST - 1))


async def test_a_cloud_names_its_versions(cloud_url):
    headers = {VERSION_HEADER: str(VERSION)}
    async with aiohttp.ClientSession(cloud_url) as session, session.get("/v1/models", headers=headers) as response:
        assert (await response.json())["wire"] == [OLDEST, VERSION]


class LaterCloud:
    """A cloud of a later version: it lists models in a form of its own, and counts inferences."""

    def __init__(self, wire):
        self.greeting = json.dumps({"wire": wire, "models": [{"called": "tiny"}]}).encode()
        self.inferences = 0

    async def __call__(self, reader, writer):
        while (head := await reader.readuntil(b"\r\n\r\n")) and head.startswith(b"GET"):
            size = str(len(self.greeting)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + size + b"\r\n\r\n" + self.greeting)
        self.inferences += 1
        writer.close()


async def serve_later(wire):
    later = LaterCloud(wire)

    async def answer(reader, writer):
        try:
            await later(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return later, server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_cloud_of_a_later_version_is_named_once_and_planned_without(bench, tiny):
    later, server, url = await serve_later((7, 9))
    with structlog.testing.capture_logs() as logs:
        transport = ListingTransport(url, 5.0, 5.0)
        async with bench(transport=transport, scoped=True) as b:
            assert b.engine.decision.placement.cut == tiny.table.last
            for _ in range(3):
                result = await b.engine.infer([tiny_input(tiny)])
                assert result.finished_by == "edge"
                assert not result.fallback
            with pytest.raises(CloudVersionError):
                await b.clouds.listing()
    server.close()
    said = [line for line in logs if "7 to 9" in str(line.get("reason", "")) and line["log_level"] == "warning"]
    assert len(said) == 1
    assert f"{OLDEST} to {VERSION}" in said[0]["reason"]
    assert later.inferences == 0


def tiny_input(tiny):
    import torch

    return torch.zeros(tiny.table.cuts[0].values[0].shape)


class FirstCloud(LaterCloud):
    """A cloud of version 1, as they were before versions were named: its list of models has nothing of it."""

    def __init__(self, table, graph):
        super().__init__(None)
        entry = {"name": table.model, "fingerprint": f"{graph}-{table.weights}", "legal": [0, 1, 2], "cuts": 10}
        self.greeting = json.dumps({"models": [entry]}).encode()


async def test_a_cloud_of_version_1_is_understood_and_one_with_another_graph_is_one_line_with_both_versions(
    bench, tiny
):
    first = FirstCloud(tiny.table, "0123456789abcdef")

    async def answer(reader, writer):
        try:
            await first(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    transport = ListingTransport(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 5.0, 5.0)
    with structlog.testing.capture_logs() as logs:
        async with bench(transport=transport, scoped=True) as b:
            assert (await b.clouds.listing())["tiny"].legal == (0, 1, 2)
            assert (await b.engine.infer([tiny_input(tiny)])).finished_by == "edge"
            first.greeting = first.greeting.replace(b"0123456789abcdef", tiny.table.graph.encode())
            assert find_mismatch(await b.clouds.listing(), tiny.table, None) == ""
    server.close()
    (line,) = [line for line in logs if line["event"] == "planning for the edge alone"]
    assert "other graph or cuts; the cloud is an older midcut" in line["reason"]
    assert "(wire 1)" in line["reason"]
    assert software() in line["reason"]
    assert f"wire {VERSION}" in software()


async def test_a_cloud_logs_once_that_clients_name_no_version(running_cloud):
    with structlog.testing.capture_logs() as logs, running_cloud() as url:
        async with aiohttp.ClientSession(url) as session:
            for _ in range(3):
                async with session.get("/v1/models") as response:
                    assert (await response.json())["models"][0]["software"] == software()
    assert len([line for line in logs if "without a wire version" in line["event"]]) == 1
