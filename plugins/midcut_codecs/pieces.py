"""Shared by the codecs: joining received bytes, and checks of settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midcut.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from midcut.types import Encoded, ValueSpec


def join_pieces(encoded: Encoded) -> memoryview:
    """All bytes of an encoded tensor; they are copied only where they came in several pieces."""
    if len(encoded.data) == 1:
        return memoryview(encoded.data[0]).cast("B")
    return memoryview(b"".join(encoded.data))


def join_exactly(encoded: Encoded, expected: int, codec: str, spec: ValueSpec) -> memoryview:
    """All bytes of an encoded tensor, which must be `expected` many.

    Raises:
        MalformedError: they are more or fewer.
    """
    if encoded.size_bytes != expected:
        raise MalformedError(
            f"codec {codec}: {spec.dtype} {list(spec.shape)} takes {expected} bytes, got {encoded.size_bytes}"
        )
    return join_pieces(encoded)


def check_share(value: float | None, setting: str) -> float | None:
    """Return a setting that is a share of 1, or None.

    Raises:
        ConfigError: it is neither.
    """
    if value is not None and not 0.0 <= value <= 1.0:
        raise ConfigError(f"codec.{setting} must be from 0 to 1, got {value}")
    return value


def to_bytes_per_s(mb_per_s: float, codec: str) -> float:
    """Convert the setting `mb_per_s` to bytes per second.

    Raises:
        ConfigError: it is not over 0.
    """
    if not 0.0 < mb_per_s < math.inf:
        raise ConfigError(f"codec.{codec}.mb_per_s must be over 0, got {mb_per_s}")
    return mb_per_s * 1e6
