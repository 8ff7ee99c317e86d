"""Codecs on a net that was trained and the digits it was tested on: bytes, classes and output error."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.types import Encoded
from midcut_codecs.config import Float16Config, Int8Config, Scale, ZstdConfig
from midcut_codecs.exact import Base64, Raw
from midcut_codecs.packed import Zstd
from midcut_codecs.rounded import Float16, Int8
from midcut_models.mnist import DIGITS, Mnist

INT8 = vars(Int8Config())
CODECS = [
    Raw(name="raw"),
    Base64(name="base64", mb_per_s=1.0),
    Zstd(name="zstd", **vars(ZstdConfig())),
    Float16(name="fp16", **vars(Float16Config())),
    Int8(name="int8", **INT8),
    Int8(name="int8 tensor", **INT8 | {"scale": Scale.tensor}),
]
# codec -> bytes for each of the payload at most (a table of ranges included), output error at most (norms).
PROMISED = {
    "raw": (1.0, 0.0),
    "base64": (1.334, 0.0),
    "zstd": (1.0, 0.0),
    "fp16": (0.5, 2e-3),
    "int8": (0.38, 3e-2),
    "int8 tensor": (0.26, 3e-2),
}


@pytest.fixture(scope="module")
def mnist():
    return Mnist(name="mnist").load()


@pytest.fixture(scope="module")
def cut_mnist(mnist):
    return partition(mnist, CutSettings())


def received(codec, value, spec):
    """What arrives, and in how many bytes; through bytes of its own, as a socket gives them."""
    sent = codec.encode(value)
    data = b"".join(bytes(piece) for piece in sent.data)
    return codec.decode(Encoded((memoryview(data),), sent.parameters, sent.dim_order), spec), len(data)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_digit_stays_the_digit_it_is(mnist, cut_mnist, codec):
    ratio, error = PROMISED[codec.name]
    table = cut_mnist.table
    large = [cut for cut in cut_mnist.legal if table.cuts[cut].payload_bytes >= 1000 and cut != table.last]
    assert len(large) >= 6
    agreed = asked = 0
    with torch.inference_mode():
        for path in sorted(DIGITS.glob("*.png"))[:60]:
            pixels = mnist.preprocess(Image.open(path))
            whole = mnist.module(pixels)
            for cut in large:
                (value,), (spec,) = cut_mnist.head(cut, [pixels]), table.cuts[cut].values
                got, size = received(codec, value, spec)
                (output,) = cut_mnist.tail(cut, [got])
                assert size <= ratio * spec.payload_bytes + 16
                assert float((output - whole).norm()) <= error * float(whole.norm())
                agreed += int(output.argmax() == whole.argmax())
                asked += 1
    assert agreed == asked


def test_zstd_pays_on_a_digit(mnist, cut_mnist):
    """Most of a digit is background."""
    (value,) = mnist.example
    _, size = received(CODECS[2], value, cut_mnist.table.cuts[0].values[0])
    assert size < 0.5 * value.nbytes
