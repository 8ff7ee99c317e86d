"""Valid requests for every route that takes a body; the fuzzer breaks them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from common.engines import load
from malformed_requests import HEADER_LENGTH, Sample

import midcut_models
from midcut import wire
from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.types import TailRequest
from midcut.wire import oip
from midcut.wire.oip_tensors import encode_infer


def samples() -> dict[str, list[Sample]]:
    """Route -> valid requests."""
    config = compose("edge", ["model=mnist", "codec=[fp16,int8,zstd]"])
    model = load(config)
    parts = partition(model, CutSettings(verify=False))
    codecs = build_each(Kind.CODEC, config.codec)
    paper, tensors, alias = [], [], []
    with torch.inference_mode():
        for index in (0, 3, 8):
            specs = parts.table.cuts[index].values
            values = parts.head(index, model.example)
            request = TailRequest(
                "mnist", index, parts.table.fingerprint, values, "r", names=[spec.name for spec in specs]
            )
            body = wire.encode_request(request)
            paper.append(Sample(wire.INFER_PATH, {"Content-Type": wire.JSON_TYPE}, body, len(body)))
            tensors += [_sample("mnist", request, codec) for codec in (None, *codecs.values())]
            alias.append(_sample(f"mnist@{index}", request, None, plain=True))
    version = f"/versions/{parts.table.fingerprint}/infer"
    versioned = [replace(sample, path=sample.path.replace("/infer", version)) for sample in tensors]
    whole = [_sample("mnist", TailRequest("mnist", 0, "", model.example, "r"), None, plain=True)]
    flat = [round(value, 2) for value in model.example[0].flatten().tolist()]
    inputs = [{"name": "0", "shape": list(model.example[0].shape), "datatype": "FP32", "data": flat}]
    as_json = json.dumps({"id": "r", "inputs": inputs, "parameters": {}}).encode()
    whole.append(Sample(oip.infer_path("mnist"), {"Content-Type": wire.JSON_TYPE}, as_json, len(as_json)))
    values_json = json.dumps({"values": json.loads(paper[0].body)["values"]}).encode()
    image = min((Path(midcut_models.__file__).parent / "digits").glob("*.png")).read_bytes()
    return {
        "cloud /v1/infer": paper,
        "cloud /v2/models/M/infer": [*tensors, whole[1]],
        "cloud /v2/models/M@CUT/infer": alias,
        "cloud /v2/models/M/versions/V/infer": versioned,
        "edge /v1/infer": [
            Sample(wire.INFER_PATH, {"Content-Type": wire.JSON_TYPE}, values_json, len(values_json)),
            Sample(wire.INFER_PATH, {"Content-Type": "image/png"}, image),
        ],
        "edge /v2/models/M/infer": whole,
    }


def _sample(name: str, request: TailRequest, codec: Any, *, plain: bool = False) -> Sample:
    message = encode_infer(request, codec, plain=plain)
    body = message.header + b"".join(message.pieces)
    headers = {"Content-Type": oip.BINARY_TYPE, HEADER_LENGTH: str(len(message.header))}
    return Sample(oip.infer_path(quote(name, safe="")), headers, body, len(message.header))
