"""The estimate of a message's work counts numbers as text, and what a codec's bytes become."""

from __future__ import annotations

import threading

import msgspec
import pytest
import torch

from midcut.types import Encoded
from midcut.wire import oip, oip_read, workload
from midcut.wire.body import Body
from midcut.wire.oip_read import InferCall, WireTensor
from midcut.wire.workload import TEXT_WEIGHT

BODY = Body([b"x" * 60_000, b"x" * 40_000])
SMALL = Body([b"x" * 1000])


@pytest.mark.parametrize(
    ("header_length", "weight"),
    [
        (None, 100_000 * TEXT_WEIGHT),
        ("0", 100_000),
        ("100", 100 * TEXT_WEIGHT + 99_900),
        # Such headers are refused; until then all of it may be text.
        ("500000", 100_000 * TEXT_WEIGHT),
        ("-1", 100_000 * TEXT_WEIGHT),
        ("\u0663", 100_000 * TEXT_WEIGHT),
    ],
)
def test_text_weighs_more_than_bytes(header_length, weight):
    assert workload.read_cost(BODY, workload.parse_cost(BODY, header_length)) == weight


@pytest.mark.parametrize(
    ("header_length", "text_bytes"), [(None, 100_000), ("0", 0), ("100", 100), ("500000", 100_000)]
)
def test_reading_the_text_leaves_the_tensors_alone(header_length, text_bytes):
    assert workload.parse_cost(BODY, header_length) == text_bytes * TEXT_WEIGHT


def test_a_small_body_is_small_work_whatever_it_is():
    assert workload.parse_cost(SMALL, "100") == workload.parse_cost(SMALL, None) == 1000 * TEXT_WEIGHT
    assert workload.read_cost(SMALL, workload.parse_cost(SMALL, "100")) == 1000 * TEXT_WEIGHT


def call(tensors=(), outputs=None, *, binary=True, codec=oip.RAW):
    return InferCall("", None, None, codec, None, list(tensors), outputs, binary=binary)


def test_what_a_codec_brings_weighs_what_becomes_of_it():
    header, pieces = oip.encoded_header("x", "float32", (64, 55, 55), Encoded([b"few"], {}, None))
    assert workload.decode_cost(call([WireTensor(header, pieces)], codec="zstd"), 1000) == 3 + 4 * 64 * 55 * 55
    odd = oip.TensorHeader("x", (3,), "UINT8", {"shape": "1,,2"})
    bare = oip.TensorHeader("y", (3,), "FP32", {})
    text = oip.TensorHeader("z", (2,), "FP32", {}, msgspec.Raw(b"[1,2]"))
    mixed = [WireTensor(odd, [memoryview(b"few")]), WireTensor(bare, ()), WireTensor(text, None)]
    assert workload.decode_cost(call(mixed, codec="zstd"), 1000) == 3 + 5 * TEXT_WEIGHT
    assert workload.decode_cost(call([WireTensor(header, pieces)]), 1000) == 1000


async def test_a_small_body_that_a_codec_encoded_is_decoded_on_the_loop():
    header, pieces = oip.encoded_header("x", "float32", (12_000,), Encoded([b"x" * 15_000], {}, None))
    header_text = oip.encode_header(oip.infer_header([header], "", None, codec="zstd"))
    body = Body([header_text, *pieces])
    parse_cost = workload.parse_cost(body, str(len(header_text)))
    read = oip_read.read_infer(body, str(len(header_text)))
    decode_cost = workload.decode_cost(read, workload.read_cost(body, parse_cost))
    assert await workload.off_loop(decode_cost, threading.get_ident) == threading.get_ident()


@pytest.mark.parametrize(
    ("outputs", "binary", "times"),
    [
        (None, True, 1),
        (None, False, TEXT_WEIGHT),
        ({"y": True}, False, 1),
        ({"y": True, "z": False}, True, TEXT_WEIGHT),
    ],
)
def test_outputs_as_text_weigh_more(outputs, binary, times):
    assert workload.encode_cost(call(outputs=outputs, binary=binary), [torch.zeros(10), 7]) == 40 * times
