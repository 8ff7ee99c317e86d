"""Frames of an input that blocks, such as a camera, for the event loop: read on a thread, dropped when late."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from midcut.errors import MidcutError

if TYPE_CHECKING:
    from midcut.protocols import Input
    from midcut.types import Frame

_log = structlog.get_logger("midcut.stream")
_REOPEN_S: Final = 2.0
_END_S: Final = 5.0


class FrameReader:
    """Reads an input on a thread of its own.

    Of a live input only the newest frame waits: one that is not taken before the next comes is dropped. Of another one
    the thread waits until there is room. A live input that fails is opened again.

    Attributes:
        dropped: frames that came too late to be taken.
    """

    def __init__(self, source: Input) -> None:
        self.dropped = 0
        self._source = source
        self._waiting: deque[Frame] = deque()
        self._room = threading.Semaphore(max(source.concurrency, 1))
        self._arrived = asyncio.Event()
        self._stop = threading.Event()
        self._ended = False
        self._error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)
        self._thread.start()

    async def next(self) -> Frame | None:
        """The next frame; None at the end.

        Raises:
            FileError, MidcutError: the input failed, and it is not live, so it is not opened again.
        """
        while not self._waiting and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        if self._waiting:
            frame = self._waiting.popleft()
            self._room.release()
            return frame
        if self._error is not None:
            raise self._error
        return None

    async def close(self) -> None:
        """Let the thread end, and wait for it, but for a camera that gives no frame not for ever.

        FFmpeg's libraries crash where a process ends while they still read.
        """
        self._stop.set()
        self._room.release()
        await asyncio.to_thread(self._thread.join, _END_S)

    def _read(self) -> None:
        failing = False
        while not self._stop.is_set():
            try:
                for frame in self._source.frames():
                    failing = False
                    if not self._offer(frame):
                        return
                if not self._source.endless:
                    break
            except Exception as error:  # noqa: BLE001 - a plugin's input may raise anything
                if not self._source.endless:
                    self._error = error if isinstance(error, MidcutError) else MidcutError(f"the input failed: {error}")
                    break
                if not failing:
                    failing = True
                    _log.warning("the input fails; it is opened again and again", reason=str(error))
            self._stop.wait(_REOPEN_S)
        self._tell(self._end)

    def _offer(self, frame: Frame) -> bool:
        """Hand a frame over. Returns whether to go on."""
        if not self._source.live:
            self._room.acquire()
        if self._stop.is_set():
            return False
        self._tell(self._put, frame)
        return True

    def _put(self, frame: Frame) -> None:
        if self._source.live and self._waiting:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(frame)
        self._arrived.set()

    def _end(self) -> None:
        self._ended = True
        self._arrived.set()

    def _tell(self, call: object, *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)  # type: ignore[arg-type]
        except RuntimeError:  # the loop has ended
            self._stop.set()
