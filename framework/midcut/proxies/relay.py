"""A TCP proxy that changes what passes: the part that listens, connects, carries bytes both ways, stops and cleans up.

`midcut.proxies.link` and `midcut.proxies.faults` each add what happens to the bytes on their way.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from midcut.errors import ConfigError, MidcutError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Sequence

_CONNECT_S: Final = 5.0
_JOIN_S: Final = 5.0
_LINGER_0: Final = struct.pack("ii", 1, 0)  # closing such a socket sends RST instead of FIN


class ConnectionCutError(Exception):
    """This connection ends here: by a TCP RST with `reset`, otherwise in good order."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self.reset = reset


class Direction:
    """What happens to the bytes in one direction of a connection. This base class passes them on unchanged."""

    queued_chunks = 256
    """How many chunks may wait for delivery before the sender is no longer read from (back-pressure)."""

    def chunk_bytes(self) -> int:
        """How much to read at once."""
        return 65536

    def schedule(self, size_bytes: int, now_s: float, waited_s: float) -> tuple[float, float]:  # noqa: ARG002
        """Return when to read again, and when to deliver a chunk that was read at `now_s`, on the event loop's clock.

        `waited_s` is how long there was nothing to read before it. The end of the stream is a chunk of 0 bytes.
        """
        return now_s, now_s

    async def pass_on(self, data: bytes, due_at_s: float) -> AsyncIterator[bytes]:  # noqa: ARG002
        """Yield the bytes to send for a chunk, which is never empty and due now.

        Raises:
            ConnectionCutError: the connection ends.
        """
        yield data

    async def end(self) -> None:
        """Called before the end of the stream is passed on; the time it takes delays that end."""


class Relay:
    """A proxy in a thread with its own event loop, as a context manager. Subclasses implement `directions`.

    `what` names the proxy in errors and in the line that says it is ready.
    """

    def __init__(
        self,
        what: str,
        upstream: str,
        listen: str,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self.address = listen
        self.what = what
        self._upstream = _parse_address(what, "upstream", upstream)
        self._listen = _parse_address(what, "listen", listen)
        self._connections: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._error: OSError | None = None
        self._loop = new_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)

    @property
    def url(self) -> str:
        """The address as a URL."""
        return f"http://{self.address}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(_JOIN_S)
        if self._error is not None:
            self._thread.join(_JOIN_S)
            raise ConfigError(
                f"{self.what}: cannot listen on {self.address}: {self._error.strerror or self._error}"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._call_in_loop(self._stop.set)
        self._thread.join(_JOIN_S)

    def directions(self) -> tuple[Direction, Direction]:
        """Return the two directions of a new connection: to upstream, and back.

        Raises:
            ConnectionCutError: the connection is not accepted.
        """
        raise NotImplementedError

    def cut(self) -> None:
        """Reset all open connections."""
        self._call_in_loop(self._cancel_connections)

    def _cancel_connections(self) -> None:
        for connection in self._connections:
            connection.cancel()

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has already ended
            self._loop.call_soon_threadsafe(call)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._error = error
        finally:
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, *self._listen)
        host, port = server.sockets[0].getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        # This includes connections that are just being accepted and get their task only now.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio logs an error when a task that it made for a connection is cancelled, so the task is made here.
        connection = self._loop.create_task(self._carry(reader, writer))
        self._connections.add(connection)

        def forget(ended: asyncio.Task[None]) -> None:
            self._connections.discard(ended)
            if ended.cancelled():  # perhaps before its first step, so that nothing else closes the socket
                _close(writer, reset=not self._stop.is_set())

        connection.add_done_callback(forget)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes both ways until both sides have ended, or one of them has broken."""
        writers, reset = [writer], True
        try:
            up, down = self.directions()
            async with asyncio.timeout(_CONNECT_S):
                far_reader, far_writer = await asyncio.open_connection(*self._upstream)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as group:
                for source, sink, direction in ((reader, far_writer, up), (far_reader, writer, down)):
                    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(direction.queued_chunks)
                    group.create_task(_take(source, direction, queue))
                    group.create_task(_deliver(queue, direction, sink))
            reset = False
        except* ConnectionCutError as cut:
            reset = any(isinstance(error, ConnectionCutError) and error.reset for error in cut.exceptions)
        except* OSError:  # a side broke, or could not be reached: the other side is reset too
            reset = True
        finally:
            for each in writers:
                _close(each, reset=reset and not self._stop.is_set())


async def _take(source: asyncio.StreamReader, direction: Direction, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        ready_s = clock()
        data = await source.read(direction.chunk_bytes())
        now_s = clock()
        read_on_s, due_at_s = direction.schedule(len(data), now_s, now_s - ready_s)
        await queue.put((due_at_s, data))
        if not data:
            return
        await _sleep_until(read_on_s)


async def _deliver(queue: asyncio.Queue[tuple[float, bytes]], direction: Direction, sink: asyncio.StreamWriter) -> None:
    while True:
        due_at_s, data = await queue.get()
        await _sleep_until(due_at_s)
        if not data:
            await direction.end()
            sink.write_eof()
            return
        async for piece in direction.pass_on(data, due_at_s):
            sink.write(piece)
            await sink.drain()


async def _sleep_until(at_s: float) -> None:
    left_s = at_s - asyncio.get_running_loop().time()
    if left_s > 0.0:
        await asyncio.sleep(left_s)


def _close(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if not reset:
        writer.close()
        return
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    writer.transport.abort()


def _parse_address(what: str, which: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{what}: {which} must be HOST:PORT, got {text!r}")
    return host.strip("[]"), int(port)


def run_proxy(
    parser: argparse.ArgumentParser,
    build: Callable[[argparse.Namespace], tuple[Relay, str]],
    arguments: Sequence[str] | None,
) -> int:
    """Run a proxy as a program until SIGTERM or SIGINT. Main thread only.

    Args:
        parser: of the options that are the proxy's own; `--upstream` and `--listen` are added here.
        build: makes the proxy from the options, and a short text on what it does, for the ready line.
        arguments: the command line; None takes that of this process.

    Returns:
        the exit status.
    """
    parser.add_argument("--upstream", required=True, metavar="HOST:PORT", help="where the cloud listens")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0 lets the system choose")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        relay, effect = build(options)
        with relay:
            sys.stdout.write(f"{relay.what} ready: {relay.address} -> {options.upstream}, {effect}\n")
            sys.stdout.flush()
            ended.wait()
    except MidcutError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
