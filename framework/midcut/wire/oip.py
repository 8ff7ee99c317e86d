"""The Open Inference Protocol v2 with its binary tensor extension: names, paths and the messages' JSON headers.

    POST /v2/models/{model}[/versions/{fingerprint}]/infer

A body is a JSON header followed by the tensors' bytes, in the order in which the header lists them: little-endian,
row-major, without padding. The HTTP header `Inference-Header-Content-Length` is the length of the JSON header; without
it the whole body is JSON. (KServe, Open Inference Protocol; Triton, binary tensor data and schedule policy extensions.)

Outputs go by the model's own names: keys of a dict, fields, `output_0` and `output_1` of a tuple, else `output`. The
list `outputs` of a request chooses among them.

An input of datatype BYTES is the file of a picture, for the whole model (Triton's binary form: each element has its
length before it, four bytes, little-endian). The receiver decodes it and applies the model's own preprocessing.

midcut adds parameters. To a request: `cut`, `fingerprint`, `codec`, `reply_codec`, `input_shapes` where they are not
those of the cuts (`1x3x320x320,1x16`), `route` and `hops` (see `midcut.wire.route`; `timeout`, in microseconds, is the
protocol's own). To a tensor: `dim_order` where its bytes are not in row-major order (Triton has no such thing);
`dtype`, `shape` and
`codec_*` where a codec encoded it, so that it travels as UINT8 of shape [n]; `int` where it is a plain int. To a reply:
`parse_us`, `queue_us`, `compute_us`, `server_us`; `arrival_bytes` and `arrival_us`, how long a part of the request's
body took to arrive: the link's rate without the delays of either end; `stand_in`, true where PyTorch computed in place
of a runtime that was not ready yet, so that the next reply takes another time; `crc32` over the bytes of its tensors,
without which damaged bytes would go unnoticed. Requests are protected by two HTTP headers, see `CHECKSUM_HEADER`.
Importing this imports no torch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from midcut.errors import MalformedError
from midcut.wire.body import Pieces

try:
    from isal.isal_zlib import crc32  # the same checksum in a ninth of the time: 0.05 instead of 0.4 ms for 3 MB
except ImportError:
    from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midcut.types import Encoded

SERVER_PATH: Final = "/v2"
LIVE_PATH: Final = "/v2/health/live"
READY_PATH: Final = "/v2/health/ready"
REPOSITORY_PATH: Final = "/v2/repository"
BINARY_TYPE: Final = "application/octet-stream"
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
EXTENSIONS: Final = ("binary_tensor_data", "parameters", "schedule_policy", "midcut_cut")
RAW: Final = "raw"
FILE: Final = "file"
"""Codec of a request whose input is the file of a picture, of datatype BYTES: the receiver decodes and preprocesses."""
LONGEST_US: Final = 2**62
"""The longest timeout that requests state, so that it is a 64-bit number for every reader."""
BYTES: Final = "BYTES"
INPUT_SHAPES: Final = "input_shapes"
LENGTH_BYTES: Final = 4
CHECKSUM: Final = "crc32"
CHECKSUM_HEADER: Final = "Midcut-Checksum"
"""Of a request: its checksum, which the server compares; or `deferred`, where only the client compares. Of a list of
models, `crc32`: this server sends `RECEIVED_HEADER`. Of a reply in the paper's format: the checksum of its body."""
RECEIVED_HEADER: Final = "Midcut-Received"
"""Of every answer to a request whose body was read: the checksum of the request as the server received it."""
DEFERRED: Final = "deferred"
PLATFORM: Final = "midcut_torch"
DATATYPES: Final = {
    "bool": "BOOL", "uint8": "UINT8", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "bfloat16": "BF16", "float32": "FP32", "float64": "FP64", "int": "INT64",
}  # fmt: skip

# Prefix of a codec's own parameters.
CODEC_PREFIX: Final = "codec_"
_NO_DATA: Final = msgspec.Raw()
_Name = Annotated[str, msgspec.Meta(max_length=400)]
_Parameters = dict[_Name, str | int | float | bool]
_Size = Annotated[int, msgspec.Meta(ge=0, lt=2**48)]
_Shape = Annotated[tuple[_Size, ...], msgspec.Meta(max_length=16)]


class TensorHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """The entry of one tensor in the JSON header of a request or a reply."""

    name: _Name
    shape: _Shape
    datatype: Annotated[str, msgspec.Meta(max_length=16)]
    parameters: _Parameters | None = None
    data: msgspec.Raw = _NO_DATA

    @property
    def given_parameters(self) -> _Parameters:
        """The parameters, empty where there are none; other vendors send null then."""
        return self.parameters or {}

    @property
    def has_data(self) -> bool:
        return len(self.data) > 0 and not (len(self.data) == 4 and bytes(self.data) == b"null")


class RequestedOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output that a client requests by name."""

    name: _Name
    parameters: _Parameters | None = None


class RequestParameters(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parameters of a request, the protocol's and midcut's, see above. All others are ignored, and null is none."""

    binary_data_output: bool | None = False
    cut: int | None = None
    fingerprint: str | None = None
    codec: str | None = None
    reply_codec: str | None = None
    route: str | None = None
    hops: int | None = 0
    input_shapes: str | None = None
    timeout: Annotated[int, msgspec.Meta(ge=0)] | None = None


_Microseconds = Annotated[float, msgspec.Meta(ge=0)]


class ReplyParameters(msgspec.Struct, omit_defaults=True):
    """The parameters of a reply, see above. `cut` and `finished_by` are an edge's. All others are ignored."""

    # An `object` is nothing that a client relies on: another vendor's server may mean something else by the name.
    parse_us: object = None
    queue_us: object = None
    compute_us: _Microseconds | None = None
    server_us: _Microseconds | None = None
    cut: object = None
    finished_by: object = None
    arrival_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    arrival_us: _Microseconds | None = None
    route_us: str | None = None
    fallback: object = None
    stand_in: object = None
    crc32: object = None


class InferHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON header of a request. Fields unknown to the protocol are ignored, as other servers do."""

    inputs: Annotated[list[TensorHeader], msgspec.Meta(max_length=256)]
    id: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    parameters: RequestParameters | None = None
    outputs: Annotated[list[RequestedOutput], msgspec.Meta(max_length=256)] | None = None


class ReplyHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON header of a reply. Other servers send null where they have no version or no parameters."""

    model_name: str
    outputs: Annotated[list[TensorHeader], msgspec.Meta(max_length=256)]
    model_version: str | None = None
    id: str | None = None
    parameters: ReplyParameters | None = None


class Message(msgspec.Struct, frozen=True):
    """A body to be written, in pieces, so that no tensor has to be copied.

    Attributes:
        header: the JSON header; its length is sent as the HTTP header `Inference-Header-Content-Length`.
        pieces: the tensors' bytes; where possible views of the tensors, which must not change until they are written.
        binary: whether the bytes of any tensor follow the JSON header; otherwise the header is the whole body.
    """

    header: bytes
    pieces: Pieces
    binary: bool = True

    @property
    def size_bytes(self) -> int:
        return len(self.header) + sum(piece.nbytes for piece in self.pieces)


_ENCODER: Final = msgspec.json.Encoder()


def int_header(name: str, value: int) -> tuple[TensorHeader, Sequence[memoryview]]:
    """The header entry of a plain int, and its bytes: none, as its value is in the JSON."""
    return TensorHeader(name, (1,), "INT64", {"int": True}, msgspec.Raw(b"[%d]" % value)), ()


def tensor_header(
    name: str, dtype: str, shape: tuple[int, ...], size_bytes: int, dim_order: Sequence[int] | None = None
) -> TensorHeader:
    """The header entry of a tensor that is sent without a codec."""
    parameters: dict[str, Any] = {"binary_data_size": size_bytes}
    if dim_order is not None:
        parameters["dim_order"] = _comma_separated(dim_order)
    return TensorHeader(name, shape, DATATYPES[dtype], parameters)


def encoded_header(
    name: str, dtype: str, shape: tuple[int, ...], encoded: Encoded
) -> tuple[TensorHeader, Sequence[memoryview]]:
    """The header entry of a tensor that a codec encoded, and the encoded bytes."""
    size = encoded.size_bytes
    parameters: dict[str, Any] = {"binary_data_size": size, "dtype": dtype, "shape": _comma_separated(shape)}
    if encoded.dim_order is not None:
        parameters["dim_order"] = _comma_separated(encoded.dim_order)
    parameters |= {CODEC_PREFIX + key: value for key, value in encoded.parameters.items()}
    pieces = [memoryview(piece).cast("B") for piece in encoded.data if len(piece)]
    return TensorHeader(name, (size,), "UINT8", parameters), pieces


def file_header(name: str, data: memoryview) -> tuple[TensorHeader, Sequence[memoryview]]:
    """The header entry of a picture's file as one element of BYTES, and its bytes with their length before them."""
    length = memoryview(data.nbytes.to_bytes(LENGTH_BYTES, "little"))
    return TensorHeader(name, (1,), BYTES, {"binary_data_size": length.nbytes + data.nbytes}), (length, data)


def parse_sizes(header: TensorHeader, name: str) -> tuple[int, ...] | None:
    """The sizes in a parameter like `"1,64,55,55"`; None where there is none. Raises MalformedError for other texts."""
    text = header.given_parameters.get(name)
    if text is None:
        return None
    parts = text.split(",") if isinstance(text, str) and text else []  # a scalar has no sizes
    sizes = all(part.isascii() and part.isdigit() and len(part) < 15 for part in parts)
    if not sizes or len(parts) > 16 or not isinstance(text, str):
        raise MalformedError(f"{header.name!r}: parameter {name} must be sizes separated by commas, got {text!r:.60}")
    return tuple(map(int, parts))


def _comma_separated(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))


def infer_header(
    tensors: list[TensorHeader],
    request_id: str,
    timeout_s: float | None,
    *,
    cut: int | None = None,
    fingerprint: str | None = None,
    codec: str = RAW,
    reply_codec: str = RAW,
    route: str = "",
    hops: int = 0,
    input_shapes: Sequence[Sequence[int]] = (),
) -> InferHeader:
    """The JSON header of a request for all outputs, as binary. Without a cut it asks for the whole model."""
    parameters = RequestParameters(
        binary_data_output=True,
        cut=cut,
        fingerprint=fingerprint,
        codec=None if codec == RAW else codec,
        reply_codec=None if reply_codec == RAW else reply_codec,
        route=route or None,
        hops=hops,
        input_shapes=",".join("x".join(map(str, shape)) for shape in input_shapes) if input_shapes else None,
        timeout=None if timeout_s is None else max(int(min(timeout_s * 1e6, LONGEST_US)), 1),
    )
    return InferHeader(tensors, request_id, parameters)


def encode_header(header: InferHeader | ReplyHeader) -> bytes:
    """The JSON header as bytes."""
    return _ENCODER.encode(header)


def infer_path(model: str) -> str:
    """The path of inference requests for a model, not percent-encoded."""
    return f"/v2/models/{model}/infer"


def checksum(pieces: Iterable[bytes | memoryview]) -> str:
    """CRC-32 of bytes as eight hexadecimal digits, as in the parameter `crc32` of a reply."""
    total = 0
    for piece in pieces:
        total = crc32(piece, total)
    return f"{total:08x}"


@lru_cache(maxsize=64)
def _begin_checksum(model: str, header_length: str) -> int:
    return crc32(f"{model}\n{header_length}\n".encode(errors="surrogateescape"))


class RequestChecksum:
    """CRC-32 over what a request asks for: the model in its path, the length of its JSON header, and its body.

    Args:
        model: the name in the path, not percent-encoded; empty where the path has none.
        header_length: the HTTP header `Inference-Header-Content-Length`, empty where there is none.
    """

    def __init__(self, model: str = "", header_length: str = "") -> None:
        self._total = _begin_checksum(model, header_length)

    def add(self, piece: bytes | bytearray | memoryview) -> None:
        """Add the next piece of the body."""
        self._total = crc32(piece, self._total)

    @property
    def text(self) -> str:
        """Eight hexadecimal digits."""
        return f"{self._total:08x}"
