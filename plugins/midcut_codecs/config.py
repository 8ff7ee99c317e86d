"""Knobs of the codecs. Light: no torch.

`mb_per_s` serves forecasts made without a model at hand; `midcut edge` measures encoding and decoding at start.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Scale(Enum):
    """What shares one pair of scale and offset."""

    tensor = "tensor"
    channel = "channel"


@dataclass
class RawConfig:
    """The bare elements, little-endian: no knobs."""


@dataclass
class Base64Config:
    """Base64 in JSON, four bytes for three (Luger, Aral, Brandic 2023, section 2.4).

    Attributes:
        mb_per_s: MB of bare payload encoded and decoded in a second, both sides together.
    """

    mb_per_s: float = 900.0


@dataclass
class Float16Config:
    """Half precision: two bytes for four, with about three decimal digits.

    Attributes:
        agreement: share of inputs whose class stays what it was, as measured with this model; null is unknown.
        mb_per_s: MB of bare payload encoded and decoded in a second, both sides together.
    """

    agreement: float | None = None
    mb_per_s: float = 1500.0


@dataclass
class Int8Config:
    """256 even steps from the smallest value to the largest: one byte for four.

    Attributes:
        scale: one range for the whole tensor, or one for each channel (dimension 1).
        agreement: share of inputs whose class stays what it was, as measured with this model; null is unknown.
        mb_per_s: MB of bare payload encoded and decoded in a second, both sides together.
    """

    scale: Scale = Scale.channel
    agreement: float | None = None
    mb_per_s: float = 600.0


@dataclass
class ZstdConfig:
    """Zstandard, lossless; a tensor that it does not shrink enough travels bare.

    Attributes:
        level: effort, 1 (fast) to 19 (small).
        min_saving: share of the bytes that packing must save to be worth it.
        ratio: packed bytes / bare bytes, for forecasts made without a model at hand; `midcut edge` measures it.
        mb_per_s: MB of bare payload encoded and decoded in a second, both sides together.
    """

    level: int = 1
    min_saving: float = 0.1
    ratio: float = 1.0
    mb_per_s: float = 200.0
