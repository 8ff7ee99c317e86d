"""The arithmetic of the codecs that round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from midcut.errors import MalformedError
from midcut.tensors import dtype_name, tensor_from_bytes, tensor_to_bytes, torch_dtype
from midcut.types import Encoded

if TYPE_CHECKING:
    from midcut.types import ValueSpec

__all__ = ["dequantise", "dtype_name", "quantise", "round_to_float16", "widen_float16"]
_LARGEST_HALF: Final = 65504.0
STEPS: Final = 255


def round_to_float16(value: torch.Tensor) -> Encoded:
    """Round to half precision; finite values stay finite."""
    half = value.detach().to(torch.float16)
    if half.isinf().any():
        largest = value.detach().clamp(-_LARGEST_HALF, _LARGEST_HALF).to(torch.float16)
        half = torch.where(value.isinf(), half, largest)
    data, order = tensor_to_bytes(half)
    return Encoded((data,), dim_order=order)


def widen_float16(data: memoryview, spec: ValueSpec, dim_order: tuple[int, ...] | None) -> torch.Tensor:
    """Convert float16 elements back to the dtype that the tensor had."""
    return tensor_from_bytes(data, "float16", spec.shape, dim_order).to(torch_dtype(spec.dtype))


def quantise(value: torch.Tensor, channels: int, steps: int = STEPS) -> Encoded:
    """Round to `steps` equal steps between the smallest and the largest value, of the tensor or of each channel.

    Raises:
        MalformedError: values that are not finite, or whose range float32 cannot hold.
    """
    work = value.detach() if value.dtype in (torch.float32, torch.float64) else value.detach().float()
    low, step = _channel_ranges(work, channels, steps)
    if not bool((low.isfinite() & step.isfinite()).all()):
        raise MalformedError("only finite values within the range of float32 can be quantised")
    codes = (
        (work - _per_channel(low, work)).mul_(_per_channel(_reciprocal_or_zero(step), work)).round_().clamp_(0, steps)
    )
    data, order = tensor_to_bytes(codes.to(torch.uint8))
    table = torch.stack((low, step)).numpy().tobytes()
    return Encoded((table, data), dim_order=order)


def dequantise(
    table: memoryview, codes: memoryview, spec: ValueSpec, dim_order: tuple[int, ...] | None
) -> torch.Tensor:
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
    low, step = torch.tensor(ranges[0]), torch.tensor(ranges[1])
    work = tensor_from_bytes(codes, "uint8", spec.shape, dim_order)
    work = work.to(torch.float64 if spec.dtype == "float64" else torch.float32)
    return work.mul_(_per_channel(step, work)).add_(_per_channel(low, work)).to(torch_dtype(spec.dtype))


def _channel_ranges(work: torch.Tensor, channels: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest value and step of each channel, float32, shape (channels,)."""
    others = [dim for dim in range(work.dim()) if channels == 1 or dim != 1]
    low, high = (edge.reshape(channels) for edge in (work.amin(others), work.amax(others)))
    step = (high.double() - low.double()) / steps
    return low.float(), step.float()


def _reciprocal_or_zero(step: torch.Tensor) -> torch.Tensor:
    """1 / step; 0 where all values are the same, or so close that every code is right."""
    inverse = step.reciprocal()
    return torch.where(inverse.isfinite(), inverse, torch.zeros_like(step))


def _per_channel(values: torch.Tensor, work: torch.Tensor) -> torch.Tensor:
    """Reshape one value per channel so that it broadcasts against (batch, channels, ...)."""
    if values.numel() == 1:
        return values.reshape(()).to(work.dtype)
    return values.to(work.dtype).reshape(-1, *([1] * (work.dim() - 2)))
