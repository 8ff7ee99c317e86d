from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from midcut import wire
from midcut.errors import ConfigError
from midcut.planning.placements import Onward, accurate_codecs, placements
from midcut.types import Cut, CutTable, Node, Placement, ValueSpec
from midcut_codecs.config import Base64Config, Float16Config
from midcut_codecs.exact import Base64, Raw
from midcut_codecs.rounded import Float16

IDS = ValueSpec("ids", "int64", (1, 500))
MAPS = ValueSpec("maps", "float32", (1, 8, 50, 50))
TABLE = CutTable(
    model="two",
    capture="fx",
    nodes=(Node("embed", "Embedding", "embed"), Node("head", "Linear", "head")),
    cuts=(
        Cut(0, 0, ends_module=False, values=(IDS,)),
        Cut(1, 1, ends_module=True, values=(MAPS, ValueSpec("n", "int"))),
        Cut(2, 2, ends_module=True, values=(ValueSpec("out", "float32", (1, 10)),)),
    ),
    graph="g" * 16,
    weights="w" * 16,
)


def codecs(**agreement):
    return {
        "raw": Raw(name="raw"),
        "base64": Base64(name="base64", **vars(Base64Config(mb_per_s=100.0))),
        "fp16": Float16(name="fp16", **vars(Float16Config(mb_per_s=200.0, **agreement))),
    }


def test_every_cut_is_combined_with_every_codec_and_the_last_cut_is_a_single_placement():
    laid_out = placements(TABLE, (0, 1, 2), codecs())
    assert [laid_out[row] for row in range(len(laid_out))] == [
        *(Placement(cut, codec) for cut in (0, 1) for codec in ("raw", "base64", "fp16")),
        Placement(2, "raw"),
    ]
    assert laid_out.on_edge.tolist() == [False] * 6 + [True]
    assert laid_out.request_bytes[-1] == laid_out.reply_bytes[-1] == laid_out.codec_s[-1] == 0.0


def test_without_codecs_there_is_a_row_a_cut():
    laid_out = placements(TABLE, (0, 1, 2))
    assert laid_out.codec == ("raw",) * 3
    assert laid_out.cut.tolist() == [0, 1, 2]
    assert laid_out.codec_s.tolist() == [0.0] * 3


def test_request_bytes_depend_on_the_codec():
    raw, base64, fp16 = placements(TABLE, (1,), codecs()).request_bytes
    # 8 x 50 x 50 floats are 80,000 bytes; base64 makes 4 of 3, fp16 2 of 4; headers are a few hundred bytes.
    assert 80_000 < raw < 80_600
    assert 106_668 < base64 < 107_200
    assert 40_000 < fp16 < 40_700


def test_a_dtype_that_the_codec_does_not_support_is_sent_as_it_is_and_takes_no_codec_time():
    laid_out = placements(TABLE, (0,), codecs())
    raw, _, fp16 = laid_out.request_bytes
    assert fp16 - raw == len(',"codec":"fp16"')
    assert laid_out.codec_s.tolist() == [0.0, 4000 / 100e6, 0.0]


def test_codec_seconds_are_those_of_the_tensors_at_the_cut():
    np.testing.assert_allclose(placements(TABLE, (1,), codecs()).codec_s, [0.0, 80_000 / 100e6, 80_000 / 200e6])


def test_a_base64_request_gets_the_papers_reply_format():
    laid_out = placements(TABLE, (1,), codecs())
    assert laid_out.reply_bytes.tolist() == [
        wire.reply_bytes(TABLE),
        wire.reply_bytes(TABLE, codecs()["base64"]),
        wire.reply_bytes(TABLE),
    ]
    assert laid_out.reply_bytes[0] != laid_out.reply_bytes[1]


def test_a_codec_under_the_floor_or_unknown_is_left_out():
    assert list(accurate_codecs(codecs(), None)) == ["raw", "base64", "fp16"]
    assert list(accurate_codecs(codecs(), 0.9)) == ["raw", "base64"]
    assert list(accurate_codecs(codecs(agreement=0.95), 0.9)) == ["raw", "base64", "fp16"]
    assert list(accurate_codecs(codecs(agreement=0.95), 0.951)) == ["raw", "base64"]
    assert list(accurate_codecs(codecs(agreement=0.0), 0.0)) == ["raw", "base64", "fp16"]


@pytest.mark.parametrize(
    ("offered", "floor", "message"),
    [
        ({}, None, "no codec is on offer: give codec=NAME, e.g. codec=raw"),
        (
            {"fp16": codecs()["fp16"]},
            0.9,
            (
                "no codec satisfies accuracy_floor=0.9: fp16 has unknown agreement (codec.fp16.agreement); "
                "a lossless codec always does"
            ),
        ),
        (
            {"fp16": codecs(agreement=0.5)["fp16"]},
            0.9,
            ("no codec satisfies accuracy_floor=0.9: fp16 has agreement 0.5; a lossless codec always does"),
        ),
    ],
)
def test_when_none_is_left_the_message_says_why(offered, floor, message):
    with pytest.raises(ConfigError) as caught:
        accurate_codecs(offered, floor)
    assert str(caught.value) == message


class Clocked(Float16):
    """Its seconds hold at 1000 MHz, and three quarters of them are encoding."""

    clock_mhz = 1000.0

    def encode_s(self, spec):
        return 0.75 * self.codec_s(spec)


def test_encoding_is_known_with_the_clock_at_which_it_was_measured():
    clocked = Clocked(name="fp16", **vars(Float16Config(mb_per_s=200.0)))
    laid_out = placements(TABLE, (1, 2), {"base64": codecs()["base64"], "fp16": clocked})
    seconds = 80_000 / 200e6
    np.testing.assert_allclose(laid_out.codec_s, [80_000 / 100e6, seconds, 0.0])
    np.testing.assert_allclose(laid_out.encode_s, [0.0, 0.75 * seconds, 0.0])
    np.testing.assert_allclose(laid_out.encode_mhz_s, [0.0, 750 * seconds, 0.0])
    # A relay codes at a clock of its own.
    relayed = placements(TABLE, (1,), {"fp16": clocked}, Onward((2,), {"fp16": clocked}))
    assert relayed.encode_s.all()
    assert not relayed.onward.encode_s.any()


def test_two_lossy_hops_keep_an_accuracy_floor_together():
    lossy = codecs(agreement=0.994)
    lossy = {name: lossy[name] for name in ("raw", "fp16")}
    pairs = {}
    for floor in (None, 0.994, 0.988, 0.99):
        laid_out = placements(TABLE, (0, 1, 2), lossy, Onward((0, 1), lossy, floor))
        pairs[floor] = set(zip(laid_out.codec, laid_out.onward.codec, strict=True))
    both = {("raw", "raw"), ("raw", "fp16"), ("fp16", "raw")}
    assert pairs[None] == pairs[0.988] == both | {("fp16", "fp16")}
    assert pairs[0.994] == pairs[0.99] == both


def test_replies_that_are_encoded_are_planned_with_their_bytes_and_seconds():
    last = TABLE.cuts[2].values[0]
    wide = ValueSpec(last.name, "float32", (1, 21, 100, 100))
    table = replace(TABLE, cuts=(*TABLE.cuts[:2], replace(TABLE.cuts[2], values=(wide,))))
    offered = {"raw": codecs()["raw"], "base64": codecs()["base64"]}
    plain, coded = (placements(table, (0, 2), offered, None, reply) for reply in (None, codecs()["fp16"]))
    raw, paper, here = range(3)
    assert plain.reply_bytes[raw] - coded.reply_bytes[raw] == pytest.approx(wide.payload_bytes / 2, abs=100)
    assert coded.codec_s[raw] == pytest.approx(wide.payload_bytes / 200e6)
    assert coded.reply_bytes[paper] == plain.reply_bytes[paper]
    assert coded.codec_s[paper] == plain.codec_s[paper]
    assert coded.reply_bytes[here] == coded.codec_s[here] == 0.0
