"""One direction of an EMULATED link, and a connection through two of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A wake-up that comes late by less than this costs no bandwidth: the virtual clock may lag so far behind.
_SLACK_S = 0.003
_CHUNK_S = 0.002
_MIN_CHUNK, _MAX_CHUNK = 1448, 65536
_QUEUE = 1024


class Direction:
    """Rate and delay, shared by all connections that go this way.

    The serialiser is a virtual clock: each chunk occupies the line for bytes * 8 / rate after the one before it, and
    arrives half a round trip later.

    Args:
        shape: gives the conditions of the moment: `bandwidth_kbps` (absent: no limit) and `ping_ms` (absent: none).
    """

    def __init__(self, shape: Callable[[], Mapping[str, float]]) -> None:
        self._shape = shape
        self._free_s = 0.0

    def chunk_bytes(self) -> int:
        """How much to take at once: some 2 ms of the line, so that a fast link costs few wake-ups."""
        rate_kbps = self._shape().get("bandwidth_kbps")
        return _MAX_CHUNK if rate_kbps is None else int(min(max(rate_kbps * 125 * _CHUNK_S, _MIN_CHUNK), _MAX_CHUNK))

    def send(self, size_bytes: int, now_s: float, waited_s: float) -> tuple[float, float]:
        """Occupy the line with a chunk that came at `now_s`, after `waited_s` in which there was nothing to send.

        Returns:
            when the chunk has left and when it arrives, both on the clock of `now_s`.
        """
        shape = self._shape()
        rate_kbps = shape.get("bandwidth_kbps")
        on_line_s = 0.0 if rate_kbps is None else size_bytes * 8 / (rate_kbps * 1e3)
        late_s = max(_SLACK_S - waited_s, 0.0)  # an idle line saves nothing up
        self._free_s = max(self._free_s, now_s - late_s) + on_line_s
        return self._free_s, max(self._free_s, now_s) + shape.get("ping_ms", 0.0) / 2e3


async def join(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    up: Direction,
    down: Direction,
) -> None:
    """Carry bytes both ways until both sides have ended.

    Raises:
        ExceptionGroup: of OSError, where one side broke.
    """
    async with asyncio.TaskGroup() as group:
        for reader, writer, direction in ((near[0], far[1], up), (far[0], near[1], down)):
            queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUE)
            group.create_task(_take(reader, direction, queue))
            group.create_task(_deliver(queue, writer))


async def _take(reader: asyncio.StreamReader, direction: Direction, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
    loop = asyncio.get_running_loop()
    data = b"begun"
    while data:
        ready_s = loop.time()
        data = await reader.read(direction.chunk_bytes())
        now_s = loop.time()
        left_s, arrives_s = direction.send(len(data), now_s, now_s - ready_s)
        await queue.put((arrives_s, data))  # an empty chunk is the end, and takes its time too
        await _until(left_s)


async def _deliver(queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    while True:
        arrives_s, data = await queue.get()
        await _until(arrives_s)
        if not data:
            writer.write_eof()
            return
        writer.write(data)
        await writer.drain()


async def _until(at_s: float) -> None:
    left_s = at_s - asyncio.get_running_loop().time()
    if left_s > 0.0:
        await asyncio.sleep(left_s)
