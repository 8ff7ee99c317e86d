"""The route of a request over relays, and the times of its further hops, as parameters of the Open Inference Protocol.

A request to a relay has `route`: for each further hop the cut at which it begins and, where it is not `raw`, the codec:
`"12"`, `"12:zstd"`, `"12:zstd,20"`. `hops` counts the relays that passed it on. The reply has `route_us`: for each
further hop the microseconds of the link and of computation behind it, and the bytes sent and received there:
`"20310,4211,64312,4512"`; and `fallback`, where a relay finished the tail itself, with the reason. Parameters of
tensors are not concerned. A server that is no relay ignores none of them: it refuses a request with a route.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from midcut.errors import MalformedError
from midcut.types import Placement, TierTimes

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUTE: Final = "route"
ROUTE_US: Final = "route_us"
MOST_HOPS: Final = 4
"""Relays that may pass one request on; beyond, it goes round in circles."""
ROUTE_REPLY_BYTES: Final = len(',"route_us":"10000,10000,100000,1000"')

_FIELDS: Final = 4


def route_text(placement: Placement) -> str:
    """The parameter `route` for a placement of the receiver."""
    return ",".join(f"{hop.cut}" if hop.codec == "raw" else f"{hop.cut}:{hop.codec}" for hop in placement.hops)


def read_route(text: str, cut: int) -> Placement:
    """Parse the parameter `route` of a request.

    Args:
        cut: where the request itself begins.

    Raises:
        MalformedError: not of this form, too many hops, or cuts that go back.
    """
    hops = []
    for part in text.split(","):
        digits, _, codec = part.partition(":")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 7):
            raise MalformedError(
                f"parameter {ROUTE} must be cuts like 12 or 12:zstd, separated by commas, got {text!r:.60}"
            )
        if int(digits) < cut:
            raise MalformedError(f"parameter {ROUTE}={text!r:.60} goes back: cut {digits} comes before cut {cut}")
        cut = int(digits)
        hops.append((cut, codec or "raw"))
    if len(hops) > MOST_HOPS:
        raise MalformedError(f"parameter {ROUTE} has {len(hops)} hops, the most are {MOST_HOPS}")
    placement = None
    for stop, codec in reversed(hops):
        placement = Placement(stop, codec, placement)
    assert placement is not None  # noqa: S101 - a split text has at least one part
    return placement


def times_text(beyond: Sequence[TierTimes]) -> str:
    """The parameter `route_us` of a reply."""
    return ",".join(
        f"{int(times.link_s * 1e6)},{int(times.compute_s * 1e6)},{times.sent_bytes},{times.received_bytes}"
        for times in beyond
    )


def read_times(text: str) -> tuple[TierTimes, ...]:
    """Parse the parameter `route_us` of a reply.

    Raises:
        MalformedError: not of this form.
    """
    parts = text.split(",")
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 16]
    if len(numbers) != len(parts) or not numbers or len(numbers) % _FIELDS or len(numbers) > _FIELDS * MOST_HOPS:
        raise MalformedError(f"parameter {ROUTE_US} must be four whole numbers for each hop, got {text!r:.60}")
    columns = (numbers[start::_FIELDS] for start in range(_FIELDS))
    return tuple(
        TierTimes(link_us / 1e6, compute_us / 1e6, sent, received)
        for link_us, compute_us, sent, received in zip(*columns, strict=True)
    )
