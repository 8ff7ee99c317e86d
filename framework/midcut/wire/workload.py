"""Estimates the work of decoding or encoding a message, so that much of it runs on a thread beside the event loop.

Work is counted in bytes copied.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final, TypeVar

from midcut.errors import MalformedError
from midcut.wire.oip import RAW, parse_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from midcut.types import Tensor
    from midcut.wire.body import Body
    from midcut.wire.oip_read import InferCall, WireTensor

_T = TypeVar("_T")
# Copying, decoding or encoding this many bytes takes about a millisecond; more would hold up the event loop.
_ON_LOOP_BYTES: Final = 256 * 1024
# Parsing or writing a byte of numbers as text takes this many times as long as copying one: 256 KiB take 20 ms.
TEXT_WEIGHT: Final = 16
# So much is small work whatever it is.
SMALL_BYTES: Final = _ON_LOOP_BYTES // TEXT_WEIGHT
_NUMBER_BYTES: Final = 4


async def off_loop(size_bytes: int, work: Callable[..., _T], *arguments: Any, timeout_s: float | None = None) -> _T:
    """Do large work on a thread and small work at once, as waking a thread takes longer than small work.

    Args:
        size_bytes: the bytes that the work goes through; a byte of numbers as text counts `TEXT_WEIGHT` times.
        timeout_s: limit for large work, which goes on unheeded; None without one.

    Raises:
        TimeoutError: large work took longer.
    """
    if size_bytes <= _ON_LOOP_BYTES:
        return work(*arguments)
    async with asyncio.timeout(timeout_s):
        return await asyncio.to_thread(work, *arguments)


def values_bytes(values: Iterable[Tensor | int]) -> int:
    """Bytes of the tensors; encoding goes through all of them, for the checksum even where it copies none."""
    return sum(value.nbytes for value in values if not isinstance(value, int))


def parse_cost(body: Body, header_length: str | None) -> int:
    """Work of parsing the JSON of a request body, which leaves the tensors' bytes untouched. All of a small one counts.

    Args:
        header_length: the HTTP header `Inference-Header-Content-Length`; without one all of the body is JSON.
    """
    small = body.size_bytes <= SMALL_BYTES
    return (body.size_bytes if small else _text_bytes(body, header_length)) * TEXT_WEIGHT


def read_cost(body: Body, parse_cost: int) -> int:
    """Work of reading a request body, JSON and tensors.

    Args:
        parse_cost: that of its JSON.
    """
    return body.size_bytes + parse_cost - parse_cost // TEXT_WEIGHT


def decode_cost(call: InferCall, body_cost: int) -> int:
    """Work of decoding the tensors of a request: a codec may turn few bytes into many.

    Args:
        body_cost: the `read_cost` of the body; it holds where no codec encoded them.
    """
    if call.codec == RAW:
        return body_cost
    return sum(_tensor_cost(tensor) for tensor in call.tensors)


def encode_cost(call: InferCall, values: Iterable[Tensor | int]) -> int:
    """Work of encoding the requested outputs: numbers as text take longer than their bytes."""
    as_text = not (call.binary if call.outputs is None else all(call.outputs.values()))
    return values_bytes(values) * (TEXT_WEIGHT if as_text else 1)


def _text_bytes(body: Body, header_length: str | None) -> int:
    text = header_length or ""
    length = int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else body.size_bytes
    return min(length, body.size_bytes)


def _tensor_cost(tensor: WireTensor) -> int:
    pieces = tensor.pieces
    received = len(tensor.header.data) * TEXT_WEIGHT if pieces is None else sum(map(len, pieces))
    return received + _NUMBER_BYTES * _decoded_numbers(tensor)


def _decoded_numbers(tensor: WireTensor) -> int:
    """How many numbers a tensor becomes that a codec encoded, by its header; 0 for others, whose bytes are counted."""
    try:
        shape = parse_sizes(tensor.header, "shape")
    except MalformedError:  # raised again by the decoding, which reports it
        return 0
    return 0 if shape is None else math.prod(shape)
