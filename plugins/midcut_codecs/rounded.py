"""Codecs that round: fewer bits for each element, at the price of some accuracy. Light until one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from midcut.errors import MalformedError
from midcut.types import ValueSpec
from midcut_codecs.config import Scale
from midcut_codecs.pieces import bytes_per_s, exactly, share

if TYPE_CHECKING:
    import torch

    from midcut.types import Encoded

_WIDE: Final = ("float32", "float64")
_FLOATS: Final = ("float16", "bfloat16", *_WIDE)
_RANGE_BYTES: Final = 8  # float32 offset and float32 step


class Float16:
    """Half precision. What is too large for it becomes the largest number it has; infinite stays infinite."""

    def __init__(self, *, name: str, agreement: float | None, mb_per_s: float) -> None:
        self.name = name
        self.agreement = share(agreement, f"{name}.agreement")
        self._bytes_per_s = bytes_per_s(mb_per_s, name)

    def encode(self, value: torch.Tensor) -> Encoded:
        from midcut_codecs import rounding  # noqa: PLC0415 - imports torch

        _refuse(self.name, rounding.dtype_name(value.dtype), _WIDE)
        return rounding.to_halves(value)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> torch.Tensor:
        from midcut_codecs import rounding  # noqa: PLC0415 - imports torch

        data = exactly(encoded, self.encoded_bytes(spec), self.name, spec)
        return rounding.from_halves(data, spec, encoded.dim_order)

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
        from midcut_codecs import rounding  # noqa: PLC0415 - imports torch

        _refuse(self.name, rounding.dtype_name(value.dtype), _FLOATS)
        if not value.numel():
            raise MalformedError(f"codec {self.name}: there is nothing to round in shape {list(value.shape)}")
        return rounding.to_steps(value, self._channels(tuple(value.shape)))

    def decode(self, encoded: Encoded, spec: ValueSpec) -> torch.Tensor:
        from midcut_codecs import rounding  # noqa: PLC0415 - imports torch

        _refuse(self.name, spec.dtype, _FLOATS)
        elements = ValueSpec("", "uint8", spec.shape).payload_bytes
        channels = self._sent_channels(encoded.size_bytes - elements, spec)
        data = exactly(encoded, channels * _RANGE_BYTES + elements, self.name, spec)
        split = channels * _RANGE_BYTES
        return rounding.from_steps(data[:split], data[split:], spec, encoded.dim_order)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        _refuse(self.name, spec.dtype, _FLOATS)
        return self._channels(spec.shape) * _RANGE_BYTES + ValueSpec("", "uint8", spec.shape).payload_bytes

    def codec_s(self, spec: ValueSpec) -> float:
        return spec.payload_bytes / self._bytes_per_s

    def _channels(self, shape: tuple[int, ...]) -> int:
        """Channels with a table entry each; 1 where the table would outweigh what it describes."""
        several = self._scale is Scale.channel and len(shape) > 2  # (batch, channels, ...)
        return shape[1] if several else 1

    def _sent_channels(self, table_bytes: int, spec: ValueSpec) -> int:
        allowed = {1, spec.shape[1]} if len(spec.shape) > 2 else {1}
        channels, rest = divmod(table_bytes, _RANGE_BYTES)
        if rest or channels not in allowed:
            raise MalformedError(
                f"codec {self.name}: {table_bytes} bytes of offsets and steps do not fit {list(spec.shape)}"
            )
        return channels


def _refuse(codec: str, dtype: str, taken: tuple[str, ...]) -> None:
    if dtype not in taken:
        raise MalformedError(f"codec {codec} does not take {dtype}; it takes: {', '.join(taken)}")
