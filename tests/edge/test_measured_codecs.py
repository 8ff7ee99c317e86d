from __future__ import annotations

import time

import pytest
import torch

from midcut.edge.measured_codecs import measure_codecs
from midcut.planning.placements import placements
from midcut.types import ValueSpec
from midcut_codecs.config import Float16Config, ZstdConfig
from midcut_codecs.exact import Raw
from midcut_codecs.packed import Zstd
from midcut_codecs.rounded import Float16


def codecs():
    return {
        "raw": Raw(name="raw"),
        "zstd": Zstd(name="zstd", **vars(ZstdConfig())),
        "fp16": Float16(name="fp16", **vars(Float16Config(agreement=0.75))),
    }


def test_a_packed_size_is_the_one_of_the_models_own_values(tiny, tiny_model):
    began = time.perf_counter()
    found = measure_codecs(codecs(), tiny, tiny_model.example)
    took_s = time.perf_counter() - began
    relu = next(cut for cut in tiny.table.cuts if cut.index and tiny.table.nodes[cut.index - 1].name == "relu")
    values = tiny.head(relu.index, tiny_model.example)
    (spec,), plain = relu.values, codecs()["zstd"]
    assert found["zstd"].encoded_bytes(spec) == plain.encode(values[0]).size_bytes < spec.payload_bytes * 0.8
    assert plain.encoded_bytes(spec) == spec.payload_bytes  # what it says without having seen one
    assert 0.0 < found["zstd"].codec_s(spec) < took_s
    assert found["zstd"].codec_s(spec) != plain.codec_s(spec)


def test_the_rest_of_a_measured_codec_is_the_codec(tiny, tiny_model):
    found = measure_codecs(codecs(), tiny, tiny_model.example)
    other = ValueSpec("elsewhere", "float32", (3, 5))
    value = torch.randn(3, 5)
    assert found["fp16"].agreement == 0.75
    assert found["fp16"].encoded_bytes(other) == 30
    assert found["fp16"].codec_s(other) == codecs()["fp16"].codec_s(other)
    assert torch.equal(found["fp16"].decode(found["fp16"].encode(value), other), value.half().float())


def test_measured_sizes_reach_the_forecast(tiny, tiny_model):
    laid_out = placements(tiny.table, tiny.legal, measure_codecs(codecs(), tiny, tiny_model.example))
    by_row = {laid_out[row]: row for row in range(len(laid_out))}
    sent = {(place.cut, place.codec): laid_out.request_bytes[row] for place, row in by_row.items()}
    relu = next(index for index, node in enumerate(tiny.table.nodes, start=1) if node.name == "relu")
    assert sent[relu, "zstd"] < 0.8 * sent[relu, "raw"]
    assert sent[relu, "fp16"] == pytest.approx(0.5 * sent[relu, "raw"], rel=0.1)


def test_raw_alone_costs_no_pass(tiny):
    assert measure_codecs({"raw": Raw(name="raw")}, tiny, ()).keys() == {"raw"}
