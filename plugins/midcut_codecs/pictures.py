"""Codecs for inputs that were pictures: what crosses cut 0 is sent as a picture again. Importing this imports no torch.

A preprocessed picture has at most 256 different values in each channel, since it was 8 bits before it was normalised.
The number of each value among those of its channel is a pixel again, whatever the normalisation was, and the values
themselves travel beside the picture, so that every bit comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from midcut.errors import ConfigError, MalformedError
from midcut.types import Encoded
from midcut_codecs.pieces import check_share, join_pieces, to_bytes_per_s

if TYPE_CHECKING:
    from midcut.types import Tensor, ValueSpec

_CHANNELS: Final = (1, 3)
_LEAST_SIDE: Final = 8
_QUALITIES: Final = range(1, 101)


class Picture:
    """Sends a tensor as a picture where it was one and that is shorter; the length says which of the two arrives.

    Attributes:
        file_format: Pillow's name.
        share: bytes of the file to bytes of its pixels, for forecasts made without the model.
    """

    file_format: ClassVar[str]
    share: ClassVar[float]
    agreement: float | None = 1.0

    def __init__(self, *, name: str, mb_per_s: float) -> None:
        self.name = name
        self._bytes_per_s = to_bytes_per_s(mb_per_s, name)

    def options(self) -> dict[str, int | bool]:
        """Options of Pillow's writer."""
        raise NotImplementedError

    def encode(self, value: Tensor) -> Encoded:
        from midcut.tensors import tensor_to_bytes  # noqa: PLC0415 - imports torch

        data, order = tensor_to_bytes(value)
        if is_picture(str(value.dtype).removeprefix("torch."), tuple(value.shape)):
            pieces = self._pieces(value)
            if pieces is not None and sum(memoryview(piece).nbytes for piece in pieces) < data.nbytes:
                return Encoded(pieces, dim_order=order)
        return Encoded((data,), dim_order=order)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        from midcut.tensors import tensor_from_bytes  # noqa: PLC0415 - imports torch
        from midcut_codecs import picturing  # noqa: PLC0415 - imports torch

        data = join_pieces(encoded)
        if data.nbytes == spec.payload_bytes:
            return tensor_from_bytes(data, spec.dtype, spec.shape, encoded.dim_order)
        if data.nbytes > spec.payload_bytes:
            raise MalformedError(
                f"codec {self.name}: {spec.dtype} {list(spec.shape)} takes at most {spec.payload_bytes} bytes, "
                f"got {data.nbytes}"
            )
        if not is_picture(spec.dtype, spec.shape):
            raise MalformedError(f"codec {self.name}: {spec.dtype} {list(spec.shape)} is no picture")
        return picturing.from_file(data, spec.shape, self.file_format, encoded.dim_order)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        if not is_picture(spec.dtype, spec.shape):
            return spec.payload_bytes
        return round(spec.payload_bytes / 4 * self.share)

    def codec_s(self, spec: ValueSpec) -> float:
        return spec.payload_bytes / self._bytes_per_s if is_picture(spec.dtype, spec.shape) else 0.0

    def _pieces(self, value: Tensor) -> tuple[bytes, ...] | None:
        """The parts of the coded form; None where the tensor was no picture."""
        from midcut_codecs.picturing import levels_to_file  # noqa: PLC0415 - imports torch

        return levels_to_file(value, self.file_format, self.options())


class Webp(Picture):
    """Lossless WebP: the fewest bytes, and the most seconds."""

    file_format = "WEBP"
    share = 0.35

    def __init__(self, *, name: str, effort: int, mb_per_s: float) -> None:
        super().__init__(name=name, mb_per_s=mb_per_s)
        if effort not in range(7):
            raise ConfigError(f"codec.{name}.effort must be from 0 to 6, got {effort}")
        self._effort = effort

    def options(self) -> dict[str, int | bool]:
        return {"lossless": True, "method": self._effort, "quality": 20 * self._effort if self._effort < 5 else 100}


class Png(Picture):
    """PNG: more bytes than WebP."""

    file_format = "PNG"
    share = 0.5

    def __init__(self, *, name: str, level: int, mb_per_s: float) -> None:
        super().__init__(name=name, mb_per_s=mb_per_s)
        if level not in range(10):
            raise ConfigError(f"codec.{name}.level must be from 0 to 9, got {level}")
        self._level = level

    def options(self) -> dict[str, int | bool]:
        return {"compress_level": self._level}


class Jpeg(Picture):
    """JPEG: not exact. Its pixels are evenly spaced between the smallest and the largest value of each channel."""

    file_format = "JPEG"
    share = 0.1

    def __init__(self, *, name: str, quality: int, agreement: float | None, mb_per_s: float) -> None:
        super().__init__(name=name, mb_per_s=mb_per_s)
        if quality not in _QUALITIES:
            raise ConfigError(f"codec.{name}.quality must be from 1 to 100, got {quality}")
        self._quality = quality
        self.agreement = check_share(agreement, f"{name}.agreement")

    def options(self) -> dict[str, int | bool]:
        return {"quality": self._quality}

    def _pieces(self, value: Tensor) -> tuple[bytes, ...] | None:
        from midcut_codecs.picturing import range_to_file  # noqa: PLC0415 - imports torch

        return range_to_file(value, self.file_format, self.options())


def is_picture(dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor may be a batch of pictures by its form: float32 of shape (batch, 1 or 3, height, width)."""
    return (
        dtype == "float32"
        and len(shape) == 4
        and shape[0] >= 1
        and shape[1] in _CHANNELS
        and min(shape[2:]) >= _LEAST_SIDE
        and max(shape[0] * shape[2], shape[3]) <= 16_000
    )
