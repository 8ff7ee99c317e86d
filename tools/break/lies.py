"""Faults of a connection that speak HTTP: answers that a cloud never gave, and ways that a firewall has forgotten."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from midcut.proxies.relay import ConnectionCutError
from midcut.proxies.toxics import Toxic, ToxicState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
OVERSIZED = b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 9\r\nContent-Length: 60000000\r\n\r\n"


@dataclass
class Era:
    """Counts how often the way was forgotten."""

    number: int = 1


@dataclass(frozen=True)
class ForgottenWay(Toxic):
    """Swallows all data of connections that were open when the era changed; new ones pass."""

    name: ClassVar[str] = "forgotten_way"
    era: Era = field(default_factory=Era)

    def __post_init__(self) -> None:
        """The era is no number that could be out of bounds."""

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        state.passed_bytes = state.passed_bytes or self.era.number  # of a connection, when it began
        if state.passed_bytes == self.era.number:
            yield data


@dataclass(frozen=True)
class FalseRefusal(Toxic):
    """Answers 503 itself, as a proxy does, and ends the connection."""

    name: ClassVar[str] = "false_refusal"

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        yield BUSY
        raise ConnectionCutError(reset=False)


@dataclass(frozen=True)
class Oversized(Toxic):
    """Announces an answer of 60 MB where 40 bytes are due, and begins to send it."""

    name: ClassVar[str] = "oversized"

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        yield OVERSIZED
        for _ in range(20):
            yield bytes(1_000_000)


@dataclass(frozen=True)
class Liar(Toxic):
    """Reports the longest times that fit in as many digits."""

    name: ClassVar[str] = "liar"

    async def carry(self, data: bytes, at_s: float, state: ToxicState) -> AsyncIterator[bytes]:  # noqa: ARG002
        yield re.sub(rb'(?<=_us":)\d+', lambda found: b"9" * len(found[0]), data)
