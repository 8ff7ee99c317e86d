"""Codecs that round: fewer bits for each element, at the price of some accuracy. Importing this imports no torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

from midcut.errors import MalformedError
from midcut.types import ValueSpec
from midcut_codecs.config import Scale
from midcut_codecs.pieces import check_share, join_exactly, to_bytes_per_s

if TYPE_CHECKING:
    from midcut.types import Encoded, Tensor

_WIDE_FLOATS: Final = ("float32", "float64")
_FLOATS: Final = ("float16", "bfloat16", *_WIDE_FLOATS)
_RANGE_BYTES: Final = 8  # float32 offset and float32 step


class Float16:
    """Half precision. Finite values that are too large become its largest number; infinite ones stay infinite."""

    def __init__(self, *, name: str, agreement: float | None, mb_per_s: float) -> None:
        self.name = name
        self.agreement = check_share(agreement, f"{name}.agreement")
        self._bytes_per_s = to_bytes_per_s(mb_per_s, name)

    def encode(self, value: Tensor) -> Encoded:
        from midcut_codecs import rounding  # noqa: PLC0415 - imports torch

        _check_dtype(self.name, rounding.dtype_name(value.dtype), _WIDE_FLOATS)
        return rounding.round_to_float16(value)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        from midcut_codecs import rounding  # noqa: PLC0415 - imports torch

        data = join_exactly(encoded, self.encoded_bytes(spec), self.name, spec)
        return rounding.widen_float16(data, spec, encoded.dim_order)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        _check_dtype(self.name, spec.dtype, _WIDE_FLOATS)
        return ValueSpec("", "float16", spec.shape).payload_bytes

    def codec_s(self, spec: ValueSpec) -> float:
        return spec.payload_bytes / self._bytes_per_s


class Int8:
    """Affine quantisation to 256 steps, with an offset and a step for the whole tensor or for each channel.

    The bytes are a table of all offsets and all steps, then the codes in physical order, one byte for each element. The
    number of channels in the table follows from the length. The offset is the smallest value: after a ReLU all values
    have the same sign, and a range symmetric around zero would waste half of the codes.

    Attributes:
        bits: 2 to this power is the number of codes.
        half_table: whether the table is float16 where that can hold it; float32 otherwise.
    """

    bits: ClassVar[int] = 8
    half_table: ClassVar[bool] = False

    def __init__(self, *, name: str, scale: Scale | str, agreement: float | None, mb_per_s: float) -> None:
        self.name = name
        self.agreement = check_share(agreement, f"{name}.agreement")
        self._scale = Scale(scale)
        self._bytes_per_s = to_bytes_per_s(mb_per_s, name)

    def encode(self, value: Tensor) -> Encoded:
        from midcut_codecs import rounding  # noqa: PLC0415 - imports torch

        _check_dtype(self.name, rounding.dtype_name(value.dtype), _FLOATS)
        if not math.prod(value.shape):
            raise MalformedError(
                f"codec {self.name}: a tensor without elements cannot be quantised, got shape {list(value.shape)}"
            )
        return rounding.quantise(value, self._channels(tuple(value.shape)), self.bits, half_table=self.half_table)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        from midcut_codecs import rounding  # noqa: PLC0415 - imports torch

        _check_dtype(self.name, spec.dtype, _FLOATS)
        half, elements = bool(encoded.parameters.get(rounding.HALF_TABLE)), self._code_bytes(spec)
        range_bytes = _RANGE_BYTES // 2 if half else _RANGE_BYTES
        channels = self._received_channels(encoded.size_bytes - elements, range_bytes, spec)
        data = join_exactly(encoded, channels * range_bytes + elements, self.name, spec)
        split = channels * range_bytes
        return rounding.dequantise(data[:split], data[split:], spec, encoded.dim_order, self.bits, half=half)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        _check_dtype(self.name, spec.dtype, _FLOATS)
        range_bytes = _RANGE_BYTES // 2 if self.half_table else _RANGE_BYTES
        return self._channels(spec.shape) * range_bytes + self._code_bytes(spec)

    def codec_s(self, spec: ValueSpec) -> float:
        return spec.payload_bytes / self._bytes_per_s

    def _channels(self, shape: tuple[int, ...]) -> int:
        """How many channels have a table entry of their own; 1 where the table would be larger than its elements."""
        per_channel = self._scale is Scale.channel and len(shape) > 2  # (batch, channels, ...)
        return shape[1] if per_channel and shape[0] * math.prod(shape[2:]) >= _RANGE_BYTES else 1

    def _code_bytes(self, spec: ValueSpec) -> int:
        return (math.prod(spec.shape) * (4 if self.bits == 4 else 8) + 7) // 8

    def _received_channels(self, table_bytes: int, range_bytes: int, spec: ValueSpec) -> int:
        allowed = {1, spec.shape[1]} if len(spec.shape) > 2 else {1}
        channels, rest = divmod(table_bytes, range_bytes)
        if rest or channels not in allowed:
            raise MalformedError(
                f"codec {self.name}: {table_bytes} bytes of offsets and steps do not fit {list(spec.shape)}"
            )
        return channels


class Int6(Int8):
    """64 steps. One byte for each element, of which an entropy coder behind it leaves less than six bits."""

    bits = 6
    half_table = True


class Int4(Int8):
    """16 steps, and two elements in a byte."""

    bits = 4
    half_table = True


def _check_dtype(codec: str, dtype: str, accepted: tuple[str, ...]) -> None:
    if dtype not in accepted:
        raise MalformedError(f"codec {codec} does not take {dtype}; it takes: {', '.join(accepted)}")
