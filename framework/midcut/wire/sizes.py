"""Predicts how many bytes each message takes on the wire, HTTP header included, without encoding one."""

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
PROFILE_PATH: Final = "/v1/models/{model}/profile"
PROBE_PATH: Final = "/v1/probe"
CONDITIONS_PATH: Final = "/v1/conditions"
HEALTH_PATH: Final = "/health"
JSON_TYPE: Final = "application/json"
# The id also travels as an HTTP header, so that proxies, and a server that refuses before it reads the body, log it.
ID_HEADER: Final = "X-Request-Id"
# The codec whose requests and replies are the paper's JSON messages.
PAPER: Final = "base64"
# Stand-ins of the usual length for what differs from message to message.
_REQUEST_ID: Final = "0" * 32
_DATE: Final = "Thu, 01 Jan 1970 00:00:00 GMT"
_HOST: Final = "127.0.0.1:8700"
_SECONDS: Final = 0.123456789
_TIMEOUT_S: Final = 10.0
_CHECKSUM: Final = oip.checksum(())
_REPLY_PARAMETERS: Final = oip.ReplyParameters(
    parse_us=100, queue_us=100, compute_us=10_000, server_us=10_000, crc32=_CHECKSUM
)
_MARGIN_BYTES: Final = 64 * 1024


def codec_names(built: Iterable[str]) -> list[str]:
    """The codecs that a request may name: the two that are always there, and those that are configured."""
    return list(dict.fromkeys([oip.RAW, PAPER, *built]))


def request_head_bytes(
    body_bytes: int, host: str = _HOST, path: str = INFER_PATH, header_length: int | None = None
) -> int:
    """Bytes of the request line and the HTTP headers that the transport `http` writes before a body.

    Args:
        header_length: bytes of the JSON header before the tensors; None for a body that is all JSON.
    """
    return len(
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{ID_HEADER}: {_REQUEST_ID}\r\n{_content_headers(header_length)}"
        f"{oip.CHECKSUM_HEADER}: {oip.DEFERRED}\r\nContent-Length: {body_bytes}\r\n\r\n"
    )


def reply_head(body_bytes: int, header_length: int | None, date: str, more: str = "") -> str:
    """The status line and the HTTP headers that a server writes before a reply.

    Args:
        header_length: bytes of the JSON header before the tensors; None for a body that is all JSON.
        more: further headers, each with its line end.
    """
    return (
        f"HTTP/1.1 200 OK\r\n{_content_headers(header_length)}Content-Length: {body_bytes}\r\n"
        f"Date: {date}\r\nServer: midcut\r\n{more}\r\n"
    )


def reply_head_bytes(body_bytes: int, header_length: int | None = None) -> int:
    """Bytes of the status line and the HTTP headers of a reply."""
    more = f"{oip.RECEIVED_HEADER}: {_CHECKSUM}\r\n"
    if header_length is None:
        more += f"{oip.CHECKSUM_HEADER}: {_CHECKSUM}\r\n"
    return len(reply_head(body_bytes, header_length, _DATE, more))


def request_bytes(table: CutTable, cut_index: int, codec: Codec | None = None) -> int:
    """Bytes of one request at a cut, HTTP header included, for the batch size at which the model was captured.

    Exact but for what differs from request to request (the digits of plain ints, a dim order, the address) and for
    what the codec can only estimate.

    Args:
        codec: encodes the tensors; None sends their own bytes. With the one named `base64` it is the paper's message.
    """
    cut = table.cuts[cut_index]
    if codec is not None and codec.name == PAPER:
        body = _request_body_bytes(table, cut)
        return request_head_bytes(body) + body
    tensors = [_tensor_size(spec, codec) for spec in cut.values]
    name = codec.name if codec is not None else oip.RAW
    infer = oip.infer_header(
        [entry for entry, _ in tensors],
        _REQUEST_ID,
        _TIMEOUT_S,
        cut=cut.index,
        fingerprint=table.fingerprint,
        codec=name,
    )
    header_length = len(oip.encode_header(infer))
    body = header_length + sum(size for _, size in tensors)
    return request_head_bytes(body, path=oip.infer_path(table.model), header_length=header_length) + body


def reply_bytes(table: CutTable, codec: Codec | None = None, reply_codec: Codec | None = None) -> int:
    """Bytes of one reply, HTTP header included; exact but for the digits of its times.

    Args:
        codec: as for a request.
        reply_codec: encodes the tensors of replies, but for those of the paper; None sends their own bytes.
    """
    cut = table.cuts[table.last]
    if codec is not None and codec.name == PAPER:
        empty = ReplyMessage(request_id=_REQUEST_ID, values=_empty_values(cut), compute_s=_SECONDS, server_s=_SECONDS)
        body = len(msgspec.json.encode(empty)) + _base64_bytes(cut)
        return reply_head_bytes(body) + body
    named = zip(table.reply_names, cut.values, strict=True)
    tensors = [_tensor_size(spec, reply_codec, name) for name, spec in named]
    entries = [entry for entry, _ in tensors]
    reply = oip.ReplyHeader(table.model, entries, table.fingerprint, _REQUEST_ID, _REPLY_PARAMETERS)
    header_length = len(oip.encode_header(reply))
    body = header_length + sum(size for _, size in tensors)
    return reply_head_bytes(body, header_length) + body


def body_limit(tables: Iterable[CutTable], max_batch: int = 1) -> int:
    """The largest request body at any cut of any of these models, with a margin, for use as a server's limit.

    aiohttp's default limit of 1 MiB would refuse an 800 kB tensor in base64.
    """
    largest = max((_request_body_bytes(table, cut) for table in tables for cut in table.cuts), default=0)
    return largest * max_batch + _MARGIN_BYTES


def reply_limit_bytes(table: CutTable, growth: float = 1.0) -> int:
    """The largest reply that may be right: the output in base64 and JSON, and the header.

    Args:
        table: of the model as it was captured.
        growth: how many times as large as the captured one the input is. The output may grow with its square.
    """
    return int(2.0 * table.cuts[table.last].payload_bytes * growth * growth) + _MARGIN_BYTES


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


def _tensor_size(spec: ValueSpec, codec: Codec | None, name: str = "") -> tuple[oip.TensorHeader, int]:
    """The header entry of a value, under another name where one is given, and the bytes that follow the JSON header."""
    name = name or spec.name
    if not spec.is_tensor:
        return oip.int_header(name, 1)[0], 0
    if codec is not None and codec.name != oip.RAW:
        try:
            size = codec.encoded_bytes(spec)
        except MalformedError:  # the codec does not accept this dtype, so that the tensor is sent without it
            pass
        else:
            encoded = Encoded((bytes(size),))  # zeros that are never touched take almost no memory
            return oip.encoded_header(name, spec.dtype, spec.shape, encoded)[0], size
    return oip.tensor_header(name, spec.dtype, spec.shape, spec.payload_bytes), spec.payload_bytes
