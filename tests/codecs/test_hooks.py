"""Codecs as config chooses them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.config.registry import registry
from midcut.errors import ConfigError
from midcut.planning.assembly import build_codecs


def config(verb, *overrides):
    return compose(verb, overrides)


def test_what_comes_with_midcut():
    names = ["base64", "file", "fp16", "int4", "int6", "int8", "jpeg", "png", "raw", "webp", "zstd"]
    assert registry().names(Kind.CODEC) == names


@pytest.mark.parametrize("verb", ["plan", "edge", "simulate"])
def test_bare_bytes_are_the_default(verb):
    composed = config(verb) if verb != "simulate" else config(verb, "model=alexnet")
    assert list(build_codecs(composed)) == ["raw"]


def test_a_codec_goes_by_the_name_it_was_chosen_by():
    codecs = build_each(Kind.CODEC, config("plan", "codec=[zstd,int8]", "codec.int8.scale=tensor").codec)
    assert {name: codec.name for name, codec in codecs.items()} == {"zstd": "zstd", "int8": "int8"}


def test_the_floor_leaves_out_what_nobody_measured():
    composed = config("plan", "codec=[raw,fp16,int8]", "codec.int8.agreement=0.999", "accuracy_floor=0.99")
    assert list(build_codecs(composed)) == ["raw", "int8"]


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("codec.zstd.level=30", "codec.zstd.level must be from 1 to 19, got 30"),
        ("codec.zstd.ratio=2", "codec.zstd.ratio must be over 0 and at most 1, got 2.0"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(override, part):
    with pytest.raises(ConfigError) as caught:
        build_codecs(config("plan", "codec=zstd", override))
    assert str(caught.value) == part


def test_planning_with_codecs_needs_no_torch():
    code = (
        "import sys\n"
        "from midcut_codecs import exact, packed, rounded, hooks\n"
        "from midcut.types import ValueSpec\n"
        "codec = rounded.Int8(name='int8', scale='channel', agreement=None, mb_per_s=1.0)\n"
        "assert codec.encoded_bytes(ValueSpec('x', 'float32', (1, 3, 4, 5))) == 60 + 24\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
