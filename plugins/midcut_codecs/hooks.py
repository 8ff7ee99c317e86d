"""The codecs that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_codecs.config import (
    Base64Config,
    FileConfig,
    Float16Config,
    Int8Config,
    JpegConfig,
    PngConfig,
    RawConfig,
    WebpConfig,
    ZstdConfig,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_codecs() -> Sequence[Component]:
    return (
        Component("raw", RawConfig, "midcut_codecs.exact.Raw", "the elements as they are, little-endian"),
        Component("file", FileConfig, "midcut_codecs.exact.File", "a picture's file as it came, at cut 0"),
        Component("base64", Base64Config, "midcut_codecs.exact.Base64", "base64 (the paper's), lossless"),
        Component("fp16", Float16Config, "midcut_codecs.rounded.Float16", "half precision, lossy: 1/2 of the bytes"),
        Component("int8", Int8Config, "midcut_codecs.rounded.Int8", "256 steps per channel, lossy: 1/4 of the bytes"),
        Component("int6", Int8Config, "midcut_codecs.rounded.Int6", "64 steps per channel, lossy: for int6-zstd"),
        Component("int4", Int8Config, "midcut_codecs.rounded.Int4", "16 steps per channel, lossy: 1/8 of the bytes"),
        Component("zstd", ZstdConfig, "midcut_codecs.packed.Zstd", "Zstandard where it saves enough, lossless"),
        Component("webp", WebpConfig, "midcut_codecs.pictures.Webp", "pictures as WebP, lossless"),
        Component("png", PngConfig, "midcut_codecs.pictures.Png", "pictures as PNG, lossless"),
        Component("jpeg", JpegConfig, "midcut_codecs.pictures.Jpeg", "pictures as JPEG, lossy"),
    )
