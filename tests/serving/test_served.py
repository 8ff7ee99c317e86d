"""A server beside other work: its failures are logged, and never hide what the other work returns or raises."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
import structlog
from aiohttp import web

from midcut.config.settings import ServerSettings
from midcut.errors import ConfigError
from midcut.serving import Served, lifecycle


async def hello(_):
    return web.Response(text="hello")


def app():
    made = web.Application()
    made[lifecycle.DRAIN] = lifecycle.Drain()
    made.router.add_get("/", hello)
    return made


async def test_a_server_that_fails_while_it_serves_is_logged_then_and_its_stop_raises_nothing(monkeypatch):
    fail, failed = asyncio.Event(), RuntimeError("a bug")

    async def wait(*_):
        await fail.wait()
        raise failed

    monkeypatch.setattr(lifecycle, "_wait", wait)
    with structlog.testing.capture_logs() as logs:
        served = Served(app(), ServerSettings(port=0))
        url = await served.url()
        async with aiohttp.ClientSession(url) as session, session.get("/") as response:
            assert await response.text() == "hello"
        assert not logs
        fail.set()
        await asyncio.wait({served._task}, timeout=60)
        logged = list(logs)
        await served.stop()
    assert [(line["log_level"], line["url"], line["exc_info"]) for line in logged] == [("error", url, failed)]


async def test_an_error_of_the_other_work_is_not_replaced_by_one_of_the_server(monkeypatch):
    async def drain(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(lifecycle, "_drain", drain)
    with structlog.testing.capture_logs() as logs, pytest.raises(ValueError, match="of the stream"):  # noqa: PT012
        served = Served(app(), ServerSettings(port=0))
        await served.url()
        try:
            raise ValueError("of the stream")
        finally:
            await served.stop()
    assert [line["log_level"] for line in logs] == ["error"]


async def test_a_server_that_cannot_be_is_raised_once_and_not_logged():
    first = Served(app(), ServerSettings(port=0))
    port = int((await first.url()).rpartition(":")[2])
    with structlog.testing.capture_logs() as logs:
        second = Served(app(), ServerSettings(port=port))
        with pytest.raises(ConfigError, match="cannot listen"):
            await second.url()
        await second.stop()
    await first.stop()
    assert not [line for line in logs if line["log_level"] == "error"]
