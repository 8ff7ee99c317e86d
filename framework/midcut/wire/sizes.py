"""How many bytes each message takes on the wire, HTTP header included, without making one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from midcut.errors import MalformedError
from midcut.types import Encoded
from midcut.wire import oip
from midcut.wire.messages import InferMessage, ReplyMessage, TensorValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midcut.protocols import Codec
    from midcut.types import Cut, CutTable, ValueSpec

INFER_PATH: Final = "/v1/infer"
MODELS_PATH: Final = "/v1/models"
PROBE_PATH: Final = "/v1/probe"
HEALTH_PATH: Final = "/health"
JSON_TYPE: Final = "application/json"
# Brings the id before the body does: a refusal that reads no body is logged under it as well, and so by proxies.
ID_HEADER: Final = "X-Request-Id"
# The codec that travels in the paper's own messages.
PAPER: Final = "base64"
# What a request carries that a table does not know: ids of a uuid's length, an address of the usual one.
_REQUEST_ID: Final = "0" * 32
_DATE: Final = "Thu, 01 Jan 1970 00:00:00 GMT"
_HOST: Final = "127.0.0.1:8700"
_SECONDS: Final = 0.123456789
_TIMEOUT_S: Final = 10.0
_TIMES_US: Final = {"parse_us": 100, "queue_us": 100, "compute_us": 10_000, "server_us": 10_000}
_SLACK_BYTES: Final = 64 * 1024


def codec_names(built: Iterable[str]) -> list[str]:
    """What a request may name: the two that need no codec, and those that were built."""
    return list(dict.fromkeys([oip.RAW, PAPER, *built]))


def request_head_bytes(
    body_bytes: int, host: str = _HOST, path: str = INFER_PATH, header_length: int | None = None
) -> int:
    """Bytes of the HTTP header that the transport `http` writes before a body.

    Args:
        header_length: of the JSON before the tensors, where there is such a thing; None for a body that is all JSON.
    """
    return len(
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{ID_HEADER}: {_REQUEST_ID}\r\n{_content_headers(header_length)}"
        f"Content-Length: {body_bytes}\r\n\r\n"
    )


def reply_head(body_bytes: int, header_length: int | None, date: str, connection: str = "") -> str:
    """The HTTP header that a server writes before a reply; `header_length` as above.

    Args:
        connection: a header of that name with its line end, where there is to be one.
    """
    return (
        f"HTTP/1.1 200 OK\r\n{_content_headers(header_length)}Content-Length: {body_bytes}\r\n"
        f"Date: {date}\r\nServer: midcut\r\n{connection}\r\n"
    )


def reply_head_bytes(body_bytes: int, header_length: int | None = None) -> int:
    """Bytes of it."""
    return len(reply_head(body_bytes, header_length, _DATE))


def request_bytes(table: CutTable, cut_index: int, codec: Codec | None = None) -> int:
    """Bytes of one request at a cut, for the batch size the model was captured with, header included.

    Exact but for what differs from request to request: the digits of plain ints, a dim order, the address; and what
    the codec can only estimate.

    Args:
        codec: makes the tensors' bytes; None for their own. The one named `base64` travels in the paper's messages.
    """
    cut = table.cuts[cut_index]
    if codec is not None and codec.name == PAPER:
        body = _request_body_bytes(table, cut)
        return request_head_bytes(body) + body
    sent = [_tensor_size(spec, codec) for spec in cut.values]
    name = codec.name if codec is not None else oip.RAW
    said = oip.infer_header(
        [header for header, _ in sent],
        _REQUEST_ID,
        _TIMEOUT_S,
        cut=cut.index,
        fingerprint=table.fingerprint,
        codec=name,
    )
    header = len(oip.encode_header(said))
    body = header + sum(size for _, size in sent)
    return request_head_bytes(body, path=oip.infer_path(table.model), header_length=header) + body


def reply_bytes(table: CutTable, codec: Codec | None = None) -> int:
    """Bytes of one reply, header included. Exact but for the digits of a few times. `codec` as above."""
    cut = table.cuts[table.last]
    if codec is not None and codec.name == PAPER:
        empty = ReplyMessage(request_id=_REQUEST_ID, values=_empty_values(cut), compute_s=_SECONDS, server_s=_SECONDS)
        body = len(msgspec.json.encode(empty)) + _base64_bytes(cut)
        return reply_head_bytes(body) + body
    sent = [_tensor_size(spec, None) for spec in cut.values]
    told: dict[str, str | int | float | bool] = {**_TIMES_US, oip.CHECKSUM: oip.checksum(())}
    said = oip.ReplyHeader(table.model, [header for header, _ in sent], table.fingerprint, _REQUEST_ID, told)
    header = len(oip.encode_header(said))
    body = header + sum(size for _, size in sent)
    return reply_head_bytes(body, header) + body


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


def _content_headers(header_length: int | None) -> str:
    if header_length is None:
        return f"Content-Type: {JSON_TYPE}\r\n"
    return f"Content-Type: {oip.BINARY_TYPE}\r\n{oip.HEADER_LENGTH}: {header_length}\r\n"


def _tensor_size(spec: ValueSpec, codec: Codec | None) -> tuple[oip.TensorHeader, int]:
    """What the JSON says of a value, and the bytes that follow it."""
    if not spec.is_tensor:
        return oip.int_header(spec.name, 1)[0], 0
    if codec is not None and codec.name != oip.RAW:
        try:
            size = codec.encoded_bytes(spec)
        except MalformedError:  # it does not take the dtype, which then travels as it is
            pass
        else:
            encoded = Encoded((bytes(size),))  # never touched, so that this takes no memory to speak of
            return oip.encoded_header(spec.name, spec.dtype, spec.shape, encoded)[0], size
    return oip.tensor_header(spec.name, spec.dtype, spec.shape, spec.payload_bytes), spec.payload_bytes
