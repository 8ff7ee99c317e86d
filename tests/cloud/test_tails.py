"""The queue before the tails, with an executor that can be held, so that what waits and what is dropped is certain."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from time import perf_counter

import pytest
import torch
from prometheus_client import CollectorRegistry

from midcut.cloud.tails import TailQueue
from midcut.config.settings import CloudSettings
from midcut.errors import BusyError, ExpiredError, MalformedError, OutOfMemoryError
from midcut.graph.batcher import Batcher
from midcut.graph.segments import Segments
from midcut.serving.metrics import CloudMetrics
from midcut.serving.threads import Threads
from midcut.testing import TorchExecutor

GENERATOR = torch.Generator().manual_seed(5)


class Gate(TorchExecutor):
    """Runs segments while it is open; keeps count."""

    def __init__(self):
        self.runs = 0
        self.failing = set()
        self.starving = set()
        self.begun = threading.Semaphore(0)
        self._open = threading.Event()
        self._open.set()

    def shut(self):
        self._open.clear()

    def open(self):
        self._open.set()

    def run(self, segment):
        self.runs += 1
        self.begun.release()
        assert self._open.wait(60)
        started = perf_counter()
        if self.runs in self.failing:
            raise RuntimeError("no kernel for this\nat all")
        if self.runs in self.starving:
            torch.empty(2**50)
        with torch.inference_mode():
            values = segment()
        return values, perf_counter() - started


@asynccontextmanager
async def queue(tiny, **given):
    settings, gate, registry = CloudSettings(**given), Gate(), CollectorRegistry()
    batchers = {tiny.table.key: Batcher(tiny)} if settings.batch_requests > 1 else {}
    with Threads(settings.workers, "tail") as pool:
        tails = TailQueue(Segments(gate), pool, settings, CloudMetrics(registry), batchers)
        tails.read = lambda name, **labels: registry.get_sample_value(name, labels)
        try:
            yield tails, gate
        finally:
            gate.open()


@pytest.mark.parametrize("batch", [1, 2])
async def test_a_result_tells_that_pytorch_stood_in_for_a_runtime(tiny, batch):
    async with queue(tiny, batch_requests=batch, batch_delay_s=0.2) as (tails, gate):
        for ready in (False, True):
            gate.ready = lambda *_, ready=ready: ready
            results = await asyncio.gather(*[await ask(tails, tiny, 4, image) for image in images(batch)])
            assert [result.batch_requests for result in results] == [batch] * batch
            assert [result.stand_in for result in results] == [not ready] * batch


async def ask(tails, tiny, cut, image, **more):
    """A task that waits for the tail, begun."""
    task = asyncio.create_task(tails.compute(tiny, cut, tiny.head(cut, (image,)), **more))
    await asyncio.sleep(0)
    return task


def images(count):
    return list(torch.randn(count, 1, 3, 16, 16, generator=GENERATOR))


async def test_one_by_one_is_bit_for_bit_the_unsplit_model(tiny, tiny_model):
    pictures = images(6)
    async with queue(tiny, batch_requests=1) as (tails, gate):
        done = await asyncio.gather(*[await ask(tails, tiny, 4, image) for image in pictures])
    assert gate.runs == 6
    assert [result.batch_requests for result in done] == [1] * 6
    with torch.inference_mode():
        assert all(
            torch.equal(computed.values[0], tiny_model.module(image))
            for computed, image in zip(done, pictures, strict=True)
        )


async def test_what_waits_at_one_cut_is_computed_together_and_the_answers_are_not_mixed_up(tiny, tiny_model):
    pictures = images(9)
    async with queue(tiny, batch_requests=4, batch_delay_s=0.0) as (tails, gate):
        gate.shut()
        cuts = [4, 4, 7, 4, 4, 4, 4, 7, 0]
        tasks = [await ask(tails, tiny, cut, image) for cut, image in zip(cuts, pictures, strict=True)]
        gate.open()
        done = await asyncio.gather(*tasks)
        # The first one finds a free worker; then the oldest takes those of its kind along: four of cut 4, both of
        # cut 7, the last of cut 4, the one of cut 0.
        assert [result.batch_requests for result in done] == [1, 4, 2, 4, 4, 4, 1, 2, 1]
        assert gate.runs == 5
        assert tails.read("midcut_cloud_batch_requests_sum") == 9.0
    with torch.inference_mode():
        for result, image in zip(done, pictures, strict=True):
            torch.testing.assert_close(result.values[0], tiny_model.module(image), rtol=1e-5, atol=1e-6)
        assert torch.equal(done[0].values[0], tiny_model.module(pictures[0]))


async def test_other_shapes_are_not_computed_together(tiny):
    async with queue(tiny, batch_requests=4, batch_delay_s=0.0) as (tails, gate):
        gate.shut()
        tasks = [await ask(tails, tiny, 4, image) for image in [*images(2), torch.randn(2, 3, 16, 16)]]
        gate.open()
        assert [result.batch_requests for result in await asyncio.gather(*tasks)] == [1, 1, 1]


async def test_a_free_worker_waits_for_more_as_long_as_it_is_told(tiny):
    async with queue(tiny, batch_requests=3, batch_delay_s=600.0) as (tails, _):
        tasks = [await ask(tails, tiny, 4, image) for image in images(3)]
        assert [result.batch_requests for result in await asyncio.wait_for(asyncio.gather(*tasks), 60.0)] == [3, 3, 3]
    async with queue(tiny, batch_requests=3, batch_delay_s=0.5) as (tails, _):
        tasks = [await ask(tails, tiny, 4, image) for image in images(2)]
        assert [result.batch_requests for result in await asyncio.gather(*tasks)] == [2, 2]


async def test_who_came_alone_last_time_is_not_kept_waiting_again(tiny):
    async with queue(tiny, batch_requests=3, batch_delay_s=1.0) as (tails, _):
        values = tiny.head(4, images(1))
        assert (await tails.compute(tiny, 4, values)).queue_s >= 1.0  # nobody knows yet how many ask
        assert [(await tails.compute(tiny, 4, values)).queue_s < 1.0 for _ in range(5)] == [True] * 5


async def test_who_gave_up_while_it_was_kept_waiting_is_not_kept_waiting_again(tiny):
    async with queue(tiny, batch_requests=4, batch_delay_s=600.0) as (tails, _):
        values = tiny.head(4, images(1))
        with pytest.raises(ExpiredError):
            await tails.compute(tiny, 4, values, left_s=0.05)
        assert (await tails.compute(tiny, 4, values, left_s=60.0)).batch_requests == 1


async def test_a_worker_waits_for_those_it_has_just_answered(tiny):
    async def ask_thrice(image):
        values = tiny.head(4, (image,))
        return [(await tails.compute(tiny, 4, values)).batch_requests for _ in range(3)]

    async with queue(tiny, batch_requests=4, batch_delay_s=1.5) as (tails, gate):
        await tails.compute(tiny, 4, tiny.head(4, images(1)))
        gate.shut()
        while gate.begun.acquire(blocking=False):
            pass
        tasks = [asyncio.create_task(ask_thrice(image)) for image in images(3)]
        await asyncio.to_thread(gate.begun.acquire)
        gate.open()
        # The first goes alone, as one did before. Meanwhile two more came, so that three are expected: all go together,
        # until the first has had enough.
        assert await asyncio.gather(*tasks) == [[1, 3, 3], [3, 3, 2], [3, 3, 2]]


async def test_who_waits_for_more_is_not_passed_over_for_longer_than_that(tiny):
    async def go_on(image):
        values = tiny.head(3, (image,))
        while not lone.done():
            await tails.compute(tiny, 3, values)

    async with queue(tiny, batch_requests=2, batch_delay_s=0.2) as (tails, _):
        lone = asyncio.create_task(tails.compute(tiny, 4, tiny.head(4, images(1))))
        await asyncio.wait_for(asyncio.gather(*(go_on(image) for image in images(4))), 60.0)
        assert lone.result().queue_s >= 0.2


async def test_who_waits_for_more_holds_up_no_other_kind(tiny):
    async with queue(tiny, batch_requests=2, batch_delay_s=600.0) as (tails, _):
        lone = await ask(tails, tiny, 4, images(1)[0])
        pair = [await ask(tails, tiny, 3, image) for image in images(2)]
        done = await asyncio.wait_for(asyncio.gather(*pair), 60.0)
        assert [result.batch_requests for result in done] == [2, 2]
        assert not lone.done()
        lone.cancel()


async def test_where_they_do_not_run_together_each_runs_alone(tiny):
    async with queue(tiny, batch_requests=4, batch_delay_s=0.0) as (tails, gate):
        gate.shut()
        tasks = [await ask(tails, tiny, 4, image) for image in images(4)]
        await asyncio.to_thread(gate.begun.acquire)
        gate.failing = {2, 3}  # the other three together, and then the first of them alone
        gate.open()
        await tasks[0]
        done = await asyncio.gather(*tasks[1:], return_exceptions=True)
    assert isinstance(done[0], MalformedError)
    assert str(done[0]) == "the tail from cut 4 does not run on these values: no kernel for this at all"
    assert [result.batch_requests for result in done[1:]] == [1, 1]


async def test_a_tail_that_finds_no_memory_is_not_the_requests_fault(tiny):
    async with queue(tiny) as (tails, gate):
        gate.starving = {1}
        task = await ask(tails, tiny, 4, images(1)[0])
        with pytest.raises(OutOfMemoryError, match=r"cut 4 ran out of memory: .*DefaultCPUAllocator") as caught:
            await task
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
        assert (await tails.compute(tiny, 4, tiny.head(4, tuple(images(1))))).batch_requests == 1


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(tiny):
    async with queue(tiny, queue=2) as (tails, gate):
        gate.shut()
        tasks = [await ask(tails, tiny, 4, image) for image in images(3)]
        with pytest.raises(BusyError, match="this cloud is busy: 2 requests wait") as caught:
            await tails.compute(tiny, 4, tiny.head(4, images(1)))
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
        assert tails.read("midcut_cloud_waiting") == 2.0
        assert tails.read("midcut_cloud_dropped_total", reason="busy") == 1.0
        gate.open()
        assert len(await asyncio.gather(*tasks)) == 3


async def test_a_request_whose_time_is_over_is_answered_then_and_never_computed(tiny):
    async with queue(tiny) as (tails, gate):
        gate.shut()
        first = await ask(tails, tiny, 4, images(1)[0])
        with pytest.raises(ExpiredError, match="over before its tail was done") as caught:
            await tails.compute(tiny, 4, tiny.head(4, images(1)), left_s=0.05)
        assert caught.value.status == 504
        assert tails.read("midcut_cloud_waiting") == 0.0
        with pytest.raises(ExpiredError, match="over before its tail was begun"):
            await tails.compute(tiny, 4, tiny.head(4, images(1)), left_s=-0.05)
        gate.open()
        await first
        assert gate.runs == 1
        assert tails.read("midcut_cloud_dropped_total", reason="expired") == 2.0


async def test_a_request_that_would_be_late_is_refused_before_it_waits(tiny):
    async with queue(tiny) as (tails, gate):
        tails._tail_s = 50.0  # what tails took so far
        gate.shut()
        first = await ask(tails, tiny, 4, images(1)[0])
        second = await ask(tails, tiny, 4, images(1)[0])
        with pytest.raises(BusyError, match="the expected wait is longer than the time left") as caught:
            await tails.compute(tiny, 4, tiny.head(4, images(1)), left_s=90.0)
        assert (caught.value.status, caught.value.headers) == (503, {})  # with a Retry-After nobody would be sent
        gate.open()
        await asyncio.gather(first, second)
        # Nothing waits any more: it is tried, and tails turn out to be faster than thought.
        assert await tails.compute(tiny, 4, tiny.head(4, images(1)), left_s=40.0)


async def test_nobody_waits_any_more_and_the_tail_is_not_run(tiny):
    async with queue(tiny) as (tails, gate):
        gate.shut()
        first, second = [await ask(tails, tiny, 4, image) for image in images(2)]
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert tails.read("midcut_cloud_waiting") == 0.0
        gate.open()
        await first
        await asyncio.sleep(0.01)
        assert gate.runs == 1
        assert tails.read("midcut_cloud_dropped_total", reason="gone") == 1.0


async def test_as_many_workers_as_told(tiny):
    async with queue(tiny, workers=2) as (tails, gate):
        gate.shut()
        tasks = [await ask(tails, tiny, 4, image) for image in images(3)]
        await asyncio.to_thread(gate.begun.acquire)
        await asyncio.to_thread(gate.begun.acquire)
        await asyncio.sleep(0.02)
        assert gate.runs == 2
        gate.open()
        await asyncio.gather(*tasks)


async def test_whoever_was_just_answered_may_ask_again_at_once(tiny):
    async with queue(tiny) as (tails, gate):
        values = tiny.head(8, images(1))
        async with asyncio.timeout(60):
            for _ in range(400):
                await tails.compute(tiny, 8, values)
        assert gate.runs == 400


async def test_a_tail_shorter_than_the_way_to_a_thread_runs_on_the_loop_until_it_is_longer(tiny):
    async with queue(tiny) as (tails, gate):
        values, threads = tiny.head(8, images(1)), []
        run = gate.run

        def run_as_if(segment):
            threads.append(threading.current_thread())
            values, _ = run(segment)
            return values, gate.reported_s

        gate.run, gate.reported_s = run_as_if, 1e-5
        for gate.reported_s in [1e-5] * 2 + [1e-3] * 5 + [1e-5] * 3:
            await tails.compute(tiny, 8, values)
        here = [thread is threading.current_thread() for thread in threads]
        assert here == [False, *[True] * 5, *[False] * 3, True]  # by the second shortest of the last five


async def test_the_queue_is_bounded_in_seconds_too(tiny):
    async with queue(tiny, queue_s=10.0) as (tails, gate):
        tails._tail_s = 4.0  # what tails took so far
        gate.shut()
        tasks = [await ask(tails, tiny, 4, image) for image in images(2)]
        tails._check_in_flight(2)  # 8 s
        tasks.append(await ask(tails, tiny, 4, images(1)[0]))
        with pytest.raises(BusyError, match="2 requests wait, which takes about 12 s") as caught:
            tails._check_in_flight(3)
        assert caught.value.headers == {"Retry-After": "12"}
        gate.open()
        await asyncio.gather(*tasks)


async def test_short_tails_that_queued_up_run_on_the_loop_one_after_another(tiny):
    async with queue(tiny) as (tails, gate):
        for image in images(3):
            await tails.compute(tiny, 8, tiny.head(8, (image,)))  # now known to be short
        gate.shut()
        held = await ask(tails, tiny, 4, images(1)[0])
        pictures = images(4)
        waiting = [await ask(tails, tiny, 8, image) for image in pictures]
        assert tails.read("midcut_cloud_waiting") == 4.0
        gate.open()
        results = (await asyncio.gather(held, *waiting))[1:]
    for result, picture in zip(results, pictures, strict=True):
        (whole,) = tiny.tail(8, tiny.head(8, (picture,)))
        assert torch.equal(result.values[0], whole)
