"""The event loop that midcut's programs run on."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    import torch

_T = TypeVar("_T")
# Copying, decoding or encoding more bytes than this would hold up whatever else runs there: about a millisecond.
_ON_LOOP_BYTES: Final = 256 * 1024
# A byte of numbers as text takes so many times as long to read or to write as one that is copied: 256 KiB take 20 ms.
TEXT_WEIGHT: Final = 16


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """`asyncio.run`, on uvloop where the platform has it: there, a small request takes a third of the time.

    Args:
        main: what to run; the loop ends with it.
    """
    with _handlers_restored(), asyncio.Runner(loop_factory=_factory()) as runner:
        return runner.run(main)


async def off_loop(size_bytes: int, work: Callable[..., _T], *arguments: Any) -> _T:
    """Do work on many bytes on a thread, on few at once: a thread takes longer to wake than those.

    Args:
        size_bytes: what the work goes through; numbers as text count `TEXT_WEIGHT` times.
    """
    return await asyncio.to_thread(work, *arguments) if size_bytes > _ON_LOOP_BYTES else work(*arguments)


def size_bytes(values: Iterable[torch.Tensor | int]) -> int:
    """What work on values goes through: even where no byte is copied, it makes their checksum."""
    return sum(value.nbytes for value in values if not isinstance(value, int))


@contextmanager
def _handlers_restored() -> Iterator[None]:
    """A loop of uvloop leaves its own behind, which would make a process deaf to Ctrl-C and SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _factory() -> Any:
    """Makes a loop; None for the platform's own."""
    try:
        import uvloop  # noqa: PLC0415 - Windows has none
    except ImportError:
        return None
    return uvloop.new_event_loop
