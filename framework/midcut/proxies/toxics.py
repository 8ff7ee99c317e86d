"""The faults that a fault proxy can cause: those of Toxiproxy, under its names, `garbage` and `bit_flips`.

A toxic acts on one direction of a connection. As in Toxiproxy, times are in milliseconds (`delay_us` in microseconds).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final

from midcut.errors import ConfigError
from midcut.proxies.relay import ConnectionCutError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from random import Random

_SMOOTH_S: Final = 0.02


@dataclass
class ToxicState:
    """The state of one toxic in one direction of one connection."""

    dice: Random
    passed_bytes: int = 0


@dataclass(frozen=True)
class Toxic:
    """Base class of all toxics; this one passes everything on."""

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for setting in fields(self):
            if not getattr(self, setting.name) >= 0:
                raise ConfigError(
                    f"toxic {self.name}: {setting.name} must be 0 or more, got {getattr(self, setting.name)}"
                )

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        """Pass a chunk on, whole or in pieces, late or not at all.

        Args:
            data: the chunk, never empty.
            at_s: when it was received, on the event loop's clock.
            state: of this toxic in this direction of the connection.

        Raises:
            ConnectionCutError: the connection ends.
        """
        yield data

    async def end(self) -> None:
        """Called when the sender has closed its side. The time it takes delays the end of the stream."""


@dataclass(frozen=True)
class Latency(Toxic):
    """All data is delayed by `latency_ms`, plus or minus up to `jitter_ms`."""

    name: ClassVar[str] = "latency"
    latency_ms: float = 0.0
    jitter_ms: float = 0.0

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:
        delay_s = (self.latency_ms + state.dice.uniform(-self.jitter_ms, self.jitter_ms)) / 1e3
        await asyncio.sleep(max(at_s + delay_s - asyncio.get_running_loop().time(), 0.0))
        yield data


@dataclass(frozen=True)
class Bandwidth(Toxic):
    """Limits the rate to `rate_kbytes_s` thousand bytes per second."""

    name: ClassVar[str] = "bandwidth"
    rate_kbytes_s: float = 1000.0

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        rate_s = max(self.rate_kbytes_s, 1e-3) * 1e3
        size = max(int(rate_s * _SMOOTH_S), 1)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            await asyncio.sleep(len(piece) / rate_s)
            yield piece


@dataclass(frozen=True)
class SlowClose(Toxic):
    """Delays the end of the stream by `delay_ms`."""

    name: ClassVar[str] = "slow_close"
    delay_ms: float = 0.0

    async def end(self) -> None:
        await asyncio.sleep(self.delay_ms / 1e3)


@dataclass(frozen=True)
class Timeout(Toxic):
    """Drops all data, and closes the connection `timeout_ms` after the first data; with 0 it never closes."""

    name: ClassVar[str] = "timeout"
    timeout_ms: float = 0.0

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        if self.timeout_ms > 0.0:
            await asyncio.sleep(self.timeout_ms / 1e3)
            raise ConnectionCutError(reset=False)
        return
        yield b""  # an async generator that yields nothing


@dataclass(frozen=True)
class ResetPeer(Toxic):
    """Drops all data, and resets the connection `timeout_ms` after the first data."""

    name: ClassVar[str] = "reset_peer"
    timeout_ms: float = 0.0

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        await asyncio.sleep(self.timeout_ms / 1e3)
        raise ConnectionCutError(reset=True)
        yield b""  # see `Timeout.carry`


@dataclass(frozen=True)
class Slicer(Toxic):
    """Splits data into pieces of `average_bytes`, plus or minus up to `variation_bytes`, `delay_us` apart."""

    name: ClassVar[str] = "slicer"
    average_bytes: int = 64
    variation_bytes: int = 0
    delay_us: float = 0.0

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        start = 0
        while start < len(data):
            size = self.average_bytes + state.dice.randint(-self.variation_bytes, self.variation_bytes)
            piece = data[start : start + max(size, 1)]
            start += len(piece)
            yield piece
            await asyncio.sleep(self.delay_us / 1e6)


@dataclass(frozen=True)
class LimitData(Toxic):
    """Closes the connection after `limit_bytes`, e.g. in the middle of a body."""

    name: ClassVar[str] = "limit_data"
    limit_bytes: int = 0

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        left = self.limit_bytes - state.passed_bytes
        state.passed_bytes += len(data)
        if left > 0:
            yield data[:left]
        if len(data) >= left:
            raise ConnectionCutError(reset=False)


@dataclass(frozen=True)
class Garbage(Toxic):
    """Replaces everything after the first `after_bytes` by as many random bytes."""

    name: ClassVar[str] = "garbage"
    after_bytes: int = 0

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        intact_bytes = min(max(self.after_bytes - state.passed_bytes, 0), len(data))
        state.passed_bytes += len(data)
        yield data[:intact_bytes] + state.dice.randbytes(len(data) - intact_bytes)


@dataclass(frozen=True)
class BitFlips(Toxic):
    """Flips one bit in about `every_bytes` bytes; each chunk of that size or more has at least one."""

    name: ClassVar[str] = "bit_flips"
    every_bytes: int = 100_000

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        flips, rest = divmod(len(data), max(self.every_bytes, 1))
        flips += state.dice.random() * max(self.every_bytes, 1) < rest
        damaged = bytearray(data)
        for _ in range(flips):
            bit = state.dice.randrange(8 * len(data))
            damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


TOXICS: Final = {
    kind.name: kind
    for kind in (Latency, Bandwidth, SlowClose, Timeout, ResetPeer, Slicer, LimitData, Garbage, BitFlips)
}


def toxic(name: str, **settings: float) -> Toxic:
    """Make a toxic by its name.

    Raises:
        ConfigError: no such toxic or setting, or a setting below 0.
    """
    kind: Any = TOXICS.get(name)
    if kind is None:
        raise ConfigError(f"no toxic is named {name!r}; there are: {', '.join(TOXICS)}")
    known = [setting.name for setting in fields(kind)]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise ConfigError(f"toxic {name} has no {unknown[0]}; there are: {', '.join(known) or 'none'}")
    whole = [setting.name for setting in fields(kind) if setting.type == "int" and setting.name in settings]
    for setting in whole:
        if settings[setting] % 1:
            raise ConfigError(f"toxic {name}: {setting} must be a whole number, got {settings[setting]}")
    instance: Toxic = kind(**settings | {setting: int(settings[setting]) for setting in whole})
    return instance
