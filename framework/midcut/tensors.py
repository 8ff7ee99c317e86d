"""Tensors as bytes and back, strides included: what the wire carries and what verification repeats.

A kernel may pick another order of additions for another memory layout, so a tensor that arrives
contiguous where it left permuted can change the result's last bits. The layout of a dense tensor is
its dim order (physical order of its dimensions, outermost first), so that is sent along.
"""

from __future__ import annotations

import math
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
    strides = tensor.stride()
    if sorted(set(strides), reverse=True) == list(strides):  # each smaller than the one before: the usual case
        return None
    dims = range(len(strides))
    if any(stride == 0 and size > 1 for stride, size in zip(strides, tensor.shape, strict=True)):
        return None
    # Of dimensions with one stride, the one that has elements is the outermost; the rest have size 1.
    order = sorted(dims, key=lambda dim: (-strides[dim], tensor.shape[dim] == 1))
    return None if order == list(dims) else tuple(order)


def tensor_to_bytes(tensor: torch.Tensor) -> tuple[memoryview, tuple[int, ...] | None]:
    """Return the elements in physical order, little-endian, and the dim order that restores them.

    Where the tensor is dense the bytes are a view of its memory, not a copy: they change with it.
    """
    order = dim_order(tensor)
    physical = tensor.detach() if tensor.requires_grad else tensor
    if order is not None:
        physical = physical.permute(order)
    return _memory(physical if physical.is_contiguous() else physical.contiguous()), order


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
    return tensor_from_pieces((buffer,), dtype, shape, dim_order)


def tensor_from_pieces(
    pieces: Sequence[bytes | bytearray | memoryview],
    dtype: str,
    shape: Sequence[int],
    dim_order: Sequence[int] | None = None,
) -> torch.Tensor:
    """Copy bytes into a fresh tensor of torch's own, aligned allocation.

    Args:
        pieces: elements in physical order, as `tensor_to_bytes` gives them, cut up anywhere. They are not kept.
        dtype: torch's name without the prefix.
        shape: logical shape.
        dim_order: physical order of the dimensions, None for the usual one.

    Raises:
        MalformedError: unknown dtype, a negative size, a length that does not fit the shape, a dim
            order that is no permutation, or a bool that is neither 0 nor 1.
    """
    kind = torch_dtype(dtype)
    shape = tuple(shape)
    if min(shape, default=0) < 0:
        raise MalformedError(f"shape {shape} has a negative size")
    sources = [memoryview(piece).cast("B") for piece in pieces]
    expected, got = math.prod(shape) * kind.itemsize, sum(source.nbytes for source in sources)
    if got != expected:
        raise MalformedError(f"{dtype} of shape {shape} takes {expected} bytes, got {got}")
    order = None if dim_order is None else tuple(dim_order)
    if order is not None and sorted(order) != list(range(len(shape))):
        raise MalformedError(f"dim_order {order} is not a permutation of the {len(shape)} dimensions")
    if kind is torch.bool and any(np.frombuffer(source, np.uint8).max(initial=0) > 1 for source in sources):
        raise MalformedError("a bool must be sent as 0 or 1")
    try:
        tensor = torch.empty(shape, dtype=kind) if order is None else torch.empty_permuted(shape, order, dtype=kind)
    except (RuntimeError, TypeError, OverflowError):  # a zero beside sizes no tensor can have
        raise MalformedError(f"no tensor can have shape {shape}") from None
    memory, at = _memory(tensor if order is None else tensor.permute(order)), 0
    for source in sources:
        memory[at : at + source.nbytes] = source
        at += source.nbytes
    return tensor


def as_received(tensor: torch.Tensor) -> torch.Tensor:
    """What the other side gets when this tensor is sent: equal bits, dense, same dim order, own memory."""
    data, order = tensor_to_bytes(tensor)
    return tensor_from_bytes(data, dtype_name(tensor.dtype), tensor.shape, order)
