"""The Open Inference Protocol v2 with its binary tensor extension: words and messages.

    POST /v2/models/{model}[/versions/{fingerprint}]/infer

A body is a JSON head, then the tensors' bytes in the order of the head, little-endian, row-major, without padding;
the header `Inference-Header-Content-Length` says how long the head is. Without that header the body is all JSON.
(KServe, Open Inference Protocol; Triton, binary tensor data and schedule policy extensions.)

What midcut adds are parameters. Of a request: `cut`, `fingerprint`, `codec`; `timeout` (microseconds) is the
protocol's own. Of a tensor: `dim_order` where its bytes stand in another order than the row-major one (Triton has
none); `dtype`, `shape` and `codec_*` where a codec made the bytes, which then travel as UINT8 of shape [n]; `int`
on a plain int. Of a reply: `parse_us`, `queue_us`, `compute_us`, `server_us`, and `crc32` over its tensors' bytes,
which else nothing would tell from other bytes. Importing this imports no torch.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar

import msgspec

from midcut.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from midcut.wire.body import Body, Pieces

SERVER_PATH: Final = "/v2"
LIVE_PATH: Final = "/v2/health/live"
READY_PATH: Final = "/v2/health/ready"
BINARY_TYPE: Final = "application/octet-stream"
HEAD_LENGTH: Final = "Inference-Header-Content-Length"
EXTENSIONS: Final = ("binary_tensor_data", "parameters", "schedule_policy", "midcut_cut")
RAW: Final = "raw"
CHECKSUM: Final = "crc32"
PLATFORM: Final = "midcut_torch"
DATATYPES: Final = {
    "bool": "BOOL", "uint8": "UINT8", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "bfloat16": "BF16", "float32": "FP32", "float64": "FP64", "int": "INT64",
}  # fmt: skip

_NO_DATA: Final = msgspec.Raw()
_Name = Annotated[str, msgspec.Meta(max_length=400)]
_Parameters = dict[_Name, str | int | float | bool]
_Size = Annotated[int, msgspec.Meta(ge=0, lt=2**48)]
_Shape = Annotated[tuple[_Size, ...], msgspec.Meta(max_length=16)]
_Head = TypeVar("_Head")


class TensorHead(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the JSON says of one tensor, in a request or a reply."""

    name: _Name
    shape: _Shape
    datatype: Annotated[str, msgspec.Meta(max_length=16)]
    parameters: _Parameters | None = None
    data: msgspec.Raw = _NO_DATA

    @property
    def said(self) -> _Parameters:
        """The parameters; other vendors send null where there are none."""
        return self.parameters or {}

    @property
    def has_data(self) -> bool:
        return len(self.data) > 0 and not (len(self.data) == 4 and bytes(self.data) == b"null")


class OutputWanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output that a client asks for by name."""

    name: _Name
    parameters: _Parameters | None = None


class InferHead(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of a request. Fields that the protocol does not name are passed over, as others do."""

    inputs: Annotated[list[TensorHead], msgspec.Meta(max_length=256)]
    id: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    parameters: _Parameters | None = None
    outputs: Annotated[list[OutputWanted], msgspec.Meta(max_length=256)] | None = None


class ReplyHead(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of a reply. Other servers send null where they have no version or no parameters."""

    model_name: str
    outputs: Annotated[list[TensorHead], msgspec.Meta(max_length=256)]
    model_version: str | None = None
    id: str | None = None
    parameters: _Parameters | None = None


class Message(NamedTuple):
    """A body to write, without being joined.

    Attributes:
        head: the JSON; its length goes into the header `Inference-Header-Content-Length`.
        pieces: the tensors' bytes; views of the tensors where that is possible, so these must not change meanwhile.
        binary: whether any tensor's bytes come after the head; else the head is the body.
    """

    head: bytes
    pieces: Pieces
    binary: bool = True

    @property
    def size_bytes(self) -> int:
        return len(self.head) + sum(piece.nbytes for piece in self.pieces)


class WireTensor(NamedTuple):
    """A tensor that arrived. Believed in nothing yet but that `pieces` are as long as it said.

    Attributes:
        pieces: its bytes, None where the head has them as JSON (`head.data`).
    """

    head: TensorHead
    pieces: Pieces | None


class InferCall(NamedTuple):
    """A request that arrived, its tensors still as they came.

    Attributes:
        cut, fingerprint: None where the client named none.
        timeout_s: how long the client waits, None where it did not say.
        outputs: the outputs asked for, name -> whether as binary; None for all, all as `binary` says.
        binary: whether outputs go back as binary where nothing else is said.
        raw_bytes: the body is nothing but the one input's bytes; shape and datatype are the receiver's to know.
    """

    id: str
    cut: int | None
    fingerprint: str | None
    codec: str
    timeout_s: float | None
    tensors: Sequence[WireTensor]
    outputs: Mapping[str, bool] | None
    binary: bool
    raw_bytes: Pieces | None = None


class Reply(NamedTuple):
    """A reply that arrived, its tensors still as they came."""

    id: str
    model_version: str
    tensors: Sequence[WireTensor]
    parameters: _Parameters


_REQUESTS: Final = msgspec.json.Decoder(InferHead)
_REPLIES: Final = msgspec.json.Decoder(ReplyHead)
_ENCODER: Final = msgspec.json.Encoder()
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "cut": (int,),
    "timeout": (int,),
    "fingerprint": (str,),
    "codec": (str,),
    "binary_data_output": (bool,),
    "binary_data": (bool,),
    "binary_data_size": (int,),
}


def infer_head(
    tensors: Sequence[TensorHead],
    request_id: str,
    timeout_s: float | None,
    *,
    cut: int | None = None,
    fingerprint: str | None = None,
    codec: str = RAW,
) -> InferHead:
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
    return InferHead(list(tensors), request_id, parameters)


def encode_head(head: InferHead | ReplyHead) -> bytes:
    """The JSON of a message."""
    return _ENCODER.encode(head)


def infer_path(model: str) -> str:
    """Where requests for a model go, not yet percent-encoded."""
    return f"/v2/models/{model}/infer"


def checksum(pieces: Iterable[memoryview]) -> str:
    """CRC-32 of bytes, as eight hexadecimal digits: what a reply's parameter `crc32` says of its tensors."""
    total = 0
    for piece in pieces:
        total = zlib.crc32(piece, total)
    return f"{total:08x}"


def read_infer(body: Body, head_length: str | None) -> InferCall:
    """Parse a request body.

    Args:
        head_length: the header `Inference-Header-Content-Length`, None where there is none; "0" says that the body is
            the bytes of the one input and nothing else.

    Raises:
        MalformedError: it is not such a request, or its sizes do not add up to the body's.
    """
    length = _head_length(body, head_length)
    if length == 0:
        return InferCall("", None, None, RAW, None, [], None, binary=True, raw_bytes=body.pieces(0, body.size_bytes))
    head = _read(_REQUESTS, body.joined(0, body.size_bytes if length is None else length))
    said = head.parameters or {}
    timeout_us = _parameter(said, "timeout", "the request")
    if timeout_us is not None and timeout_us < 0:
        raise MalformedError(f"parameter timeout of the request must be microseconds, 0 or more, got {timeout_us}")
    binary = bool(_parameter(said, "binary_data_output", "the request"))
    return InferCall(
        id=head.id or "",
        cut=_parameter(said, "cut", "the request"),
        fingerprint=_parameter(said, "fingerprint", "the request"),
        codec=_parameter(said, "codec", "the request") or RAW,
        timeout_s=min(timeout_us, 2**62) / 1e6 if timeout_us else None,
        tensors=_split(body, length, head.inputs),
        outputs=_wanted(head.outputs, binary) if head.outputs else None,
        binary=binary,
    )


def read_reply(body: Body, head_length: str | None) -> Reply:
    """Parse a reply body.

    Raises:
        MalformedError: it is not such a reply, or its sizes do not add up to the body's.
    """
    length = _head_length(body, head_length)
    head = _read(_REPLIES, body.joined(0, body.size_bytes if length is None else length))
    return Reply(head.id or "", head.model_version or "", _split(body, length, head.outputs), head.parameters or {})


def _head_length(body: Body, header: str | None) -> int | None:
    if header is None:
        return None
    # ASCII digits only: int() would take signs, underscores and other scripts' digits as well.
    if not (header.isascii() and header.isdigit() and len(header) <= 15) or int(header) > body.size_bytes:
        raise MalformedError(f"{HEAD_LENGTH} must be 0 to the body's {body.size_bytes} bytes, got {header[:40]!r}")
    return int(header)


def _split(body: Body, length: int | None, heads: Sequence[TensorHead]) -> list[WireTensor]:
    """Give each tensor its stretch of the body."""
    tensors = []
    at = body.size_bytes if length is None else length
    for head in heads:
        size = _parameter(head.said, "binary_data_size", f"tensor {head.name!r}")
        if size is None:
            if not head.has_data:
                raise MalformedError(f"tensor {head.name!r} has neither data nor binary_data_size")
            tensors.append(WireTensor(head, None))
            continue
        if head.has_data or length is None:
            raise MalformedError(
                f"tensor {head.name!r} has a binary_data_size and {'data' if length else f'no {HEAD_LENGTH}'}"
            )
        if not 0 <= size <= body.size_bytes - at:
            raise MalformedError(f"tensor {head.name!r}: {size} bytes announced, {body.size_bytes - at} are left")
        tensors.append(WireTensor(head, body.pieces(at, at + size)))
        at += size
    if at != body.size_bytes:
        raise MalformedError(f"the body has {body.size_bytes - at} bytes more than its tensors")
    return tensors


def _wanted(outputs: Sequence[OutputWanted], binary: bool) -> dict[str, bool]:
    wanted: dict[str, bool] = {}
    for output in outputs:
        if output.name in wanted:
            raise MalformedError(f"output {output.name!r} is asked for twice")
        said = output.parameters or {}
        if said.get("classification"):
            raise MalformedError("the classification extension is not offered")
        as_binary = _parameter(said, "binary_data", f"output {output.name!r}")
        wanted[output.name] = binary if as_binary is None else as_binary
    return wanted


def _parameter(parameters: Mapping[str, str | int | float | bool], name: str, where: str) -> Any:
    """A parameter of the kind it must have, None where it is not given."""
    value = parameters.get(name)
    if value is not None and type(value) not in _KINDS[name]:
        raise MalformedError(f"parameter {name} of {where} must be {_KINDS[name][0].__name__}, got {value!r:.60}")
    return value


def _read(decoder: msgspec.json.Decoder[_Head], head: bytes | bytearray | memoryview) -> _Head:
    try:
        return decoder.decode(head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"the body is no Open Inference Protocol message: {error}") from None
