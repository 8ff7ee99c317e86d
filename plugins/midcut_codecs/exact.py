"""Codecs that keep every bit and never look at the values. Importing this imports no torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pybase64

from midcut.errors import ConfigError, MalformedError
from midcut.types import Encoded
from midcut_codecs.pieces import join_exactly, to_bytes_per_s

if TYPE_CHECKING:
    from midcut.types import Tensor, ValueSpec


class Raw:
    """The elements in physical order: a view of the tensor's memory where the tensor is dense."""

    agreement: float | None = 1.0
    stage = None

    def __init__(self, *, name: str) -> None:
        self.name = name

    def encode(self, value: Tensor) -> Encoded:
        from midcut.tensors import tensor_to_bytes  # noqa: PLC0415 - imports torch

        data, order = tensor_to_bytes(value)
        return Encoded((data,), dim_order=order)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        from midcut.tensors import tensor_from_bytes  # noqa: PLC0415 - imports torch

        data = join_exactly(encoded, spec.payload_bytes, self.name, spec)
        return tensor_from_bytes(data, spec.dtype, spec.shape, encoded.dim_order)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        return spec.payload_bytes

    def codec_s(self, spec: ValueSpec) -> float:  # noqa: ARG002 - a view on one side and a memcpy on the other
        return 0.0


class File(Raw):
    """The file of a picture as it came, which the cloud decodes and preprocesses; a tensor as it is.

    Edge and cloud send and take files themselves, where both decode a format alike; this says how large files are.
    """

    def __init__(self, *, name: str, typical_kb: float, mb_per_s: float) -> None:
        super().__init__(name=name)
        if not 0.0 < typical_kb < math.inf:
            raise ConfigError(f"codec.{name}.typical_kb must be over 0, got {typical_kb}")
        self._typical_bytes = round(typical_kb * 1000)
        self._bytes_per_s = to_bytes_per_s(mb_per_s, name)

    def encoded_bytes(self, spec: ValueSpec) -> int:  # noqa: ARG002 - the size of a file is not that of the tensor
        return self._typical_bytes

    def codec_s(self, spec: ValueSpec) -> float:
        return spec.payload_bytes / self._bytes_per_s

    def encode_s(self, spec: ValueSpec) -> float:  # noqa: ARG002 - a file is sent as it came
        return 0.0


class Base64:
    """Base64 of the elements (Luger, Aral, Brandic 2023, section 2.4)."""

    agreement: float | None = 1.0
    stage = None

    def __init__(self, *, name: str, mb_per_s: float) -> None:
        self.name = name
        self._bytes_per_s = to_bytes_per_s(mb_per_s, name)

    def encode(self, value: Tensor) -> Encoded:
        from midcut.tensors import tensor_to_bytes  # noqa: PLC0415 - imports torch

        data, order = tensor_to_bytes(value)
        return Encoded((pybase64.b64encode(data),), dim_order=order)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        from midcut.tensors import tensor_from_bytes  # noqa: PLC0415 - imports torch

        text = join_exactly(encoded, self.encoded_bytes(spec), self.name, spec)
        try:
            data = pybase64.b64decode_as_bytearray(text, validate=True)
        except ValueError as error:
            raise MalformedError(f"codec {self.name}: this is not base64: {error}") from None
        return tensor_from_bytes(data, spec.dtype, spec.shape, encoded.dim_order)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        return (spec.payload_bytes + 2) // 3 * 4

    def codec_s(self, spec: ValueSpec) -> float:
        return spec.payload_bytes / self._bytes_per_s
