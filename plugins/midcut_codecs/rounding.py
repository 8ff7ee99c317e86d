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

    from midcut.types import Tensor, ValueSpec

__all__ = ["HALF_TABLE", "dequantise", "dtype_name", "quantise", "round_to_float16", "widen_float16"]
_LARGEST_HALF: Final = 65504.0
NIBBLE: Final = 4  # bits of which two codes are in a byte
HALF_TABLE: Final = "half_table"
_LEAST_STEP: Final = 1e-5  # of which float16 is still within 0.5 %


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


def quantise(value: Tensor, channels: int, bits: int, *, half_table: bool = False) -> Encoded:
    """Round to equal steps between the smallest and the largest value, of the tensor or of each channel.

    Args:
        bits: 2 to this power is the number of codes.
        half_table: write offsets and steps as float16 where these can hold them, which is a parameter then.

    Raises:
        MalformedError: values that are not finite, or whose range float32 cannot hold.
    """
    array, steps = to_numpy(value), 2**bits - 1
    work = array.astype(_working_dtype(array.dtype.name), copy=False)
    low, high = _channel_ends(work, channels)
    with np.errstate(over="ignore", invalid="ignore"):
        span = high - low
        table = np.stack((low, span / steps)).astype(np.float32)
        is_held = np.isfinite(table).all() and np.isfinite(span.astype(work.dtype)).all()
    if not is_held:
        raise MalformedError("only finite values within the range of float32 can be quantised")
    half = _half_table(low, high, steps) if half_table else None
    low, step = (table if half is None else half).astype(np.float32)
    codes = np.subtract(work, _per_channel(low, work), out=np.empty_like(work))  # an array, also of no dimensions
    codes *= _per_channel(_reciprocal_or_zero(step), work)
    np.rint(codes, out=codes)
    np.clip(codes, 0, steps, out=codes)
    data, order = tensor_to_bytes(codes.astype(np.uint8))
    packed = pack_codes(data) if bits == NIBBLE else data
    if half is None:
        return Encoded((table.tobytes(), packed), dim_order=order)
    return Encoded((half.tobytes(), packed), {HALF_TABLE: True}, order)


def dequantise(
    table: memoryview, codes: memoryview, spec: ValueSpec, dim_order: tuple[int, ...] | None, bits: int, *, half: bool
) -> Tensor:
    """Restore a tensor from its quantised elements, in the dtype it had.

    Args:
        table: offsets, then as many steps, float32 or with `half` float16.
        codes: one byte for each element; two elements a byte for 4 bits.

    Raises:
        MalformedError: an offset or step that `quantise` does not make, or a dim order that is not a permutation.
    """
    ranges = np.frombuffer(table, dtype="<f2" if half else "<f4").astype(np.float32).reshape(2, -1)
    if not (np.isfinite(ranges).all() and (ranges[1] >= 0).all()):
        raise MalformedError("an offset or a step is wrong: both must be finite, and steps not negative")
    if bits == NIBBLE:
        codes = _unpack_codes(codes, math.prod(spec.shape))
    work = to_numpy(tensor_from_bytes(codes, "uint8", spec.shape, dim_order)).astype(_working_dtype(spec.dtype))
    work *= _per_channel(ranges[1], work)
    work += _per_channel(ranges[0], work)
    if spec.dtype == "float16":  # a step is rounded up, and the largest code may reach beyond what was finite
        np.clip(work, -_LARGEST_HALF, _LARGEST_HALF, out=work)
    return to_dtype(from_numpy(work), spec.dtype)


def pack_codes(codes: memoryview) -> bytes:
    """Put two codes of 4 bits into a byte, the first one into its lower half."""
    pairs = np.frombuffer(codes, np.uint8)
    packed = pairs[::2].copy()
    packed[: pairs.size // 2] |= pairs[1::2] << 4
    return packed.tobytes()


def _unpack_codes(packed: memoryview, count: int) -> memoryview:
    pairs = np.frombuffer(packed, np.uint8)
    codes = np.empty(2 * pairs.size, np.uint8)
    codes[::2], codes[1::2] = pairs & 15, pairs >> 4
    return codes[:count].data


def _half_table(low: NDArray[Any], high: NDArray[Any], steps: int) -> NDArray[np.float16] | None:
    """Offsets and steps as float16 that reach from each smallest value to the largest; None where too coarse."""
    if 0.0 < (high - low).max() < _LEAST_STEP * steps:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        offset = low.astype(np.float16)
        offset = np.where(offset > low, np.nextafter(offset, np.float16(-np.inf)), offset)
        wanted = (high - offset) / steps
        step = wanted.astype(np.float16)
        step = np.where(step < wanted, np.nextafter(step, np.float16(np.inf)), step)
        table = np.stack((offset, step))
    return table if np.isfinite(table).all() else None


def _working_dtype(dtype: str) -> type[np.floating[Any]]:
    return np.float64 if dtype == "float64" else np.float32


def _channel_ends(work: NDArray[Any], channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest value of each channel, shape (channels,)."""
    others = tuple(dim for dim in range(work.ndim) if channels == 1 or dim != 1)
    low, high = (edge.reshape(channels).astype(np.float64) for edge in (work.min(axis=others), work.max(axis=others)))
    return low, high


def _reciprocal_or_zero(step: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / step; 0 where all values are the same, or so close that every code is right."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1.0) / step
    return np.where(np.isfinite(inverse), inverse, np.float32(0.0))


def _per_channel(values: NDArray[np.float32], work: NDArray[Any]) -> NDArray[Any]:
    """Reshape one value per channel so that it broadcasts against (batch, channels, ...)."""
    wide = values.astype(work.dtype, copy=False)
    return wide.reshape(()) if values.size == 1 else wide.reshape(-1, *([1] * (work.ndim - 2)))
