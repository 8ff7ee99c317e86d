"""Settings of the codecs. Light: no torch.

`mb_per_s` is for forecasts that are made without the model; `midcut edge` measures encoding and decoding at start.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Scale(Enum):
    """Quantisation granularity: the elements that share one scale and one offset."""

    tensor = "tensor"
    channel = "channel"


@dataclass
class RawConfig:
    """The elements as they are, little-endian. It has no settings."""


@dataclass
class FileConfig:
    """A picture's file as it came, at cut 0, where the cloud decodes its format as the edge does.

    Attributes:
        typical_kb: size of a file, kB, until the edge has seen some.
        mb_per_s: speed of decoding and preprocessing, MB of preprocessed picture per second; `midcut edge` measures it.
    """

    typical_kb: float = 50.0
    mb_per_s: float = 60.0


@dataclass
class Base64Config:
    """Base64, four bytes for three, as the paper's interface has it (Luger, Aral, Brandic 2023, section 2.4).

    Attributes:
        mb_per_s: speed of encoding and decoding together, MB of unencoded payload per second.
    """

    mb_per_s: float = 900.0


@dataclass
class Float16Config:
    """Half precision: two bytes for a float32's four, about three decimal digits.

    Attributes:
        agreement: share of inputs that get the same class as without this codec, measured with this model; null if
            unknown.
        mb_per_s: speed of encoding and decoding together, MB of unencoded payload per second.
    """

    agreement: float | None = None
    mb_per_s: float = 1500.0


@dataclass
class Int8Config:
    """Quantisation to equal steps between the smallest and the largest value: 256 for int8, 64 for int6, 16 for int4.

    One byte for a float32's four, half a byte with `int4`; `int6` pays in a chain, where `zstd` leaves less of it.

    Attributes:
        scale: one range for the whole tensor, or one for each channel (dimension 1).
        agreement: share of inputs that get the same class as without this codec, measured with this model; null if
            unknown.
        mb_per_s: speed of encoding and decoding together, MB of unencoded payload per second.
    """

    scale: Scale = Scale.channel
    agreement: float | None = None
    mb_per_s: float = 600.0


@dataclass
class ZstdConfig:
    """Zstandard compression, lossless; a tensor that it does not shrink enough is sent uncompressed.

    Attributes:
        level: compression level, 1 (fast) to 19 (small).
        min_saving: share of the bytes that compression must save; otherwise the tensor is sent uncompressed.
        ratio: compressed bytes / uncompressed bytes, for forecasts made without the model; `midcut edge` measures it.
        mb_per_s: speed of encoding and decoding together, MB of unencoded payload per second.
    """

    level: int = 1
    min_saving: float = 0.1
    ratio: float = 1.0
    mb_per_s: float = 200.0


@dataclass
class WebpConfig:
    """A preprocessed picture as a lossless WebP file, with its values beside it; any other tensor as it is.

    Attributes:
        effort: of the compression, 0 (fast) to 6 (small).
        mb_per_s: speed of encoding and decoding together, MB of unencoded payload per second.
    """

    effort: int = 0
    mb_per_s: float = 25.0


@dataclass
class PngConfig:
    """A preprocessed picture as a PNG file, with its values beside it; any other tensor as it is.

    Attributes:
        level: of the compression, 0 (none) to 9 (small).
        mb_per_s: speed of encoding and decoding together, MB of unencoded payload per second.
    """

    level: int = 3
    mb_per_s: float = 40.0


@dataclass
class JpegConfig:
    """A preprocessed picture as a JPEG file, not exact; a tensor that cannot be a picture as it is.

    Attributes:
        quality: of the JPEG file, 1 (small) to 100.
        agreement: share of inputs that get the same class as without this codec, measured with this model; null if
            unknown.
        mb_per_s: speed of encoding and decoding together, MB of unencoded payload per second.
    """

    quality: int = 90
    agreement: float | None = None
    mb_per_s: float = 80.0
