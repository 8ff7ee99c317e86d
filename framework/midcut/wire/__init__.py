"""The messages between edge and cloud.

The default is the Open Inference Protocol v2 with binary tensors: `oip` (its names and JSON headers), `oip_read`
(parses received bodies) and `oip_tensors` (encodes and decodes tensors). This module is the paper's own interface, JSON
with base64 tensors over HTTP (Luger, Aral, Brandic 2023, section 2.4), and what both have in common:

    POST /v1/infer   {"model", "cut", "fingerprint", "request_id", "values": [value, ...]}
    reply            {"request_id", "values": [value, ...], "compute_s", "server_s"}
    error response   {"error": "one line"}

    GET /v1/models   {"models": [{"name", "fingerprint", "legal": [cut, ...], "probe": {"inputs", "outputs"}, ...}]}
    GET /v1/models/NAME/profile    seconds per node, measured when it is first asked for: a file of `midcut profile`;
                                   with ?tier=1 that of a relay's upstream
    GET /v1/conditions             {"second_bandwidth_kbps", "second_ping_ms", ...}: what only this side can observe
    POST /v1/probe   any body; {"received_bytes"}
    GET /health      {"status": "ok" or "draining", ...}

A value is a plain integer, or a tensor {"dtype", "shape", "dim_order", "data"}: `data` is base64 of the elements,
little-endian, and `dim_order` lists the dimensions from outermost to innermost in memory where that differs from the
order of `shape` (else null). The receiver restores that order, which keeps results bit-identical. Importing this
imports no torch.
"""

from __future__ import annotations

from midcut.wire.messages import (
    ErrorMessage,
    InferMessage,
    ReplyMessage,
    ValueList,
    decode_values,
    encode_error,
    encode_reply,
    encode_request,
    encode_values,
    read_error,
    read_models,
    read_reply,
    read_request,
    read_values,
    read_wire_versions,
)
from midcut.wire.sizes import (
    CONDITIONS_PATH,
    HEALTH_PATH,
    ID_HEADER,
    INFER_PATH,
    JSON_TYPE,
    MODELS_PATH,
    PAPER,
    PROBE_PATH,
    PROFILE_PATH,
    body_limit,
    codec_names,
    reply_bytes,
    reply_head,
    reply_head_bytes,
    reply_limit_bytes,
    request_bytes,
    request_head_bytes,
)

__all__ = [
    "CONDITIONS_PATH",
    "HEALTH_PATH",
    "ID_HEADER",
    "INFER_PATH",
    "JSON_TYPE",
    "MODELS_PATH",
    "PAPER",
    "PROBE_PATH",
    "PROFILE_PATH",
    "ErrorMessage",
    "InferMessage",
    "ReplyMessage",
    "ValueList",
    "body_limit",
    "codec_names",
    "decode_values",
    "encode_error",
    "encode_reply",
    "encode_request",
    "encode_values",
    "read_error",
    "read_models",
    "read_reply",
    "read_request",
    "read_values",
    "read_wire_versions",
    "reply_bytes",
    "reply_head",
    "reply_head_bytes",
    "reply_limit_bytes",
    "request_bytes",
    "request_head_bytes",
]
