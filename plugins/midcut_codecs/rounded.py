"""Codecs that round: fewer bits for each element, at the price of some accuracy."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from midcut.errors import MalformedError
from midcut.tensors import tensor_from_bytes, tensor_to_bytes, torch_dtype
from midcut.types import Encoded, ValueSpec
from midcut_codecs.config import Scale
from midcut_codecs.pieces import bytes_per_s, exactly, share

_WIDE: Final = ("float32", "float64")
_FLOATS: Final = ("float16", "bfloat16", *_WIDE)
_LARGEST_HALF: Final = 65504.0
_STEPS: Final = 255
_RANGE_BYTES: Final = 8  # float32 offset and float32 step


class Float16:
    """Half precision. What is too large for it becomes the largest number it has; infinite stays infinite."""

    def __init__(self, *, name: str, agreement: float | None, mb_per_s: float) -> None:
        self.name = name
        self.agreement = share(agreement, f"{name}.agreement")
        self._bytes_per_s = bytes_per_s(mb_per_s, name)

    def encode(self, value: torch.Tensor) -> Encoded:
        _refuse(self.name, _dtype(value), _WIDE)
        half = value.detach().to(torch.float16)
        if half.isinf().any():
            largest = value.detach().clamp(-_LARGEST_HALF, _LARGEST_HALF).to(torch.float16)
            half = torch.where(value.isinf(), half, largest)
        data, order = tensor_to_bytes(half)
        return Encoded((data,), dim_order=order)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> torch.Tensor:
        data = exactly(encoded, self.encoded_bytes(spec), self.name, spec)
        return tensor_from_bytes(data, "float16", spec.shape, encoded.dim_order).to(torch_dtype(spec.dtype))

    def encoded_bytes(self, spec: ValueSpec) -> int:
        _refuse(self.name, spec.dtype, _WIDE)
        return ValueSpec("", "float16", spec.shape).payload_bytes

    def codec_s(self, spec: ValueSpec) -> float:
        return spec.payload_bytes / self._bytes_per_s


class Int8:
    """An offset and a step for the tensor or for each channel, then one byte for each element.

    The bytes are a float32 table of all offsets and all steps, then the elements in physical order. How many
    channels the table is for follows from the length. The offset is the smallest value: after a ReLU all values
    have one sign, and steps spread evenly around zero would waste half of their codes.
    """

    def __init__(self, *, name: str, scale: Scale | str, agreement: float | None, mb_per_s: float) -> None:
        self.name = name
        self.agreement = share(agreement, f"{name}.agreement")
        self._scale = Scale(scale)
        self._bytes_per_s = bytes_per_s(mb_per_s, name)

    def encode(self, value: torch.Tensor) -> Encoded:
        _refuse(self.name, _dtype(value), _FLOATS)
        if not value.numel():
            raise MalformedError(f"codec {self.name}: there is nothing to round in shape {list(value.shape)}")
        work = value.detach() if _dtype(value) in _WIDE else value.detach().float()
        low, step = _range(work, self._channels(tuple(value.shape)))
        if not bool((low.isfinite() & step.isfinite()).all()):
            raise MalformedError(f"codec {self.name}: the values are not all finite, or too large for float32")
        codes = (work - _spread(low, work)).mul_(_spread(_inverse(step), work)).round_().clamp_(0, _STEPS)
        data, order = tensor_to_bytes(codes.to(torch.uint8))
        table = torch.stack((low, step)).numpy().tobytes()
        return Encoded((table, data), dim_order=order)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> torch.Tensor:
        _refuse(self.name, spec.dtype, _FLOATS)
        elements = ValueSpec("", "uint8", spec.shape).payload_bytes
        channels = self._sent_channels(encoded.size_bytes - elements, spec)
        data = exactly(encoded, channels * _RANGE_BYTES + elements, self.name, spec)
        table = np.frombuffer(data[: channels * _RANGE_BYTES], dtype="<f4").reshape(2, channels)
        if not (np.isfinite(table).all() and (table[1] >= 0).all()):
            raise MalformedError(f"codec {self.name}: an offset or a step is not a number that encoding makes")
        low, step = torch.tensor(table[0]), torch.tensor(table[1])
        codes = tensor_from_bytes(data[channels * _RANGE_BYTES :], "uint8", spec.shape, encoded.dim_order)
        work = codes.to(torch.float64 if spec.dtype == "float64" else torch.float32)
        return work.mul_(_spread(step, work)).add_(_spread(low, work)).to(torch_dtype(spec.dtype))

    def encoded_bytes(self, spec: ValueSpec) -> int:
        _refuse(self.name, spec.dtype, _FLOATS)
        return self._channels(spec.shape) * _RANGE_BYTES + ValueSpec("", "uint8", spec.shape).payload_bytes

    def codec_s(self, spec: ValueSpec) -> float:
        return spec.payload_bytes / self._bytes_per_s

    def _channels(self, shape: tuple[int, ...]) -> int:
        """Channels with a table entry each; 1 where the table would outweigh what it describes."""
        several = self._scale is Scale.channel and len(shape) > 2
        return shape[1] if several else 1

    def _sent_channels(self, table_bytes: int, spec: ValueSpec) -> int:
        allowed = {1, spec.shape[1]} if len(spec.shape) > 2 else {1}
        channels, rest = divmod(table_bytes, _RANGE_BYTES)
        if rest or channels not in allowed:
            raise MalformedError(
                f"codec {self.name}: {table_bytes} bytes of offsets and steps do not fit {list(spec.shape)}"
            )
        return channels


def _dtype(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _refuse(codec: str, dtype: str, taken: tuple[str, ...]) -> None:
    if dtype not in taken:
        raise MalformedError(f"codec {codec} does not take {dtype}; it takes: {', '.join(taken)}")


def _range(work: torch.Tensor, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest value and step of each channel, float32, shape (channels,)."""
    kept = [1] if channels > 1 else []
    others = [dim for dim in range(work.dim()) if dim not in kept]
    low = work.amin(others).reshape(channels) if others else work.reshape(1)
    high = work.amax(others).reshape(channels) if others else work.reshape(1)
    step = (high.double() - low.double()) / _STEPS
    return low.float(), step.float()


def _inverse(step: torch.Tensor) -> torch.Tensor:
    """1 / step; 0 where all values are the same, or so close that any code would do."""
    inverse = step.reciprocal()
    return torch.where(inverse.isfinite(), inverse, torch.zeros_like(step))


def _spread(per_channel: torch.Tensor, work: torch.Tensor) -> torch.Tensor:
    """Laid out to broadcast against (batch, channels, ...)."""
    if per_channel.numel() == 1:
        return per_channel.reshape(()).to(work.dtype)
    return per_channel.to(work.dtype).reshape(-1, *([1] * (work.dim() - 2)))
