"""Tensors as bytes and back, strides included: what the wire carries and what verification repeats.

A kernel may pick another order of additions for another memory layout, so a tensor that arrives
contiguous where it left permuted can change the result's last bits. The layout of a dense tensor is
its dim order (physical order of its dimensions, outermost first), so that is sent along.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from midcut.errors import MalformedError
from midcut.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

_TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES}
_NAMES = {dtype: name for name, dtype in _TORCH_DTYPES.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """Return torch's name without the prefix (`float32`).

    Raises:
        MalformedError: a dtype that does not travel.
    """
    try:
        return _NAMES[dtype]
    except KeyError:
        raise MalformedError(f"dtype {dtype} does not travel; what does: {', '.join(sorted(DTYPES))}") from None


def torch_dtype(name: str) -> torch.dtype:
    """The opposite of `dtype_name`.

    Raises:
        MalformedError: no such dtype, or one that does not travel.
    """
    try:
        return _TORCH_DTYPES[name]
    except (KeyError, TypeError):
        raise MalformedError(f"unknown dtype {name!r}; what travels: {', '.join(sorted(DTYPES))}") from None


def dim_order(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """Dimensions from the outermost in memory to the innermost; None for the usual 0, 1, 2, ...

    A tensor that holds one element several times (expanded) counts as usual: it travels unrolled.
    """
    return _order(tensor.shape, tensor.stride())


@lru_cache(maxsize=4096)
def _order(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...] | None:
    dims = range(len(strides))
    if any(stride == 0 and size > 1 for stride, size in zip(strides, shape, strict=True)):
        return None
    # Of dimensions with one stride, the one that has elements is the outermost; the rest have size 1.
    order = sorted(dims, key=lambda dim: (-strides[dim], shape[dim] == 1))
    return None if order == list(dims) else tuple(order)


def tensor_to_bytes(tensor: torch.Tensor) -> tuple[memoryview, tuple[int, ...] | None]:
    """Return the elements in physical order, little-endian, and the dim order that restores them.

    Where the tensor is dense the bytes are a view of its memory, not a copy: they change with it.
    """
    order = dim_order(tensor)
    if tensor.requires_grad:
        tensor = tensor.detach()
    if order is not None:
        tensor = tensor.permute(order)
    return _memory(tensor if tensor.is_contiguous() else tensor.contiguous()), order


def _memory(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous tensor, in place. numpy's views cost a fraction of torch's, Python's one of numpy's."""
    if tensor.dtype is torch.bfloat16:  # numpy has none
        tensor = tensor.view(torch.int16)
    array = tensor.numpy()
    return array.data.cast("B") if array.size else memoryview(bytearray())


def tensor_from_bytes(
    buffer: bytes | bytearray | memoryview,
    dtype: str,
    shape: Sequence[int],
    dim_order: Sequence[int] | None = None,
) -> torch.Tensor:
    """`tensor_from_pieces` where the elements stand in one piece."""
    return tensor_from_pieces((memoryview(buffer).cast("B"),), dtype, shape, dim_order)


def tensor_from_pieces(
    pieces: Sequence[bytes | bytearray | memoryview],
    dtype: str,
    shape: Sequence[int],
    dim_order: Sequence[int] | None = None,
) -> torch.Tensor:
    """Copy bytes into a fresh tensor of torch's own, aligned allocation.

    Args:
        pieces: elements in physical order, as `tensor_to_bytes` gives them, cut up anywhere; views are of bytes, not of
            numbers. They are not kept.
        dtype: torch's name without the prefix.
        shape: logical shape.
        dim_order: physical order of the dimensions, None for the usual one.

    Raises:
        MalformedError: unknown dtype, a negative size, a length that does not fit the shape, a dim
            order that is no permutation, or a bool that is neither 0 nor 1.
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
            _check_order(dim_order, len(shape))
            tensor = torch.empty_permuted(tuple(shape), tuple(dim_order), dtype=kind)
            physical = tensor.permute(tuple(dim_order))
    except (RuntimeError, TypeError, OverflowError):  # negative sizes, or a zero beside sizes no tensor can have
        raise MalformedError(f"no tensor can have shape {tuple(shape)}") from None
    memory, at = _memory(physical), 0
    for piece in pieces:
        end = at + len(piece)
        memory[at:end] = piece
        at = end
    return tensor


def _check_order(order: Sequence[int], dims: int) -> None:
    if sorted(order) != list(range(dims)):
        raise MalformedError(f"dim_order {tuple(order)} is not a permutation of the {dims} dimensions")


def as_received(tensor: torch.Tensor) -> torch.Tensor:
    """What the other side gets when this tensor is sent: equal bits, dense, same dim order, own memory."""
    data, order = tensor_to_bytes(tensor)
    return tensor_from_bytes(data, dtype_name(tensor.dtype), tensor.shape, order)
