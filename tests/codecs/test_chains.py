"""Chains of codecs, against arithmetic written out in numpy and the formats' own libraries."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
import zstandard

from midcut.chains import Chain, accepts, find_codec
from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.errors import ConfigError, MalformedError, UnknownComponentError
from midcut.tensors import tensor_from_bytes, tensor_to_bytes
from midcut.types import Encoded, HeldModel, ValueSpec

SPEC = ValueSpec("x", "float32", (1, 16, 28, 28))


def codecs(*names, **settings):
    overrides = [f"{key}={value}" for key, value in settings.items()]
    return build_each(Kind.CODEC, compose("plan", [f"codec=[{','.join(names)}]", *overrides]).codec)


def codec(name, *overrides):
    return build_each(Kind.CODEC, compose("plan", [f"codec=[{name}]", *overrides]).codec)[name]


def activation():
    return torch.randn(SPEC.shape, generator=torch.Generator().manual_seed(0)).relu()


@pytest.mark.parametrize("bits", [8, 6, 4])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.0, -1.0), (200.0, 30.0)])
def test_values_are_those_of_affine_quantisation_per_channel(bits, scale, shift):
    value, chosen = activation() * scale + shift, codec(f"int{bits}-zstd")
    decoded = chosen.decode(chosen.encode(value), SPEC).numpy()
    array = value.numpy().astype(np.float64)
    low, high = (reduce(array, axis=(0, 2, 3), keepdims=True) for reduce in (np.min, np.max))
    if bits < 8:  # offsets and steps are float16, and reach over all values
        low16, high = low.astype(np.float16), high.astype(np.float64)
        low = np.where(low16 > low, np.nextafter(low16, np.float16(-np.inf)), low16).astype(np.float64)
        step16 = ((high - low) / (2**bits - 1)).astype(np.float16)
        over = step16 < (high - low) / (2**bits - 1)
        step = np.where(over, np.nextafter(step16, np.float16(np.inf)), step16).astype(np.float64)
    else:
        step = (high - low) / (2**bits - 1)
    expected = np.round((array - low) / step) * step + low
    off_by_a_step = np.abs(decoded - expected) > step * 0.01
    assert off_by_a_step.mean() < 1e-3  # float32 rounds a tie the other way here and there
    assert np.abs(decoded - array).max() <= step.max() * 0.5001


def test_fewer_bits_take_fewer_bytes_and_none_take_more_than_the_codes_alone():
    value = activation()
    sizes = [codec(name).encode(value).size_bytes for name in ("int8", "int8-zstd", "int6-zstd", "int4-zstd")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] < 0.55 * sizes[0]


def test_four_bits_are_half_a_byte_and_a_table_is_no_larger_than_its_elements():
    for shape in ((1, 16, 7, 7), (1, 5, 3, 3), (2, 3, 5)):  # the last two have an odd number of elements, or of both
        value = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        encoded = codec("int4").encode(value)
        assert encoded.size_bytes == (value.numel() + 1) // 2 + 4 * shape[1]
        decoded = codec("int4").decode(encoded, ValueSpec("x", "float32", shape))
        assert (decoded - value).abs().max() <= 0.51 * (value.max() - value.min()) / 15
    pooled = torch.randn(1, 1280, 1, 1)
    assert codec("int8").encode(pooled).size_bytes == 1280 + 8
    assert codec("int4").encode(pooled).size_bytes == 640 + 4


@pytest.mark.parametrize("scale", [1e30, 1e-9])
@pytest.mark.parametrize(("name", "steps"), [("int4", 15), ("int6", 63)])
def test_values_that_float16_cannot_hold_take_a_float32_table(name, steps, scale):
    value = activation() * scale
    encoded = codec(name).encode(value)
    assert not encoded.parameters
    assert (codec(name).decode(encoded, SPEC) - value).abs().max() <= value.max() / steps * 0.505


def test_the_second_stage_is_the_formats_own_and_the_first_that_of_the_codec_alone():
    value = activation()
    (frame,), (table, codes) = codec("int4-zstd").encode(value).data, codec("int4").encode(value).data
    assert zstandard.ZstdDecompressor().decompress(frame) == bytes(table) + bytes(codes)


def test_the_receiver_needs_no_settings():
    value = activation()
    for scale in ("tensor", "channel"):
        sender = codec("int4-zstd", f"codec.int4-zstd.int4.scale={scale}", "codec.int4-zstd.zstd.level=9")
        expected = codec("int4", f"codec.int4.scale={scale}")
        decoded = codec("int4-zstd").decode(sender.encode(value), SPEC)
        assert torch.equal(decoded, expected.decode(expected.encode(value), SPEC))


@pytest.mark.parametrize("size", [1 << 26, 1 << 40, -1, "12", 1.5, True, None])
def test_a_size_that_no_tensor_has_is_refused_before_memory_is_taken(size):
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 26))
    parameters = {} if size is None else {"bytes_1": size}
    with pytest.raises(MalformedError, match="codec int8-zstd: parameter codec_bytes_1 must be a size from 0 to"):
        codec("int8-zstd").decode(Encoded((bomb,), parameters), SPEC)


def test_a_frame_of_another_size_than_it_says_is_refused():
    sent = codec("int8-zstd").encode(activation())
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 26))
    for data, size in ((bomb, sent.parameters["bytes_1"]), (sent.data[0], sent.parameters["bytes_1"] - 1)):
        with pytest.raises(MalformedError, match="zstd"):
            codec("int8-zstd").decode(Encoded((data,), {"bytes_1": size}), SPEC)


@pytest.mark.parametrize(
    ("name", "error", "part"),
    [
        ("int8-", ConfigError, "codec 'int8-' has an empty stage"),
        ("-zstd", ConfigError, "has an empty stage"),
        ("int8--zstd", ConfigError, "has an empty stage"),
        ("-", ConfigError, "has an empty stage"),
        ("zstd-zstd", ConfigError, "names each codec once"),
        ("zstd-int8", ConfigError, "int8 cannot follow zstd, which leaves nothing to save: zstd must be last"),
        ("int8-zstd-fp16", ConfigError, "fp16 cannot follow zstd"),
        ("int8-int4", ConfigError, "int4 encodes tensors, not the bytes that int8 makes: it must be first"),
        ("int8-webp", ConfigError, "webp encodes tensors"),
        ("raw-zstd", ConfigError, "raw cannot be in a chain"),
        ("file-zstd", ConfigError, "file cannot be in a chain"),
        ("int8-base64", ConfigError, "base64 cannot be in a chain"),
        ("int8-zst", UnknownComponentError, "no codec is named 'zst'; did you mean 'zstd'"),
    ],
)
def test_a_chain_that_cannot_be_is_one_clear_line(name, error, part):
    with pytest.raises(error) as caught:
        codec(f"'{name}'" if name == "-" else name)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stages_setting_out_of_range_names_its_place():
    with pytest.raises(ConfigError, match=r"codec\.int8-zstd\.zstd\.level"):
        codec("int8-zstd", "codec.int8-zstd.zstd.level=30")


def test_a_chain_agrees_as_its_only_stage_that_is_not_exact():
    assert codec("int8-zstd").agreement is None
    assert codec("int8-zstd", "codec.int8-zstd.int8.agreement=0.99").agreement == 0.99
    assert codec("webp-zstd").agreement == 1.0


class Deflate:
    """A stranger's entropy coder."""

    agreement, stage = 1.0, "entropy"

    def __init__(self, name):
        self.name = name

    def encode(self, value):
        return Encoded((zlib.compress(tensor_to_bytes(value)[0]),), {"adler": 1})

    def decode(self, encoded, spec):
        if encoded.parameters.get("adler") != 1:
            raise MalformedError("no adler")
        data = zlib.decompressobj().decompress(b"".join(encoded.data), spec.payload_bytes + 1)
        return tensor_from_bytes(data, spec.dtype, spec.shape)

    def encoded_bytes(self, spec):
        return spec.payload_bytes

    def codec_s(self, _):
        return 0.0


class Delta(Deflate):
    """A stranger's filter: differences of neighbouring bytes."""

    stage = "bytes"

    def encode(self, value):
        array = np.frombuffer(tensor_to_bytes(value)[0], np.uint8)
        return Encoded((np.diff(array, prepend=np.uint8(0)).tobytes(),))

    def decode(self, encoded, spec):
        array = np.frombuffer(b"".join(encoded.data), np.uint8)
        return tensor_from_bytes(np.cumsum(array, dtype=np.uint8).tobytes(), spec.dtype, spec.shape)


def test_strangers_codecs_are_stages_too_with_parameters_of_their_own():
    value, int8 = activation(), codec("int8")
    chain = Chain("int8-delta-deflate", [int8, Delta("delta"), Deflate("deflate")])
    encoded = chain.encode(value)
    assert all(name.isidentifier() for name in encoded.parameters)
    assert torch.equal(chain.decode(encoded, SPEC), int8.decode(int8.encode(value), SPEC))
    with pytest.raises(ConfigError, match="delta cannot follow deflate"):
        Chain("int8-deflate-delta", [int8, Deflate("deflate"), Delta("delta")])


def test_a_cloud_takes_any_chain_of_its_codecs_and_an_older_cloud_none():
    here = codecs("int8", "zstd")
    found = find_codec("int8-zstd", here)
    value = activation()
    assert torch.equal(
        found.decode(codec("int8-zstd").encode(value), SPEC), here["int8"].decode(here["int8"].encode(value), SPEC)
    )
    for name in ("int8-fp16", "zstd-int8", "int8-", "int4-zstd", "-", "x" * 1000 + "-zstd"):
        assert find_codec(name, here) is None
    older, newer = (
        HeldModel("f", (0,), ("raw", "int8", "zstd")),
        HeldModel("f", (0,), ("raw", "int8", "zstd"), stages=("int8", "zstd")),
    )
    assert not accepts(older, "int8-zstd")
    assert accepts(newer, "int8-zstd")
    assert not accepts(newer, "int4-zstd")
    assert accepts(HeldModel("f", (0,), ("raw", "int4-zstd")), "int4-zstd")
