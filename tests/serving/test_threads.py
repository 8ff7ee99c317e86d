import asyncio
import gc
import subprocess
import sys
import threading
import weakref

import pytest

from midcut.serving.threads import Threads


@pytest.fixture
def one():
    with Threads(1, "compute") as threads:
        yield threads


async def test_a_result_comes_back_from_a_thread_of_that_name(one):
    assert await one.run(lambda x: (threading.current_thread().name, x + 1), 41) == ("compute_0", 42)


async def test_what_work_raises_is_raised_where_it_is_waited_for(one):
    with pytest.raises(ZeroDivisionError):
        await one.run(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        one.call(lambda: 1 / 0)
    assert await one.run(lambda: "still there") == "still there"


async def test_work_is_done_in_order(one):
    done = []
    await asyncio.gather(*(one.run(done.append, number) for number in range(100)))
    assert done == list(range(100))


async def test_every_thread_begins_as_it_is_told():
    here, both = threading.local(), threading.Barrier(2)

    def seen():
        both.wait(10)
        return here.said

    with Threads(2, "compute", lambda: setattr(here, "said", "yes")) as threads:
        assert await asyncio.gather(threads.run(seen), threads.run(seen)) == ["yes", "yes"]


async def test_work_that_nobody_waits_for_any_more_is_not_begun(one):
    begun, go = [], threading.Event()
    first = asyncio.create_task(one.run(go.wait, 10))
    second = asyncio.create_task(one.run(begun.append, 2))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.sleep(0.01)
    go.set()
    assert await first
    await one.run(begun.append, 3)
    assert begun == [3]


async def test_closing_does_what_waits_and_takes_no_more():
    done = []
    threads = Threads(1, "compute")
    for number in range(10):
        threads.submit(done.append, number)
    await asyncio.to_thread(threads.close)
    threads.close()
    assert done == list(range(10))
    with pytest.raises(RuntimeError, match="have ended"):
        threads.submit(done.append, 10)


def test_a_loop_that_ended_meanwhile_costs_no_thread(one):
    go = threading.Event()

    async def leave():
        asyncio.create_task(one.run(go.wait, 10))  # noqa: RUF006 - it is left behind on purpose
        await asyncio.sleep(0.01)

    asyncio.run(leave())
    go.set()
    assert one.call(lambda: "still there") == "still there"


async def test_threads_that_cannot_begin_say_so_and_keep_nobody_waiting():
    failing = [True, False, True]  # one thread of each two

    def begin():
        if failing and failing.pop():
            raise OSError("no more of it")

    with Threads(2, "compute", begin) as threads:
        for _ in range(2):
            with pytest.raises(OSError, match="no more of it"):
                await threads.run(list)
        assert await asyncio.gather(threads.run(list), threads.run(list)) == [[], []]


async def test_work_that_raises_against_its_word_costs_no_thread(one):
    def panic():
        raise KeyboardInterrupt

    one.submit(panic)
    assert await one.run(lambda: "still there") == "still there"


async def test_failed_work_keeps_nothing_alive(one):
    class Large:
        """Stands for a tensor."""

    given = Large()
    gone = weakref.ref(given)
    gc.disable()
    try:
        with pytest.raises(TypeError):
            await one.run(lambda one: one + 1, given)
        del given
        await one.run(list)
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()


def test_work_that_hangs_does_not_keep_the_process_alive():
    script = "import time; from midcut.serving.threads import Threads as T; t = T(1, 'a'); t.submit(time.sleep, 3600); "
    subprocess.run([sys.executable, "-c", script + "t.close(0.1)"], timeout=300, check=True)
