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
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class Threads:
    """Threads that take work from one queue, in order. They begin with the first work.

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
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, work: Callable[..., object], *arguments: Any) -> None:
        """Have work done and hear nothing of it: it tells its outcome itself, and raises nothing.

        Raises:
            RuntimeError: after `close`.
            Exception: what `begin` raised, on the first call.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the threads {self._name!r} have ended")
            if not self._threads:
                self._start()
            self._work.put((work, arguments))

    def _start(self) -> None:
        begun: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for number in range(self._count):
            name = f"{self._name}_{number}"
            thread = threading.Thread(target=self._serve, args=(begun,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        outcomes = [begun.get() for _ in self._threads]
        errors = [error for error in outcomes if error is not None]
        if errors:
            self._end(len(outcomes) - len(errors))
            raise errors[0]

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Have work done, and wait for its result. Cancelled, it is not begun, or its result is dropped."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()
        self.submit(_answer, loop, done, work, arguments)
        try:
            return await done
        finally:
            del done  # else an error holds on to itself by its traceback, and to what the work was given

    def call(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Have work done and block until it is: before there is a loop."""
        done: Future[_T] = Future()
        self.submit(_keep, done, work, arguments)
        return done.result()

    def close(self, limit_s: float | None = None) -> None:
        """Do what waits still, then end; blocks meanwhile. A second call does nothing.

        Args:
            limit_s: seconds to wait at most; work that hangs does not keep the process alive. None: no limit.
        """
        with self._lock:
            self._closed = True
            threads = self._end(len(self._threads))
        ends_s = None if limit_s is None else time.monotonic() + limit_s
        for thread in threads:
            thread.join(None if ends_s is None else max(ends_s - time.monotonic(), 0.0))

    def _end(self, living: int) -> list[threading.Thread]:
        threads, self._threads = self._threads, []
        for _ in range(living):
            self._work.put(None)
        return threads

    def _serve(self, begun: queue.SimpleQueue[BaseException | None]) -> None:
        try:
            if self._begin is not None:
                self._begin()
        except BaseException as error:  # noqa: BLE001 - whoever gave the first work is told
            begun.put(error)
            return
        begun.put(None)
        while (item := self._work.get()) is not None:
            work, arguments = item
            try:
                work(*arguments)
            except BaseException:  # noqa: BLE001 - it was to raise nothing, and others wait for this thread
                _log.exception("work on a thread failed", thread=threading.current_thread().name)
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
    finally:
        del done, work, arguments  # as in `run`


def _settle(done: asyncio.Future[_T], result: _T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[_T], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


def _keep(done: Future[_T], work: Callable[..., _T], arguments: tuple[Any, ...]) -> None:
    try:
        done.set_result(work(*arguments))
    except BaseException as error:  # noqa: BLE001 - as above
        done.set_exception(error)
