"""Parses received requests and replies of the Open Inference Protocol; nothing that they state is trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from midcut.errors import MalformedError
from midcut.wire.body import Pieces, parse
from midcut.wire.oip import (
    HEADER_LENGTH,
    INPUT_SHAPES,
    LONGEST_US,
    RAW,
    InferHeader,
    ReplyHeader,
    ReplyParameters,
    RequestedOutput,
    RequestParameters,
    TensorHeader,
)

if TYPE_CHECKING:
    from midcut.wire.body import Body

_ERROR_PREFIX: Final = "the body is not an Open Inference Protocol message"
_REQUESTS: Final = msgspec.json.Decoder(InferHeader)
_REPLIES: Final = msgspec.json.Decoder(ReplyHeader)
_MOST_SIZES: Final = 64
_LENGTH: Final = re.compile("[0-9]{1,15}")
_NO_REQUEST_PARAMETERS: Final = RequestParameters()
_NO_REPLY_PARAMETERS: Final = ReplyParameters()


class WireTensor(msgspec.Struct, frozen=True):
    """A received tensor. Nothing of it is checked yet but that `pieces` have the length that its header states.

    Attributes:
        pieces: its bytes; None where its numbers are in the JSON header (`header.data`).
    """

    header: TensorHeader
    pieces: Pieces | None


class InferCall(msgspec.Struct, frozen=True):
    """A parsed request whose tensors are not decoded yet.

    Attributes:
        cut, fingerprint: None where the request has none.
        timeout_s: how long the client waits; None where the request does not state it.
        outputs: the requested outputs, name -> whether as binary; None for all outputs, in the form `binary`.
        binary: whether an output is returned as binary where the request does not state it for that output.
        raw_bytes: the body where it is the bytes of the only input, without a header; the receiver must know its shape
            and datatype.
        reply_codec: name of the codec for the reply's binary tensors.
        route: where the receiver is to stop, and the hops from there, see `midcut.wire.route`; None runs all that is
            left.
        hops: how many relays passed it on.
        input_shapes: of the model's inputs, where these are not those of its cuts; else empty.
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
    reply_codec: str = RAW
    route: str | None = None
    hops: int = 0
    input_shapes: tuple[tuple[int, ...], ...] = ()


class Reply(msgspec.Struct, frozen=True):
    """A parsed reply whose tensors are not decoded yet."""

    id: str
    model_version: str
    tensors: Sequence[WireTensor]
    parameters: ReplyParameters


def read_infer(body: Body, header_length: str | None) -> InferCall:
    """Parse a request body.

    Args:
        header_length: the HTTP header `Inference-Header-Content-Length`, None where there is none; "0" means that the
            body is the bytes of the only input.

    Raises:
        MalformedError: the body is not a request, or the sizes in it do not add up to its own.
    """
    length = _header_length(body, header_length)
    if length == 0:
        return InferCall("", None, None, RAW, None, [], None, binary=True, raw_bytes=body.pieces(0, body.size_bytes))
    header = parse(_REQUESTS, body.join(0, body.size_bytes if length is None else length), _ERROR_PREFIX)
    stated = header.parameters or _NO_REQUEST_PARAMETERS
    timeout_us, binary = stated.timeout, stated.binary_data_output or False
    return InferCall(
        header.id or "",
        stated.cut,
        stated.fingerprint,
        stated.codec or RAW,
        min(timeout_us, LONGEST_US) / 1e6 if timeout_us else None,
        _split_tensors(body, length, header.inputs),
        _requested_outputs(header.outputs, binary) if header.outputs else None,
        binary,
        reply_codec=stated.reply_codec or RAW,
        route=stated.route,
        hops=stated.hops or 0,
        input_shapes=() if stated.input_shapes is None else _read_shapes(stated.input_shapes),
    )


def read_reply(body: Body, header_length: str | None) -> Reply:
    """Parse a reply body.

    Raises:
        MalformedError: the body is not a reply, or the sizes in it do not add up to its own.
    """
    length = _header_length(body, header_length)
    header = parse(_REPLIES, body.join(0, body.size_bytes if length is None else length), _ERROR_PREFIX)
    return Reply(
        header.id or "",
        header.model_version or "",
        _split_tensors(body, length, header.outputs),
        header.parameters or _NO_REPLY_PARAMETERS,
    )


def _read_shapes(text: str) -> tuple[tuple[int, ...], ...]:
    """Parse the parameter `input_shapes` of a request."""
    shapes = [part.split("x") for part in text.split(",")]
    sizes = [size for shape in shapes for size in shape]
    if len(sizes) > _MOST_SIZES or not all(size.isascii() and size.isdigit() and len(size) < 10 for size in sizes):
        raise MalformedError(f"parameter {INPUT_SHAPES} must be shapes like 1x3x320x320,1x16, got {text!r:.60}")
    return tuple(tuple(map(int, shape)) for shape in shapes)


def _header_length(body: Body, text: str | None) -> int | None:
    if text is None:
        return None
    # ASCII digits only: int() also accepts signs, underscores and digits of other scripts.
    length = int(text) if _LENGTH.fullmatch(text) else -1
    if not 0 <= length <= body.size_bytes:
        raise MalformedError(f"{HEADER_LENGTH} must be 0 to the body's {body.size_bytes} bytes, got {text[:40]!r}")
    return length


def _split_tensors(body: Body, length: int | None, headers: Sequence[TensorHeader]) -> list[WireTensor]:
    """Give each tensor its part of the body."""
    tensors, body_bytes = [], body.size_bytes
    at = body_bytes if length is None else length
    for header in headers:
        size = None if header.parameters is None else header.parameters.get("binary_data_size")
        if type(size) is not int:
            if size is not None:
                raise _wrong_type("binary_data_size", size, f"tensor {header.name!r}", int)
            if not header.has_data:
                raise MalformedError(f"tensor {header.name!r} has neither data nor binary_data_size")
            tensors.append(WireTensor(header, None))
            continue
        if header.has_data or length is None:
            raise MalformedError(
                f"tensor {header.name!r} has a binary_data_size and {'data' if length else f'no {HEADER_LENGTH}'}"
            )
        if not 0 <= size <= body_bytes - at:
            raise MalformedError(f"tensor {header.name!r}: {size} bytes announced, {body_bytes - at} are left")
        tensors.append(WireTensor(header, body.pieces(at, at + size)))
        at += size
    if at != body_bytes:
        raise MalformedError(f"the body has {body_bytes - at} bytes more than its tensors")
    return tensors


def _requested_outputs(outputs: Sequence[RequestedOutput], binary: bool) -> dict[str, bool]:
    requested: dict[str, bool] = {}
    for output in outputs:
        if output.name in requested:
            raise MalformedError(f"output {output.name!r} is requested twice")
        parameters = output.parameters or {}
        if parameters.get("classification"):
            raise MalformedError("the classification extension is not supported")
        as_binary = parameters.get("binary_data", binary)
        if type(as_binary) is not bool:
            raise _wrong_type("binary_data", as_binary, f"output {output.name!r}", bool)
        requested[output.name] = as_binary
    return requested


def _wrong_type(name: str, value: object, owner: str, expected: type) -> MalformedError:
    return MalformedError(f"parameter {name} of {owner} must be {expected.__name__}, got {value!r:.60}")
