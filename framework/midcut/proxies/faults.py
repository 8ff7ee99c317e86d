"""A TCP proxy that breaks connections on purpose, in the way and at the moment it is told.

    python -m midcut.testing.faults --upstream 127.0.0.1:8700 --listen 127.0.0.1:8701 \
        --toxic latency:latency_ms=50,jitter_ms=20 --toxic limit_data@upstream:limit_bytes=2000,toxicity=0.1

The toxics and their names are Toxiproxy's (`midcut.testing.toxics`), and `garbage` beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Final

from midcut.errors import ConfigError
from midcut.proxies.relay import Relay, told_to_end
from midcut.proxies.toxics import TOXICS, ConnectionCutError, Toxic, ToxicStates, toxic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

_CHUNK_BYTES: Final = 65536
_QUEUED: Final = 256
_RESET: Final = struct.pack("ii", 1, 0)

_End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Stream(Enum):
    """Which way: upstream goes to the server, downstream back to the client."""

    upstream = "upstream"
    downstream = "downstream"


@dataclass(frozen=True)
class _Applied:
    key: int
    toxic: Toxic
    stream: Stream
    toxicity: float


class FaultProxy(Relay):
    """The proxy, in a thread with an event loop of its own. A context manager.

        with FaultProxy("127.0.0.1:8700") as proxy:
            with proxy.under(Latency(latency_ms=100)):
                ...  # talk to proxy.address
            proxy.enabled = False  # nobody is there any more

    Toxics may come and go at any time; they act on connections that stand already, too.

    Args:
        upstream: HOST:PORT it leads to.
        listen: HOST:PORT to listen on; port 0 lets the system choose.
        seed: of jitter, slices, garbage, and of which connections a toxic acts on.

    Raises:
        ConfigError: an address that is none, or on entering, one that cannot be listened on.
    """

    def __init__(self, upstream: str, *, listen: str = "127.0.0.1:0", seed: int = 0) -> None:
        super().__init__("fault proxy", upstream, listen)
        self._dice = Random(seed)
        self._keys = count()
        self._applied: tuple[_Applied, ...] = ()
        self._enabled = True
        self._ends: set[asyncio.WriteTransport] = set()

    @property
    def enabled(self) -> bool:
        """False: new connections are closed at once, those that stand are reset."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        self._enabled = enabled
        if not enabled:
            self.cut()

    def add(self, toxic: Toxic, stream: Stream = Stream.downstream, toxicity: float = 1.0) -> None:
        """Let a toxic act.

        Args:
            toxic: what happens.
            stream: which way.
            toxicity: share of the connections it acts on.
        """
        if not 0.0 <= toxicity <= 1.0:
            raise ConfigError(f"toxicity must be from 0 to 1, got {toxicity}")
        self._applied = (*self._applied, _Applied(next(self._keys), toxic, stream, toxicity))

    def clear(self) -> None:
        """Take all toxics away. A chunk they hold back just now still comes as they have it."""
        self._applied = ()

    @contextmanager
    def under(self, toxic: Toxic, stream: Stream = Stream.downstream, toxicity: float = 1.0) -> Iterator[None]:
        """A toxic for the length of a block."""
        before = self._applied
        self.add(toxic, stream, toxicity)
        added = self._applied[len(before) :]
        try:
            yield
        finally:
            self._applied = tuple(one for one in self._applied if one not in added)

    def cut(self) -> None:
        """Reset every connection that stands."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._reset_all)

    def _reset_all(self) -> None:
        for end in self._ends:
            _end(end, reset=True)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends, reset = [writer.transport], not self._enabled
        self._ends.add(writer.transport)
        try:
            if self._enabled:
                far = await self.connect()
                ends.append(far[1].transport)
                self._ends.add(far[1].transport)
                await self._join((reader, writer), far)
        except* (
            OSError,
            ConnectionCutError,
        ) as broken:  # a side that broke, or was never there: the other one breaks too
            reset = not all(isinstance(one, ConnectionCutError) and not one.reset for one in broken.exceptions)
        finally:
            self._ends.difference_update(ends)
            for end in ends:
                _end(end, reset=reset)

    async def _join(self, near: _End, far: _End) -> None:
        async with asyncio.TaskGroup() as group:
            for source, sink, stream in ((near[0], far[1], Stream.upstream), (far[0], near[1], Stream.downstream)):
                queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
                group.create_task(_take(source, queue))
                group.create_task(self._deliver(queue, sink, stream))

    async def _deliver(
        self, queue: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter, stream: Stream
    ) -> None:
        states = ToxicStates(Random(self._dice.random()))
        while True:
            at_s, data = await queue.get()
            acting = [one for one in self._applied if one.stream is stream and states.of(one.key, one.toxicity)[0]]
            if not data:
                for one in acting:
                    await one.toxic.end()
                sink.write_eof()
                return
            async for piece in _through(data, at_s, acting, states):
                sink.write(piece)
                await sink.drain()


async def _take(source: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
    data = b"begun"
    while data:
        data = await source.read(_CHUNK_BYTES)
        await queue.put((asyncio.get_running_loop().time(), data))


async def _through(data: bytes, at_s: float, acting: Sequence[_Applied], states: ToxicStates) -> AsyncIterator[bytes]:
    if not acting:
        yield data
        return
    first, rest = acting[0], acting[1:]
    async for piece in first.toxic.carry(data, at_s, states.of(first.key, first.toxicity)[1]):
        async for carried in _through(piece, at_s, rest, states):
            yield carried


def _end(transport: asyncio.WriteTransport, *, reset: bool) -> None:
    if not reset:
        transport.close()
        return
    held = transport.get_extra_info("socket")
    if held is not None and held.fileno() >= 0:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def parse_toxic(text: str) -> tuple[Toxic, Stream, float]:
    """Read `NAME[@STREAM][:KNOB=NUMBER,...]`; `toxicity` is one of the knobs.

    Raises:
        ConfigError: it is none of that.
    """
    what, _, told = text.partition(":")
    name, _, stream = what.partition("@")
    try:
        knobs = {key: _number(value) for key, _, value in (pair.partition("=") for pair in told.split(",") if pair)}
        way = Stream(stream or "downstream")
    except ValueError:
        raise ConfigError(f"a toxic is NAME[@upstream|@downstream][:KNOB=NUMBER,...], got {text!r}") from None
    toxicity = knobs.pop("toxicity", 1.0)
    return toxic(name, **knobs), way, toxicity


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m midcut.testing.faults", description="A proxy that breaks things.")
    parser.add_argument("--upstream", required=True, metavar="HOST:PORT", help="where the server listens")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0 lets the system choose")
    parser.add_argument(
        "--toxic",
        action="append",
        default=[],
        metavar="NAME[@STREAM][:KNOB=NUMBER,...]",
        help=f"{', '.join(TOXICS)}; several times for several",
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy until SIGTERM or SIGINT. Returns the exit status."""
    options = _arguments().parse_args(arguments)
    ended = told_to_end()
    try:
        toxics = [parse_toxic(text) for text in options.toxic]
        with FaultProxy(options.upstream, listen=options.listen, seed=options.seed) as proxy:
            for one in toxics:
                proxy.add(*one)
            sys.stdout.write(f"fault proxy ready: {proxy.address} -> {options.upstream}, {len(toxics)} toxics\n")
            sys.stdout.flush()
            ended.wait()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
