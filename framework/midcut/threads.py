"""Threads that compute beside an event loop, with next to nothing between the two.

The way to a thread and back is part of every inference. After a network's weights have gone through the caches each
line of code on it comes from memory: with concurrent.futures it took 320 to 420 us, like this 200 us (one run each of
AlexNet's size, on uvloop).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class Threads:
    """Threads that take work from one queue, in order. They begin with the first work, which one thread gives.

    Args:
        count: how many.
        name: theirs; each has `_` and its number behind it.
        begin: called by each thread before anything else, for what holds on the thread that says it.
    """

    def __init__(self, count: int, name: str, begin: Callable[[], object] | None = None) -> None:
        self._count, self._name, self._begin = count, name, begin
        self._work: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, work: Callable[..., object], *arguments: Any) -> None:
        """Have work done and hear nothing of it: it tells its outcome itself, and raises nothing.

        Raises:
            RuntimeError: after `close`.
        """
        if self._closed:
            raise RuntimeError(f"the threads {self._name!r} have ended")
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._serve, name=f"{self._name}_{number}", daemon=True)
                for number in range(self._count)
            ]
            for thread in self._threads:
                thread.start()
        self._work.put((work, arguments))

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Have work done, and wait for its result. Cancelled, it is not begun, or its result is dropped."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()
        self.submit(_answer, loop, done, work, arguments)
        return await done

    def call(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Have work done and block until it is: before there is a loop."""
        done: Future[_T] = Future()
        self.submit(_keep, done, work, arguments)
        return done.result()

    def close(self) -> None:
        """Do what waits still, then end; blocks meanwhile. A second call does nothing."""
        self._closed = True
        threads, self._threads = self._threads, []
        for _ in threads:
            self._work.put(None)
        for thread in threads:
            thread.join()

    def _serve(self) -> None:
        if self._begin is not None:
            self._begin()
        while (item := self._work.get()) is not None:
            work, arguments = item
            work(*arguments)
            del item, work, arguments  # nothing of it is kept while this waits for more


def tell(loop: asyncio.AbstractEventLoop, what: Callable[..., object], *arguments: Any) -> None:
    """From a thread, call something on a loop; nothing where the loop has ended, and with it whoever waited."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(what, *arguments)


def _answer(
    loop: asyncio.AbstractEventLoop, done: asyncio.Future[_T], work: Callable[..., _T], arguments: tuple[Any, ...]
) -> None:
    if done.cancelled():
        return
    try:
        result = work(*arguments)
    except BaseException as error:  # noqa: BLE001 - whoever waits is told, whatever it is
        tell(loop, _fail, done, error)
    else:
        tell(loop, _settle, done, result)


def _settle(done: asyncio.Future[_T], result: _T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[_T], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


def _keep(done: Future[_T], work: Callable[..., _T], arguments: tuple[Any, ...]) -> None:
    try:
        done.set_result(work(*arguments))
    except BaseException as error:  # noqa: BLE001 - likewise
        done.set_exception(error)
