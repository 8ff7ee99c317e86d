"""Numbers worked out by hand, and what a stranger may send."""

from __future__ import annotations

import resource
import struct

import numpy as np
import pytest
import torch
import zstandard

from midcut.errors import ConfigError, MalformedError
from midcut.types import Encoded, ValueSpec
from midcut_codecs.config import Base64Config, Float16Config, Int8Config, Scale, ZstdConfig
from midcut_codecs.exact import Base64, Raw
from midcut_codecs.packed import Zstd
from midcut_codecs.rounded import Float16, Int4, Int6, Int8


def joined(encoded):
    return b"".join(bytes(piece) for piece in encoded.data)


def int8(**settings):
    return Int8(name="int8", **vars(Int8Config(**settings)))


def zstd(**settings):
    return Zstd(name="zstd", **vars(ZstdConfig(**settings)))


def fp16():
    return Float16(name="fp16", **vars(Float16Config()))


def test_raw_is_little_endian_and_a_view_of_the_tensor():
    value = torch.tensor([[1.0, -2.0]])
    encoded = Raw(name="raw").encode(value)
    assert joined(encoded) == struct.pack("<2f", 1.0, -2.0)
    value[0, 0] = 3.0
    assert joined(encoded) == struct.pack("<2f", 3.0, -2.0)


def test_raw_sends_a_permuted_tensor_as_it_lies_in_memory():
    value = torch.arange(6.0).reshape(1, 3, 2).permute(0, 2, 1)
    encoded = Raw(name="raw").encode(value)
    assert encoded.dim_order == (0, 2, 1)
    assert joined(encoded) == struct.pack("<6f", *range(6))


def test_base64_makes_four_characters_of_three_bytes():
    codec = Base64(name="base64", **vars(Base64Config()))
    assert joined(codec.encode(torch.tensor([1.0]))) == b"AACAPw=="  # 00 00 80 3f
    assert codec.encoded_bytes(ValueSpec("x", "float32", (3,))) == 16


def test_fp16_rounds_to_nearest_and_keeps_what_is_too_large_finite():
    value = torch.tensor([1.0, 1.0 + 2**-11 + 2**-20, 1e6, -1e6, float("inf")])
    codec = fp16()
    encoded = codec.encode(value)
    assert joined(encoded) == struct.pack("<5e", 1.0, 1.0 + 2**-10, 65504.0, -65504.0, float("inf"))
    decoded = codec.decode(encoded, ValueSpec("x", "float32", (5,)))
    assert decoded.tolist() == [1.0, 1.0 + 2**-10, 65504.0, -65504.0, float("inf")]


def test_int8_of_a_tensor_by_hand():
    # From -1 to 4.1 in 255 steps of 0.02: -1 is code 0, 0 is code 50, 4.1 is code 255, 1.011 is 100.55, so 101.
    value = torch.tensor([[-1.0, 0.0, 4.1, 1.011]])
    codec = int8(scale=Scale.tensor)
    encoded = codec.encode(value)
    low, step = struct.unpack("<2f", joined(encoded)[:8])
    assert (low, step) == (-1.0, pytest.approx(0.02, rel=1e-6))
    assert list(joined(encoded)[8:]) == [0, 50, 255, 101]
    decoded = codec.decode(encoded, ValueSpec("x", "float32", (1, 4)))
    np.testing.assert_allclose(decoded.numpy(), [[-1.0, 0.0, 4.1, 1.02]], atol=1e-6)


@pytest.mark.parametrize("codec_type", [Int8, Int6, Int4])
def test_finite_values_stay_finite_or_are_refused(codec_type):
    codec = codec_type(name="int", **vars(Int8Config(scale=Scale.tensor)))
    half = torch.tensor([[65504.0, -65504.0, 0.0]], dtype=torch.float16)
    decoded = codec.decode(codec.encode(half), ValueSpec("x", "float16", (1, 3)))
    assert decoded[0, :2].tolist() == [65504.0, -65504.0]
    with pytest.raises(MalformedError, match="within the range of float32"):
        codec.encode(torch.tensor([[3e38, -3e38]]))


def test_int8_gives_each_channel_its_own_steps():
    value = torch.stack((torch.linspace(0, 1, 12), torch.linspace(-100, 100, 12))).reshape(1, 2, 3, 4)
    encoded = int8().encode(value)
    table = struct.unpack("<4f", joined(encoded)[:16])
    assert table == pytest.approx((0.0, -100.0, 1 / 255, 200 / 255))
    assert encoded.size_bytes == 16 + 24
    error = (int8().decode(encoded, ValueSpec("x", "float32", (1, 2, 3, 4))) - value).abs().amax((0, 2, 3))
    assert error[0] <= 0.501 / 255
    assert error[1] <= 0.501 * 200 / 255
    codec = int8(scale=Scale.tensor)
    shared = codec.decode(codec.encode(value), ValueSpec("x", "float32", (1, 2, 3, 4)))
    assert (shared - value).abs().amax((0, 2, 3))[0] > 0.1  # the small channel drowns in the large one's steps


def test_int8_reads_what_either_setting_wrote():
    value, spec = torch.rand(1, 5, 4, 4), ValueSpec("x", "float32", (1, 5, 4, 4))
    for writer in Scale:
        decoded = [int8(scale=reader).decode(int8(scale=writer).encode(value), spec) for reader in Scale]
        assert torch.equal(*decoded)


@pytest.mark.parametrize("codec", [fp16(), int8()], ids=lambda codec: codec.name)
def test_class_numbers_and_masks_are_not_rounded(codec):
    for value in (torch.tensor([1, 2]), torch.tensor([True])):
        with pytest.raises(MalformedError, match=rf"codec {codec.name} does not take (int64|bool)"):
            codec.encode(value)


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (1, 0, 3, 2)])
@pytest.mark.parametrize("codec", [fp16(), int8(), int8(scale=Scale.tensor)], ids=["fp16", "channel", "tensor"])
def test_a_rounded_tensor_keeps_its_layout_in_memory(codec, order):
    value = torch.empty_permuted((2, 3, 4, 5), order).copy_(torch.rand(2, 3, 4, 5))
    encoded = codec.encode(value)
    assert encoded.dim_order == order
    assert codec.decode(encoded, ValueSpec("x", "float32", (2, 3, 4, 5))).stride() == value.stride()


def test_zstd_packs_zeros_and_leaves_noise_bare():
    zeros, noise = torch.zeros(1, 100, 100), torch.randn(1, 100, 100)
    assert zstd().encode(zeros).size_bytes < 100
    assert joined(zstd().encode(noise)) == joined(Raw(name="raw").encode(noise))
    half = torch.cat((noise, zeros))
    saved = 1 - zstd().encode(half).size_bytes / 80_000
    assert 0.45 < saved < 0.56
    assert zstd(min_saving=0.6).encode(half).size_bytes == 80_000


def test_zstd_says_what_it_was_told_to_expect():
    spec = ValueSpec("x", "float32", (1, 1000))
    assert zstd(ratio=0.25, mb_per_s=100.0).encoded_bytes(spec) == 1000
    assert zstd(ratio=0.95).encoded_bytes(spec) == 4000  # saves less than min_saving, so it is sent bare
    assert zstd(mb_per_s=100.0).codec_s(spec) == pytest.approx(4000 / 100e6)


def frame(data, **settings):
    return zstandard.ZstdCompressor(**settings).compress(data)


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (frame(bytes(10_000)), "the frame holds 10000 bytes, expected are 4000"),
        (frame(bytes(3999)), "the frame holds 3999 bytes"),
        (frame(bytes(4000), write_content_size=False), "the frame holds"),
        (frame(bytes(4000)) + b"tail", "compressed input contains"),
        (frame(bytes(4000)) * 2, "compressed input contains"),
        (frame(bytes(4000), write_checksum=True)[:-1], "decompress"),
        (frame(b"", write_content_size=True), "the frame holds 0 bytes"),
    ],
    ids=["too much", "too little", "unstated", "trailing", "two frames", "cut off", "empty"],
)
def test_zstd_refuses_a_frame_that_is_not_the_tensor(packed, why):
    with pytest.raises(MalformedError, match=why):
        zstd().decode(Encoded((packed,)), ValueSpec("x", "float32", (1000,)))


def test_a_bomb_is_refused_before_it_goes_off():
    bomb = frame(bytes(1 << 30))  # 1 GiB in 32 kB
    lie = bytearray(bomb)
    at = 5  # magic number, then a descriptor that says: four bytes of content size
    lie[at : at + 4] = struct.pack("<I", 400_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for packed in (bomb, bytes(lie)):
        with pytest.raises(MalformedError):
            zstd().decode(Encoded((packed,)), ValueSpec("x", "float32", (100_000,)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_a_bool_is_0_or_1_whatever_the_codec():
    spec = ValueSpec("x", "bool", (3,))
    for codec in (Raw(name="raw"), zstd()):
        with pytest.raises(MalformedError, match="0 or 1"):
            codec.decode(Encoded((b"\0\1\2",)), spec)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0])
def test_int8_refuses_steps_that_no_tensor_makes(number):
    spec = ValueSpec("x", "float32", (1, 4))
    with pytest.raises(MalformedError, match="offset or a step"):
        int8().decode(Encoded((struct.pack("<2f", 0.0, number) + bytes(4),)), spec)


@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (lambda: zstd(level=0), "codec.zstd.level"),
        (lambda: zstd(min_saving=1.0), "codec.zstd.min_saving"),
        (lambda: zstd(ratio=0.0), "codec.zstd.ratio"),
        (lambda: zstd(mb_per_s=0.0), "codec.zstd.mb_per_s"),
        (lambda: int8(agreement=1.5), "codec.int8.agreement"),
    ],
)
def test_a_setting_that_cannot_be_is_named(make, setting):
    with pytest.raises(ConfigError, match=setting):
        make()
