"""Quantisation followed by Zstandard, against arithmetic written out in numpy and the format's own decompressor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zstandard

from midcut.errors import ConfigError, MalformedError
from midcut.types import Encoded, ValueSpec
from midcut_codecs.config import QuantisedConfig, Scale
from midcut_codecs.rounded import Int8, Quantised

SPEC = ValueSpec("x", "float32", (1, 16, 28, 28))


def codec(**knobs):
    return Quantised(name="quantised", **vars(QuantisedConfig(**knobs)))


def activation():
    return torch.randn(SPEC.shape, generator=torch.Generator().manual_seed(0)).relu()


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_values_are_those_of_affine_quantisation_per_channel(bits):
    value, chosen = activation(), codec(bits=bits)
    decoded = chosen.decode(chosen.encode(value), SPEC).numpy()
    array = value.numpy().astype(np.float64)
    low, high = (reduce(array, axis=(0, 2, 3), keepdims=True) for reduce in (np.min, np.max))
    step = (high - low) / (2**bits - 1)
    expected = np.round((array - low) / step) * step + low
    off_by_a_step = np.abs(decoded - expected) > 1e-5
    assert off_by_a_step.mean() < 1e-3  # float32 rounds a tie the other way here and there
    assert np.abs(decoded - array).max() <= step.max() * 0.5001


def test_fewer_bits_take_fewer_bytes_and_none_take_more_than_int8():
    value = activation()
    sizes = [codec(bits=bits).encode(value).size_bytes for bits in (8, 6, 4)]
    int8 = Int8(name="int8", scale=Scale.channel, agreement=None, mb_per_s=1.0).encode(value).size_bytes
    assert [int8, *sizes] == sorted([int8, *sizes], reverse=True)
    assert sizes[2] < 0.55 * int8


def test_the_receiver_needs_no_settings():
    value = activation()
    for scale in Scale:
        encoded = codec(bits=4, scale=scale, level=9).encode(value)
        assert torch.equal(codec().decode(encoded, SPEC), codec(bits=4, scale=scale).decode(encoded, SPEC))


def test_a_compression_bomb_is_refused_by_the_size_in_its_header():
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 26))
    assert len(bomb) < 10_000
    with pytest.raises(MalformedError, match="quantised"):
        codec().decode(Encoded((bomb,)), SPEC)


def test_a_frame_without_a_size_is_refused():
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    with pytest.raises(MalformedError, match="quantised"):
        codec().decode(Encoded((compressor.compress(bytes(1000)),)), SPEC)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"bits": 5}, "bits"),
        ({"level": 0}, "level"),
        ({"ratio": 0.0}, "ratio"),
        ({"ratio": 1.5}, "ratio"),
        ({"agreement": 2.0}, "agreement"),
    ],
)
def test_bounds_of_settings(knobs, message):
    with pytest.raises(ConfigError, match=message):
        codec(**knobs)
