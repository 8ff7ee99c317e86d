"""The arithmetic of the codecs that round."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midcut.errors import MalformedError
from midcut.tensors import dtype_name, from_numpy, tensor_from_bytes, tensor_to_bytes, to_dtype, to_numpy
from midcut.types import Encoded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midcut.types import Floats, Tensor, ValueSpec

__all__ = ["dequantise", "dtype_name", "quantise", "round_to_float16", "widen_float16"]
_LARGEST_HALF: Final = 65504.0


def round_to_float16(value: Tensor) -> Encoded:
    """Round to half precision; finite values stay finite."""
    value = value if isinstance(value, np.ndarray) else value.detach()
    half = to_dtype(value, "float16")
    infinite = abs(half) > _LARGEST_HALF
    if infinite.any():
        largest = to_dtype(value.clip(-_LARGEST_HALF, _LARGEST_HALF), "float16")
        half[infinite] = largest[infinite]
        half[value == math.inf], half[value == -math.inf] = math.inf, -math.inf
    data, order = tensor_to_bytes(half)
    return Encoded((data,), dim_order=order)


def widen_float16(data: memoryview, spec: ValueSpec, dim_order: tuple[int, ...] | None) -> Tensor:
    """Convert float16 elements back to the dtype that the tensor had."""
    return to_dtype(tensor_from_bytes(data, "float16", spec.shape, dim_order), spec.dtype)


def quantise(value: Tensor, channels: int, steps: int) -> Encoded:
    """Round to `steps` equal steps between the smallest and the largest value, of the tensor or of each channel.

    Raises:
        MalformedError: values that are not finite, or whose range float32 cannot hold.
    """
    array = to_numpy(value)
    work = array.astype(_working_dtype(array.dtype.name), copy=False)
    low, step = _channel_ranges(work, channels, steps)
    if not (np.isfinite(low).all() and np.isfinite(step).all()):
        raise MalformedError("only finite values within the range of float32 can be quantised")
    codes = work - _per_channel(low, work)
    codes *= _per_channel(_reciprocal_or_zero(step), work)
    np.rint(codes, out=codes)
    np.clip(codes, 0, steps, out=codes)
    data, order = tensor_to_bytes(codes.astype(np.uint8))
    table = np.stack((low, step)).tobytes()
    return Encoded((table, data), dim_order=order)


def dequantise(table: memoryview, codes: memoryview, spec: ValueSpec, dim_order: tuple[int, ...] | None) -> Tensor:
    """Restore a tensor from its quantised elements, in the dtype it had.

    Args:
        table: float32 offsets, then as many float32 steps.
        codes: one byte for each element.

    Raises:
        MalformedError: an offset or step that `quantise` does not make, or a dim order that is not a permutation.
    """
    ranges = np.frombuffer(table, dtype="<f4").reshape(2, -1)
    if not (np.isfinite(ranges).all() and (ranges[1] >= 0).all()):
        raise MalformedError("an offset or a step is wrong: both must be finite, and steps not negative")
    work = to_numpy(tensor_from_bytes(codes, "uint8", spec.shape, dim_order)).astype(_working_dtype(spec.dtype))
    work *= _per_channel(ranges[1], work)
    work += _per_channel(ranges[0], work)
    return to_dtype(from_numpy(work), spec.dtype)


def _working_dtype(dtype: str) -> type[np.floating[Any]]:
    return np.float64 if dtype == "float64" else np.float32


def _channel_ranges(work: NDArray[Any], channels: int, steps: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smallest value and step of each channel, float32, shape (channels,)."""
    others = tuple(dim for dim in range(work.ndim) if channels == 1 or dim != 1)
    low, high = (edge.reshape(channels) for edge in (work.min(axis=others), work.max(axis=others)))
    with np.errstate(over="ignore", invalid="ignore"):
        step: Floats = (high.astype(np.float64) - low.astype(np.float64)) / steps
        return low.astype(np.float32), step.astype(np.float32)


def _reciprocal_or_zero(step: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / step; 0 where all values are the same, or so close that every code is right."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1.0) / step
    return np.where(np.isfinite(inverse), inverse, np.float32(0.0))


def _per_channel(values: NDArray[np.float32], work: NDArray[Any]) -> NDArray[Any]:
    """Reshape one value per channel so that it broadcasts against (batch, channels, ...)."""
    wide = values.astype(work.dtype, copy=False)
    return wide.reshape(()) if values.size == 1 else wide.reshape(-1, *([1] * (work.ndim - 2)))
