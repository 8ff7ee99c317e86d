"""A TCP proxy that breaks connections on purpose, in a chosen way and at a chosen moment.

    python -m midcut.testing.faults --upstream 127.0.0.1:8700 --listen 127.0.0.1:8701 \
        --toxic latency:latency_ms=50,jitter_ms=20 --toxic limit_data@upstream:limit_bytes=2000,toxicity=0.1

The toxics and their names are Toxiproxy's (`midcut.proxies.toxics`), and `garbage` and `bit_flips` beside them.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from midcut.errors import ConfigError
from midcut.proxies.relay import ConnectionCutError, Direction, Relay, run_proxy
from midcut.proxies.toxics import TOXICS, Toxic, ToxicState, toxic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence


class Stream(Enum):
    """A direction of a connection: upstream goes to the server, downstream back to the client."""

    upstream = "upstream"
    downstream = "downstream"


@dataclass(frozen=True)
class _AppliedToxic:
    key: int
    toxic: Toxic
    stream: Stream
    toxicity: float


class FaultProxy(Relay):
    """The proxy, in a thread with an event loop of its own. A context manager.

        with FaultProxy("127.0.0.1:8700") as proxy:
            with proxy.under(Latency(latency_ms=100)):
                ...  # talk to proxy.address
            proxy.enabled = False  # from here on the server seems to be gone

    Toxics may come and go at any time; they act on open connections, too.

    Args:
        upstream: HOST:PORT to which it connects.
        listen: HOST:PORT to listen on; port 0 lets the system choose.
        seed: of jitter, slices, garbage, and of which connections a toxic acts on.

    Raises:
        ConfigError: an address is not HOST:PORT, or on entering, cannot be listened on.
    """

    def __init__(self, upstream: str, *, listen: str = "127.0.0.1:0", seed: int = 0) -> None:
        super().__init__("fault proxy", upstream, listen)
        self._dice = Random(seed)
        self._keys = count()
        self._applied: tuple[_AppliedToxic, ...] = ()
        self._enabled = True

    @property
    def enabled(self) -> bool:
        """False: open connections are reset, and new ones as soon as they are accepted."""
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
            stream: in which direction.
            toxicity: share of the connections it acts on.
        """
        if not 0.0 <= toxicity <= 1.0:
            raise ConfigError(f"toxicity must be from 0 to 1, got {toxicity}")
        self._applied = (*self._applied, _AppliedToxic(next(self._keys), toxic, stream, toxicity))

    def clear(self) -> None:
        """Take all toxics away. A chunk that they are delaying now still arrives as they have it."""
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
            self._applied = tuple(applied for applied in self._applied if applied not in added)

    def directions(self) -> tuple[Direction, Direction]:
        if not self._enabled:
            raise ConnectionCutError(reset=True)
        return self._direction(Stream.upstream), self._direction(Stream.downstream)

    def _direction(self, stream: Stream) -> Direction:
        return _ToxicDirection(
            lambda: [applied for applied in self._applied if applied.stream is stream], Random(self._dice.random())
        )


class _ToxicDirection(Direction):
    """One direction of one connection, through the toxics that act on it.

    Args:
        applied: gives the toxics of this direction at the moment.
        dice: of the toxics, and of whether each of them acts on this connection at all.
    """

    def __init__(self, applied: Callable[[], Sequence[_AppliedToxic]], dice: Random) -> None:
        self._applied = applied
        self._dice = dice
        self._states: dict[int, ToxicState | None] = {}

    async def pass_on(self, data: bytes, due_at_s: float) -> AsyncIterator[bytes]:
        async for piece in _pass_through(data, due_at_s, self._acting()):
            yield piece

    async def end(self) -> None:
        for acting, _ in self._acting():
            await acting.end()

    def _acting(self) -> list[tuple[Toxic, ToxicState]]:
        acting = []
        for applied in self._applied():
            if applied.key not in self._states:
                acts = self._dice.random() < applied.toxicity
                self._states[applied.key] = ToxicState(self._dice) if acts else None
            if (state := self._states[applied.key]) is not None:
                acting.append((applied.toxic, state))
        return acting


async def _pass_through(data: bytes, at_s: float, acting: Sequence[tuple[Toxic, ToxicState]]) -> AsyncIterator[bytes]:
    if not acting:
        yield data
        return
    (toxic, state), *rest = acting
    async for piece in toxic.carry(data, at_s, state):
        async for passed in _pass_through(piece, at_s, rest):
            yield passed


def parse_toxic(text: str) -> tuple[Toxic, Stream, float]:
    """Read `NAME[@STREAM][:SETTING=NUMBER,...]`; `toxicity` is one of the settings.

    Raises:
        ConfigError: the text is not of that form, or no toxic has that name or setting.
    """
    target, _, settings = text.partition(":")
    name, _, stream = target.partition("@")
    try:
        numbers = {
            key: _parse_number(value) for key, _, value in (pair.partition("=") for pair in settings.split(",") if pair)
        }
        direction = Stream(stream or "downstream")
    except ValueError:
        raise ConfigError(f"a toxic is NAME[@upstream|@downstream][:SETTING=NUMBER,...], got {text!r}") from None
    toxicity = numbers.pop("toxicity", 1.0)
    return toxic(name, **numbers), direction, toxicity


def _parse_number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)


def _build_proxy(options: argparse.Namespace) -> tuple[Relay, str]:
    proxy = FaultProxy(options.upstream, listen=options.listen, seed=options.seed)
    for text in options.toxic:
        proxy.add(*parse_toxic(text))
    return proxy, f"{len(options.toxic)} toxics"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy until SIGTERM or SIGINT. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m midcut.testing.faults", description="A proxy that breaks things.")
    parser.add_argument(
        "--toxic",
        action="append",
        default=[],
        metavar="NAME[@STREAM][:SETTING=NUMBER,...]",
        help=f"{', '.join(TOXICS)}; several times for several",
    )
    parser.add_argument("--seed", type=int, default=0, help="of jitter, slices, garbage and toxicity")
    return run_proxy(parser, _build_proxy, arguments)


if __name__ == "__main__":
    sys.exit(main())
