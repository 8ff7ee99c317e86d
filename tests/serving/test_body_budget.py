"""Bodies are bounded in bytes and in time, and a slow client never keeps the others out."""

from __future__ import annotations

import asyncio
import sys

import pytest
from aiohttp import web

from midcut.config.settings import ServerSettings
from midcut.errors import BusyError
from midcut.serving import new_app, read_body
from midcut.serving.body_budget import BODIES, BodyBudget
from midcut.serving.in_flight import InFlightCounter
from midcut.serving.request_body import _Chunks
from midcut.types import BodyArrival

MB = 1_000_000


@pytest.fixture
async def server():
    """An app whose route reads a body and waits; `go_on` lets it answer."""
    inside, go_on = asyncio.Semaphore(0), asyncio.Event()

    def full(count):
        if count >= 4:
            raise BusyError("four are enough")

    async def take(request):
        body = await read_body(request, 4 * MB, 60.0)
        inside.release()
        await go_on.wait()
        return web.Response(text=str(len(body)))

    app = new_app(4 * MB, ServerSettings(bodies_mb=10))
    counter = InFlightCounter(full)
    app.router.add_post("/", counter.wrap(take))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield app, runner.addresses[0], inside, go_on
    go_on.set()
    await runner.cleanup()


async def begin(address, length, sent=b""):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length + sent)
    await writer.drain()
    return reader, writer


async def status(reader):
    async with asyncio.timeout(60):
        return int((await reader.readline()).split()[1])


async def test_the_arrival_of_a_body_is_timed_between_pieces_that_were_read_when_there_was_no_more(monkeypatch):
    times_s = iter([10.0, 10.25, 10.5, 11.25, 13.0])
    monkeypatch.setattr("midcut.serving.body_budget.perf_counter", lambda: next(times_s))
    upload = BodyBudget(MB).begin(60.0)
    for size in (700, 1448, 2896):
        upload.add(size)
        assert upload.arrival is None
    upload.add(104)
    assert upload.arrival == BodyArrival(2896, 0.25)
    upload.add(2000)  # it may have waited for this server since 11.3
    assert upload.arrival == BodyArrival(3000, 1.0)


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_is_held_is_counted_and_released(server):
    app, address, inside, go_on = server
    reader, writer = await begin(address, 3 * MB, bytes(3 * MB))
    await inside.acquire()
    assert app[BODIES].held_bytes == 3 * MB
    go_on.set()
    assert await status(reader) == 200
    await until(lambda: app[BODIES].held_bytes == 0)
    writer.close()


def test_a_body_that_arrives_in_small_chunks_takes_little_more_than_its_bytes():
    chunks = _Chunks()
    for _ in range(40_000):
        chunks.add(b"1")
    chunks.add(bytes(100_000))
    chunks.add(b"23")
    assert sum(map(sys.getsizeof, chunks.chunks)) < 1.2 * 140_003
    assert b"".join(chunks.chunks) == b"1" * 40_000 + bytes(100_000) + b"23"


async def test_the_slowest_upload_makes_room(server):
    app, address, inside, go_on = server
    slow, _ = await begin(address, 4 * MB, bytes(1 * MB))
    others = [await begin(address, 4 * MB, bytes(3 * MB)) for _ in range(2)]
    await until(lambda: app[BODIES].held_bytes == 7 * MB)
    await asyncio.sleep(1.1)  # each had time to show its rate
    reader, writer = await begin(address, 4 * MB, bytes(4 * MB))
    assert await status(slow) == 503
    await inside.acquire()
    go_on.set()
    assert await status(reader) == 200
    for one, _ in others:
        assert not one.at_eof()
    writer.close()


async def test_clients_that_send_nothing_do_not_fill_the_places(server):
    _, address, _, go_on = server
    idle = [await begin(address, 1000) for _ in range(4)]
    await asyncio.sleep(1.1)
    go_on.set()
    reader, _ = await begin(address, 5, b"12345")
    assert await status(reader) == 200
    answers = [asyncio.create_task(status(one)) for one, _ in idle]
    refused, _ = await asyncio.wait(answers, return_when="FIRST_COMPLETED")
    assert [task.result() for task in refused] == [503]
    for _, writer in idle:
        writer.close()


async def test_a_body_that_trickles_is_ended(server, monkeypatch):
    monkeypatch.setattr("midcut.serving.body_budget.GRACE_S", 0.2)
    _, address, *_ = server
    reader, writer = await begin(address, 1000, b"1")
    assert await status(reader) == 408
    assert "less than 240 bytes/s" in (await reader.read()).decode()
    writer.close()


async def test_uploads_that_are_complete_are_never_ended():
    budget = BodyBudget(100)
    complete = budget.begin(60.0)
    complete.add(90)
    with pytest.raises(BusyError, match="holds 0 MB"):
        budget.begin(60.0).add(20)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(24, "Too many open files", "/etc/secret"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
async def test_no_memory_or_no_files_is_a_503_that_names_no_path(aiohttp_error_app, error):
    code, text = await aiohttp_error_app(error)
    assert code == 503
    assert "no memory or no files" in text
    assert "/etc" not in text


@pytest.fixture
async def aiohttp_error_app():
    runners = []

    async def ask(error):
        async def fail(_):
            raise error

        app = new_app(MB, ServerSettings())
        app.router.add_get("/", fail)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
        return int(answer.split()[1]), answer

    yield ask
    for runner in runners:
        await runner.cleanup()
