"""Zstandard compression, where it saves enough.

After a ReLU or a pooling layer many elements are zero, and compression saves a third to two thirds of the bytes. The
mantissas of a convolution's output without ReLU are noise, of which it saves next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import zstandard

from midcut.errors import ConfigError, MalformedError
from midcut.types import Encoded
from midcut_codecs.pieces import join_pieces, to_bytes_per_s

if TYPE_CHECKING:
    from midcut.types import Tensor, ValueSpec

_LEVELS: Final = range(1, 20)
# The smallest limit for the decompressor's window: only for a small tensor is it more than the tensor's own bytes.
_WINDOW_BYTES: Final = 1 << 20


class Zstd:
    """Sends a tensor compressed only where that makes it shorter, so that the length says which of the two arrives."""

    agreement: float | None = 1.0
    stage = "entropy"

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
        self._bytes_per_s = to_bytes_per_s(mb_per_s, name)

    def encode(self, value: Tensor) -> Encoded:
        from midcut.tensors import tensor_to_bytes  # noqa: PLC0415 - imports torch

        data, order = tensor_to_bytes(value)
        # A compressor for each call, as two threads must not use one at the same time.
        compressed = zstandard.ZstdCompressor(level=self._level).compress(data)
        shorter = len(compressed) < data.nbytes and len(compressed) <= data.nbytes * (1.0 - self._min_saving)
        return Encoded((compressed if shorter else data,), dim_order=order)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        from midcut.tensors import tensor_from_bytes  # noqa: PLC0415 - imports torch

        data = join_pieces(encoded)
        expected = spec.payload_bytes
        if data.nbytes > expected:
            raise MalformedError(
                f"codec {self.name}: {spec.dtype} {list(spec.shape)} takes at most {expected} bytes, got {data.nbytes}"
            )
        elements = data if data.nbytes == expected else self._decompress(data, expected)
        return tensor_from_bytes(elements, spec.dtype, spec.shape, encoded.dim_order)

    def _decompress(self, compressed: memoryview, expected: int) -> bytes:
        """Decompress to the expected size; the size in the frame's header is checked before memory is taken.

        Raises:
            MalformedError: it is another size, or no frame.
        """
        try:
            claimed = zstandard.get_frame_parameters(compressed).content_size
            if claimed != expected:
                raise MalformedError(f"codec {self.name}: the frame holds {claimed} bytes, expected are {expected}")
            decompressor = zstandard.ZstdDecompressor(max_window_size=max(claimed, _WINDOW_BYTES))
            return decompressor.decompress(compressed, max_output_size=claimed, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise MalformedError(f"codec {self.name}: {error}") from None

    def encoded_bytes(self, spec: ValueSpec) -> int:
        saves_enough = 1.0 - self._ratio >= self._min_saving
        return round(spec.payload_bytes * self._ratio) if saves_enough else spec.payload_bytes

    def codec_s(self, spec: ValueSpec) -> float:
        return spec.payload_bytes / self._bytes_per_s
