"""The Open Inference Protocol v2 with its binary tensor extension: words and messages.

    POST /v2/models/{model}[/versions/{fingerprint}]/infer

A body is a JSON header, then the tensors' bytes in the order of the header, little-endian, row-major, without padding;
the header `Inference-Header-Content-Length` says how long the header is. Without that header the body is all JSON.
(KServe, Open Inference Protocol; Triton, binary tensor data and schedule policy extensions.)

What midcut adds are parameters. Of a request: `cut`, `fingerprint`, `codec`; `timeout` (microseconds) is the
protocol's own. Of a tensor: `dim_order` where its bytes stand in another order than the row-major one (Triton has
none); `dtype`, `shape` and `codec_*` where a codec made the bytes, which then travel as UINT8 of shape [n]; `int`
on a plain int. Of a reply: `parse_us`, `queue_us`, `compute_us`, `server_us`, and `crc32` over its tensors' bytes,
which else nothing would tell from other bytes. Importing this imports no torch.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec

from midcut.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midcut.types import Encoded
    from midcut.wire.body import Pieces

SERVER_PATH: Final = "/v2"
LIVE_PATH: Final = "/v2/health/live"
READY_PATH: Final = "/v2/health/ready"
BINARY_TYPE: Final = "application/octet-stream"
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
EXTENSIONS: Final = ("binary_tensor_data", "parameters", "schedule_policy", "midcut_cut")
RAW: Final = "raw"
CHECKSUM: Final = "crc32"
PLATFORM: Final = "midcut_torch"
DATATYPES: Final = {
    "bool": "BOOL", "uint8": "UINT8", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "bfloat16": "BF16", "float32": "FP32", "float64": "FP64", "int": "INT64",
}  # fmt: skip

# Prefix of the parameters that are the codec's own.
CODEC_PREFIX: Final = "codec_"
_NO_DATA: Final = msgspec.Raw()
_Name = Annotated[str, msgspec.Meta(max_length=400)]
_Parameters = dict[_Name, str | int | float | bool]
_Size = Annotated[int, msgspec.Meta(ge=0, lt=2**48)]
_Shape = Annotated[tuple[_Size, ...], msgspec.Meta(max_length=16)]


class TensorHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the JSON says of one tensor, in a request or a reply."""

    name: _Name
    shape: _Shape
    datatype: Annotated[str, msgspec.Meta(max_length=16)]
    parameters: _Parameters | None = None
    data: msgspec.Raw = _NO_DATA

    @property
    def given_parameters(self) -> _Parameters:
        """The parameters; other vendors send null where there are none."""
        return self.parameters or {}

    @property
    def has_data(self) -> bool:
        return len(self.data) > 0 and not (len(self.data) == 4 and bytes(self.data) == b"null")


class RequestedOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output that a client asks for by name."""

    name: _Name
    parameters: _Parameters | None = None


class InferHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of a request. Fields that the protocol does not name are passed over, as others do."""

    inputs: Annotated[list[TensorHeader], msgspec.Meta(max_length=256)]
    id: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    parameters: _Parameters | None = None
    outputs: Annotated[list[RequestedOutput], msgspec.Meta(max_length=256)] | None = None


class ReplyHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of a reply. Other servers send null where they have no version or no parameters."""

    model_name: str
    outputs: Annotated[list[TensorHeader], msgspec.Meta(max_length=256)]
    model_version: str | None = None
    id: str | None = None
    parameters: _Parameters | None = None


class Message(NamedTuple):
    """A body to write, without being joined.

    Attributes:
        header: the JSON; its length goes into the header `Inference-Header-Content-Length`.
        pieces: the tensors' bytes; views of the tensors where that is possible, so these must not change meanwhile.
        binary: whether any tensor's bytes come after the header; else the header is the body.
    """

    header: bytes
    pieces: Pieces
    binary: bool = True

    @property
    def size_bytes(self) -> int:
        return len(self.header) + sum(piece.nbytes for piece in self.pieces)


_ENCODER: Final = msgspec.json.Encoder()


def int_header(name: str, value: int) -> tuple[TensorHeader, Sequence[memoryview]]:
    """What a message says of a plain int, which has no bytes beside the JSON."""
    return TensorHeader(name, (1,), "INT64", {"int": True}, msgspec.Raw(b"[%d]" % value)), ()


def tensor_header(
    name: str, dtype: str, shape: tuple[int, ...], size_bytes: int, dim_order: Sequence[int] | None = None
) -> TensorHeader:
    """What a request says of a tensor that travels as it is."""
    parameters: dict[str, Any] = {"binary_data_size": size_bytes}
    if dim_order is not None:
        parameters["dim_order"] = _comma_separated(dim_order)
    return TensorHeader(name, shape, DATATYPES[dtype], parameters)


def encoded_header(
    name: str, dtype: str, shape: tuple[int, ...], encoded: Encoded
) -> tuple[TensorHeader, Sequence[memoryview]]:
    """What a request says of a tensor that a codec made bytes of, and these bytes."""
    size = encoded.size_bytes
    parameters: dict[str, Any] = {"binary_data_size": size, "dtype": dtype, "shape": _comma_separated(shape)}
    if encoded.dim_order is not None:
        parameters["dim_order"] = _comma_separated(encoded.dim_order)
    parameters |= {CODEC_PREFIX + key: value for key, value in encoded.parameters.items()}
    pieces = [memoryview(piece).cast("B") for piece in encoded.data if len(piece)]
    return TensorHeader(name, (size,), "UINT8", parameters), pieces


def parse_sizes(header: TensorHeader, name: str) -> tuple[int, ...] | None:
    """A list of sizes in a parameter, `"1,64,55,55"`; None where there is none. Raises MalformedError for others."""
    text = header.given_parameters.get(name)
    if text is None:
        return None
    parts = text.split(",") if isinstance(text, str) and text else []  # a scalar has none
    sizes = all(part.isascii() and part.isdigit() and len(part) < 15 for part in parts)
    if not sizes or len(parts) > 16 or not isinstance(text, str):
        raise MalformedError(f"{header.name!r}: parameter {name} must be sizes with commas between, got {text!r:.60}")
    return tuple(map(int, parts))


def _comma_separated(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))


def infer_header(
    tensors: Sequence[TensorHeader],
    request_id: str,
    timeout_s: float | None,
    *,
    cut: int | None = None,
    fingerprint: str | None = None,
    codec: str = RAW,
) -> InferHeader:
    """What a request says before its tensors; outputs come back as binary, all of them. No cut: the whole model."""
    parameters: _Parameters = {"binary_data_output": True}
    if cut is not None:
        parameters["cut"] = cut
    if fingerprint is not None:
        parameters["fingerprint"] = fingerprint
    if codec != RAW:
        parameters["codec"] = codec
    if timeout_s is not None:
        parameters["timeout"] = max(int(timeout_s * 1e6), 1)
    return InferHeader(list(tensors), request_id, parameters)


def encode_header(header: InferHeader | ReplyHeader) -> bytes:
    """The JSON of a message."""
    return _ENCODER.encode(header)


def infer_path(model: str) -> str:
    """Where requests for a model go, not yet percent-encoded."""
    return f"/v2/models/{model}/infer"


def checksum(pieces: Iterable[memoryview]) -> str:
    """CRC-32 of bytes, as eight hexadecimal digits: what a reply's parameter `crc32` says of its tensors."""
    total = 0
    for piece in pieces:
        total = zlib.crc32(piece, total)
    return f"{total:08x}"
