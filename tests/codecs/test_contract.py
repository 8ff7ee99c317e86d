from __future__ import annotations

from midcut.chains import Chain
from midcut.testing import CodecSuite
from midcut_codecs.config import (
    Base64Config,
    Float16Config,
    Int8Config,
    JpegConfig,
    PngConfig,
    Scale,
    WebpConfig,
    ZstdConfig,
)
from midcut_codecs.exact import Base64, Raw
from midcut_codecs.packed import Zstd
from midcut_codecs.pictures import Jpeg, Png, Webp
from midcut_codecs.rounded import Float16, Int4, Int8


class TestRaw(CodecSuite):
    def make(self):
        return Raw(name="raw")


class TestBase64(CodecSuite):
    def make(self):
        return Base64(name="base64", **vars(Base64Config()))


class TestZstd(CodecSuite):
    estimates = True

    def make(self):
        return Zstd(name="zstd", **vars(ZstdConfig()))


class TestFloat16(CodecSuite):
    tolerance = 2**-11  # ten bits behind the leading one, rounded to nearest

    def make(self):
        return Float16(name="fp16", **vars(Float16Config()))


class TestInt8OfAChannel(CodecSuite):
    tolerance = 1.01 / 255  # half a step of a range that is at most twice the largest magnitude

    def make(self):
        return Int8(name="int8", **vars(Int8Config()))


class TestInt8OfATensor(CodecSuite):
    tolerance = 1.01 / 255

    def make(self):
        return Int8(name="int8", **vars(Int8Config(scale=Scale.tensor)))


class TestFourBits(CodecSuite):
    tolerance = 1.01 / 15

    def make(self):
        return Int4(name="int4", **vars(Int8Config()))


class TestChain(CodecSuite):
    tolerance = 1.01 / 255
    estimates = True

    def make(self):
        first, second = Int8(name="int8", **vars(Int8Config())), Zstd(name="zstd", **vars(ZstdConfig()))
        return Chain("int8-zstd", [first, second])


class TestExactChain(CodecSuite):
    estimates = True

    def make(self):
        first, second = Png(name="png", **vars(PngConfig())), Zstd(name="zstd", **vars(ZstdConfig()))
        return Chain("png-zstd", [first, second])


class TestWebp(CodecSuite):
    estimates = True

    def make(self):
        return Webp(name="webp", **vars(WebpConfig()))


class TestPng(CodecSuite):
    estimates = True

    def make(self):
        return Png(name="png", **vars(PngConfig()))


class TestJpeg(CodecSuite):
    estimates = True

    def make(self):
        return Jpeg(name="jpeg", **vars(JpegConfig()))
