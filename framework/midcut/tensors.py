"""Conversion of tensors to bytes and back with their memory layout, for the wire and for verification.

A kernel may add in another order for another memory layout, so a tensor that arrives contiguous although it was
permuted can change the last bits of the result. The layout of a dense tensor is its dim order (the physical order of
its dimensions, outermost first), which is therefore sent along.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from midcut.errors import MalformedError
from midcut.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

_TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES}
_NAMES = {dtype: name for name, dtype in _TORCH_DTYPES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """Return torch's name of a dtype without the prefix (`float32`).

    Raises:
        MalformedError: the dtype cannot be sent.
    """
    try:
        return _NAMES[dtype]
    except KeyError:
        raise MalformedError(f"dtype {dtype} cannot be sent; these can: {', '.join(sorted(DTYPES))}") from None


def torch_dtype(name: str) -> torch.dtype:
    """Return the dtype of a name, the inverse of `dtype_name`.

    Raises:
        MalformedError: there is no such dtype, or it cannot be sent.
    """
    try:
        return _TORCH_DTYPES[name]
    except (KeyError, TypeError):
        raise MalformedError(f"unknown dtype {name!r}; these can be sent: {', '.join(sorted(DTYPES))}") from None


def dim_order(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """Dimensions from the outermost in memory to the innermost; None for the usual order 0, 1, 2, ...

    An expanded tensor, which stores an element once for several positions, has the usual order: it is sent in full.
    """
    return _order_of_strides(tensor.shape, tensor.stride())


@lru_cache(maxsize=4096)
def _order_of_strides(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...] | None:
    dims = range(len(strides))
    if any(stride == 0 and size > 1 for stride, size in zip(strides, shape, strict=True)):
        return None
    # Of several dimensions with the same stride, the others have size 1 and come after the one with elements.
    order = sorted(dims, key=lambda dim: (-strides[dim], shape[dim] == 1))
    return None if order == list(dims) else tuple(order)


def tensor_to_bytes(tensor: torch.Tensor) -> tuple[memoryview, tuple[int, ...] | None]:
    """Return the elements in physical order, little-endian, and the dim order that restores them.

    The bytes of a dense tensor are a view of its memory, not a copy: they change when the tensor does.
    """
    order = dim_order(tensor)
    if tensor.requires_grad:
        tensor = tensor.detach()
    if order is not None:
        tensor = tensor.permute(order)
    return _memory(tensor if tensor.is_contiguous() else tensor.contiguous()), order


def _memory(tensor: torch.Tensor) -> memoryview:
    """A view of the bytes of a contiguous tensor. numpy views are much cheaper than torch's, Python's cheaper still."""
    if tensor.dtype is torch.bfloat16:  # numpy has no such dtype
        tensor = tensor.view(torch.int16)
    array = tensor.numpy()
    return array.data.cast("B") if array.size else memoryview(bytearray())


def tensor_from_bytes(
    buffer: bytes | bytearray | memoryview,
    dtype: str,
    shape: Sequence[int],
    dim_order: Sequence[int] | None = None,
) -> torch.Tensor:
    """Call `tensor_from_pieces` with the elements in one piece."""
    return tensor_from_pieces((memoryview(buffer).cast("B"),), dtype, shape, dim_order)


def tensor_from_pieces(
    pieces: Sequence[bytes | bytearray | memoryview],
    dtype: str,
    shape: Sequence[int],
    dim_order: Sequence[int] | None = None,
) -> torch.Tensor:
    """Copy bytes into a new tensor, whose memory torch allocates and aligns.

    Args:
        pieces: the elements in physical order, as `tensor_to_bytes` gives them, split anywhere. A memoryview must have
            items of one byte. No reference to them remains.
        dtype: torch's name without the prefix.
        shape: logical shape.
        dim_order: physical order of the dimensions, None for the usual one.

    Raises:
        MalformedError: an unknown dtype, a negative size, a length that does not fit the shape, a dim order that is
            not a permutation, or a bool that is neither 0 nor 1.
    """
    kind = torch_dtype(dtype)
    expected, got = math.prod(shape) * kind.itemsize, sum(map(len, pieces))
    if got != expected:
        if min(shape, default=0) < 0:
            raise MalformedError(f"shape {tuple(shape)} has a negative size")
        raise MalformedError(f"{dtype} of shape {tuple(shape)} takes {expected} bytes, got {got}")
    if dtype == "bool" and any(np.frombuffer(piece, np.uint8).max(initial=0) > 1 for piece in pieces):
        raise MalformedError("a bool must be sent as 0 or 1")
    try:
        if dim_order is None:
            tensor = physical = torch.empty(shape, dtype=kind)
        else:
            if sorted(dim_order) != list(range(len(shape))):
                raise MalformedError(
                    f"dim_order {tuple(dim_order)} is not a permutation of the {len(shape)} dimensions"
                )
            tensor = torch.empty_permuted(tuple(shape), tuple(dim_order), dtype=kind)
            physical = tensor.permute(tuple(dim_order))
    except (
        RuntimeError,
        TypeError,
        OverflowError,
    ):  # negative sizes, or a size of 0 together with sizes too large for a tensor
        raise MalformedError(f"no tensor can have shape {tuple(shape)}") from None
    memory, at = _memory(physical), 0
    for piece in pieces:
        end = at + len(piece)
        memory[at:end] = piece
        at = end
    return tensor


def as_received(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor that the other side receives when this one is sent: equal bits and dim order, dense, a copy."""
    data, order = tensor_to_bytes(tensor)
    return tensor_from_bytes(data, dtype_name(tensor.dtype), tensor.shape, order)


def largest_error(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference as a share of the largest element of the same value; infinite if shapes differ."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if not isinstance(b, torch.Tensor):
            worst = max(worst, 0.0 if a == b else float("inf"))
        elif a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        elif b.numel():
            scale = float(b.double().abs().max()) or 1.0
            difference = float((a.double() - b.double()).abs().max()) / scale
            worst = max(worst, difference if difference == difference else float("inf"))  # noqa: PLR0124 - NaN
    return worst
