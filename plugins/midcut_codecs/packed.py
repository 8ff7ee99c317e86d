"""Zstandard, where it pays.

After a ReLU or a pooling layer many elements are zero, and packing saves a third to two thirds of the bytes; the
mantissas of a bare convolution's output are noise, and it saves next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import zstandard

from midcut.errors import ConfigError, MalformedError
from midcut.types import Encoded
from midcut_codecs.pieces import bytes_per_s, in_one_piece

if TYPE_CHECKING:
    import torch

    from midcut.types import ValueSpec

_LEVELS: Final = range(1, 20)
# Needs more memory than the tensor itself only where the tensor is small.
_WINDOW_BYTES: Final = 1 << 20


class Zstd:
    """Packed bytes are fewer than bare ones by definition here: the length says which of the two they are."""

    agreement: float | None = 1.0

    def __init__(self, *, name: str, level: int, min_saving: float, ratio: float, mb_per_s: float) -> None:
        if level not in _LEVELS:
            raise ConfigError(f"codec.{name}.level must be from 1 to 19, got {level}")
        if not 0.0 <= min_saving < 1.0:
            raise ConfigError(f"codec.{name}.min_saving must be 0 or more and under 1, got {min_saving}")
        if not 0.0 < ratio <= 1.0:
            raise ConfigError(f"codec.{name}.ratio must be over 0 and at most 1, got {ratio}")
        self.name = name
        self._level = level
        self._min_saving = min_saving
        self._ratio = ratio
        self._bytes_per_s = bytes_per_s(mb_per_s, name)

    def encode(self, value: torch.Tensor) -> Encoded:
        from midcut.tensors import tensor_to_bytes  # noqa: PLC0415 - imports torch

        data, order = tensor_to_bytes(value)
        # One compressor a call: a compressor must not be used by two threads at once.
        packed = zstandard.ZstdCompressor(level=self._level).compress(data)
        pays = len(packed) < data.nbytes and len(packed) <= data.nbytes * (1.0 - self._min_saving)
        return Encoded((packed if pays else data,), dim_order=order)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> torch.Tensor:
        from midcut.tensors import tensor_from_bytes  # noqa: PLC0415 - imports torch

        data = in_one_piece(encoded)
        expected = spec.payload_bytes
        if data.nbytes > expected:
            raise MalformedError(
                f"codec {self.name}: {spec.dtype} {list(spec.shape)} takes at most {expected} bytes, got {data.nbytes}"
            )
        bare = data if data.nbytes == expected else self._unpack(data, expected)
        return tensor_from_bytes(bare, spec.dtype, spec.shape, encoded.dim_order)

    def _unpack(self, packed: memoryview, expected: int) -> bytes:
        """Unfold to exactly that many bytes; the frame's own claim is read before any are made room for."""
        try:
            claimed = zstandard.get_frame_parameters(packed).content_size
            if claimed != expected:
                raise MalformedError(f"codec {self.name}: the frame holds {claimed} bytes, expected are {expected}")
            unpacker = zstandard.ZstdDecompressor(max_window_size=max(expected, _WINDOW_BYTES))
            return unpacker.decompress(packed, max_output_size=expected, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise MalformedError(f"codec {self.name}: {error}") from None

    def encoded_bytes(self, spec: ValueSpec) -> int:
        pays = 1.0 - self._ratio >= self._min_saving
        return round(spec.payload_bytes * self._ratio) if pays else spec.payload_bytes

    def codec_s(self, spec: ValueSpec) -> float:
        return spec.payload_bytes / self._bytes_per_s
