"""How much work it is to read or to tell a message, in bytes copied: what `off_loop` asks for."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final, TypeVar

from midcut.errors import MalformedError
from midcut.wire.oip import parse_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch

    from midcut.wire.body import Body
    from midcut.wire.oip_read import InferCall, WireTensor

_T = TypeVar("_T")
# Copying, decoding or encoding more bytes than this would hold up whatever else runs there: about a millisecond.
_ON_LOOP_BYTES: Final = 256 * 1024
# A byte of numbers as text takes so many times as long to read or to write as one that is copied: 256 KiB take 20 ms.
TEXT_WEIGHT: Final = 16
_NUMBER_BYTES: Final = 4


async def off_loop(size_bytes: int, work: Callable[..., _T], *arguments: Any) -> _T:
    """Do work on many bytes on a thread, on few at once: a thread takes longer to wake than those.

    Args:
        size_bytes: what the work goes through; numbers as text count `TEXT_WEIGHT` times.
    """
    return await asyncio.to_thread(work, *arguments) if size_bytes > _ON_LOOP_BYTES else work(*arguments)


def values_bytes(values: Iterable[torch.Tensor | int]) -> int:
    """What work on values goes through: even where no byte is copied, it makes their checksum."""
    return sum(value.nbytes for value in values if not isinstance(value, int))


def parse_cost(body: Body, header_length: str | None) -> int:
    """Reading the text of a body that nobody has looked at; the bytes of tensors stay as they stand.

    Args:
        header_length: the header `Inference-Header-Content-Length`, None where there is none: all of it is text.
    """
    return _text_bytes(body, header_length) * TEXT_WEIGHT


def read_cost(body: Body, header_length: str | None) -> int:
    """Reading a body whole, text and tensors.

    Args:
        header_length: as `parse_cost` takes it.
    """
    return parse_cost(body, header_length) + body.size_bytes - _text_bytes(body, header_length)


def decode_cost(call: InferCall, read: int) -> int:
    """Making the tensors of a request: a codec's few bytes may become many.

    Args:
        read: what `read_cost` said of its body.
    """
    return read + sum(_NUMBER_BYTES * _decoded_numbers(one) for one in call.tensors)


def encode_cost(call: InferCall, values: Iterable[torch.Tensor | int]) -> int:
    """Telling a request's outputs: numbers as text take longer than their bytes."""
    as_text = not (call.binary if call.outputs is None else all(call.outputs.values()))
    return values_bytes(values) * (TEXT_WEIGHT if as_text else 1)


def _text_bytes(body: Body, header_length: str | None) -> int:
    told = header_length or ""
    length = int(told) if told.isascii() and told.isdigit() and len(told) <= 15 else body.size_bytes
    return min(length, body.size_bytes)


def _decoded_numbers(tensor: WireTensor) -> int:
    """Of a tensor that a codec made bytes of, by what it says itself; 0 for others, which count as they stand."""
    try:
        shape = parse_sizes(tensor.header, "shape")
    except MalformedError:  # to be said by whoever reads it
        return 0
    return 0 if shape is None else math.prod(shape)
