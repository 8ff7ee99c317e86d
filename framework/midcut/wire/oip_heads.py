"""What the JSON of a message says of one tensor. Its bytes, and torch, are not needed for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from midcut.errors import MalformedError
from midcut.wire.oip import DATATYPES, TensorHead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.types import Encoded

# Prefix of the parameters that are the codec's own.
CODEC_PREFIX: Final = "codec_"


def int_head(name: str, value: int) -> tuple[TensorHead, Sequence[memoryview]]:
    """What a message says of a plain int, which has no bytes beside the JSON."""
    return TensorHead(name, (1,), "INT64", {"int": True}, msgspec.Raw(b"[%d]" % value)), ()


def tensor_head(
    name: str, dtype: str, shape: tuple[int, ...], size_bytes: int, dim_order: Sequence[int] | None = None
) -> TensorHead:
    """What a request says of a tensor that travels as it is."""
    parameters: dict[str, Any] = {"binary_data_size": size_bytes}
    if dim_order is not None:
        parameters["dim_order"] = _listed(dim_order)
    return TensorHead(name, shape, DATATYPES[dtype], parameters)


def coded_head(
    name: str, dtype: str, shape: tuple[int, ...], encoded: Encoded
) -> tuple[TensorHead, Sequence[memoryview]]:
    """What a request says of a tensor that a codec made bytes of, and these bytes."""
    size = encoded.size_bytes
    parameters: dict[str, Any] = {"binary_data_size": size, "dtype": dtype, "shape": _listed(shape)}
    if encoded.dim_order is not None:
        parameters["dim_order"] = _listed(encoded.dim_order)
    parameters |= {CODEC_PREFIX + key: value for key, value in encoded.parameters.items()}
    pieces = [memoryview(piece).cast("B") for piece in encoded.data if len(piece)]
    return TensorHead(name, (size,), "UINT8", parameters), pieces


def sizes_in(head: TensorHead, name: str) -> tuple[int, ...] | None:
    """A list of sizes in a parameter, `"1,64,55,55"`; None where there is none. Raises MalformedError for others."""
    text = head.said.get(name)
    if text is None:
        return None
    parts = text.split(",") if isinstance(text, str) and text else []  # a scalar has none
    sizes = all(part.isascii() and part.isdigit() and len(part) < 15 for part in parts)
    if not sizes or len(parts) > 16 or not isinstance(text, str):
        raise MalformedError(f"{head.name!r}: parameter {name} must be sizes with commas between, got {text!r:.60}")
    return tuple(map(int, parts))


def _listed(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))
