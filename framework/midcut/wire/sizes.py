"""How many bytes each message takes on the wire, HTTP head included, without making one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from midcut.wire.messages import InferMessage, ReplyMessage, TensorValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midcut.types import Cut, CutTable

INFER_PATH: Final = "/v1/infer"
MODELS_PATH: Final = "/v1/models"
PROBE_PATH: Final = "/v1/probe"
HEALTH_PATH: Final = "/health"
JSON_TYPE: Final = "application/json"
# What a request carries that a table does not know: ids of a uuid's length, an address of the usual one.
_REQUEST_ID: Final = "0" * 32
_HOST: Final = "127.0.0.1:8700"
_SECONDS: Final = 0.123456789
_SLACK_BYTES: Final = 64 * 1024


def request_head_bytes(body_bytes: int, host: str = _HOST, path: str = INFER_PATH) -> int:
    """Bytes of the HTTP head that the transport `http` writes before a body."""
    return len(
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {JSON_TYPE}\r\nContent-Length: {body_bytes}\r\n\r\n"
    )


def reply_head_bytes(body_bytes: int) -> int:
    """Bytes of the HTTP head that the cloud writes before a reply."""
    return len(
        f"HTTP/1.1 200 OK\r\nContent-Type: {JSON_TYPE}\r\nContent-Length: {body_bytes}\r\n"
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: midcut\r\n\r\n"
    )


def request_bytes(table: CutTable, cut_index: int) -> int:
    """Bytes of one request at a cut, for the batch size the model was captured with, head included.

    Exact but for what differs from request to request: the digits of plain ints, and the address.
    """
    body = _request_body_bytes(table, table.cuts[cut_index])
    return request_head_bytes(body) + body


def reply_bytes(table: CutTable) -> int:
    """Bytes of one reply, head included. Exact but for the digits of two times."""
    cut = table.cuts[table.last]
    empty = ReplyMessage(request_id=_REQUEST_ID, values=_empty_values(cut), compute_s=_SECONDS, server_s=_SECONDS)
    body = len(msgspec.json.encode(empty)) + _base64_bytes(cut)
    return reply_head_bytes(body) + body


def body_limit(tables: Iterable[CutTable], max_batch: int = 1) -> int:
    """The largest request body at any cut of any of these models, and a little slack.

    aiohttp's default of 1 MiB would refuse an 800 kB tensor in base64.
    """
    largest = max((_request_body_bytes(table, cut) for table in tables for cut in table.cuts), default=0)
    return largest * max_batch + _SLACK_BYTES


def _request_body_bytes(table: CutTable, cut: Cut) -> int:
    empty = InferMessage(
        model=table.model,
        cut=cut.index,
        fingerprint=table.fingerprint,
        request_id=_REQUEST_ID,
        values=_empty_values(cut),
    )
    return len(msgspec.json.encode(empty)) + _base64_bytes(cut)


def _empty_values(cut: Cut) -> list[TensorValue | int]:
    return [TensorValue(spec.dtype, spec.shape, None, "") if spec.is_tensor else 1 for spec in cut.values]


def _base64_bytes(cut: Cut) -> int:
    return sum((spec.payload_bytes + 2) // 3 * 4 for spec in cut.values if spec.is_tensor)
