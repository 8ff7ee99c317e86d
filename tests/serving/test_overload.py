"""A server that is asked for more than it can do goes on doing what it can."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from midcut.config.settings import ServerSettings
from midcut.edge.frontend.admission import AdmissionLimit
from midcut.errors import BusyError
from midcut.serving import InFlightCounter, new_app
from midcut.serving.wait_estimate import WaitEstimate


@pytest.fixture
async def server():
    """A server with one place, whose requests are answered when `go_on` is released; counts refusals as it checks."""
    inside, go_on, refusals = asyncio.Semaphore(0), asyncio.Semaphore(0), []

    def one(count):
        if count >= 1:
            refusals.append(count)
            raise BusyError("one is enough", retry_after_s=50)

    async def answer(_):
        inside.release()
        await go_on.acquire()
        return web.Response(text="done")

    app, counter = new_app(1000, ServerSettings()), InFlightCounter(one)
    app.router.add_post("/", counter.wrap(answer))
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0], inside, go_on, refusals
    await runner.cleanup()


class Client:
    def __init__(self, streams):
        self.reader, self.writer = streams

    @classmethod
    async def connect(cls, address):
        return cls(await asyncio.open_connection(*address))

    def ask(self):
        self.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")

    async def status(self):
        async with asyncio.timeout(60):
            head = await self.reader.readuntil(b"\r\n\r\n")
            await self.reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        return int(head.split()[1])


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def refused_clients(address, count):
    clients = [await Client.connect(address) for _ in range(count)]
    for client in clients:
        client.ask()
    assert [await client.status() for client in clients] == [503] * count
    return clients


async def test_a_client_that_comes_back_too_early_waits_for_its_turn(server):
    address, inside, go_on, refusals = server
    first = await Client.connect(address)
    first.ask()
    await inside.acquire()
    early = await refused_clients(address, 3)
    for client in early:
        client.ask()
    await until(lambda: len(refusals) == 6)  # each was looked at, and none is answered
    await refused_clients(address, 1)  # a new connection is refused at once, so that it can go elsewhere
    assert len(refusals) == 7
    for client in (first, *early):  # in the order in which they came back
        go_on.release()
        assert await client.status() == 200


async def test_one_that_waits_and_hangs_up_leaves_its_turn_to_the_next(server):
    address, inside, go_on, refusals = server
    first = await Client.connect(address)
    first.ask()
    await inside.acquire()
    gone, stays = await refused_clients(address, 2)
    for client in (gone, stays):
        client.ask()
    await until(lambda: len(refusals) == 4)
    gone.writer.transport.abort()
    await asyncio.sleep(0.05)
    go_on.release()
    assert await first.status() == 200
    go_on.release()
    assert await stays.status() == 200


def test_waits_are_estimated_by_how_fast_the_last_requests_were_answered():
    now = 100.0
    estimate = WaitEstimate(lambda: now)
    assert estimate.seconds(50) == 0.0
    estimate.started(0)
    for _ in range(9):  # never more than four at once, two seconds from one answer to the next
        now += 2.0
        estimate.finished(4)
    assert estimate.seconds(3) == 6.0
    assert estimate.seconds(4) == estimate.seconds(50) == 8.0
    now += 1000.0  # nothing to do for long
    estimate.started(0)
    now += 2.0
    estimate.finished(1)
    assert estimate.seconds(4) == 8.0


def test_an_edge_refuses_what_would_wait_too_long():
    limit = AdmissionLimit(64, queue_s=10.0)
    now = 0.0
    limit._estimate = WaitEstimate(lambda: now)
    places = [limit.place() for _ in range(4)]
    for place in places:
        place.__enter__()
    for place in places[:2]:
        now += 6.0
        place.__exit__(None, None, None)
    with (
        pytest.raises(BusyError, match=r"2 requests under way take about 12 s \(input.queue_s\)") as caught,
        limit.place(),
    ):
        pass
    assert caught.value.headers == {"Retry-After": "2"}
    places[2].__exit__(None, None, None)
    with limit.place():  # never refused beside a single other
        pass
