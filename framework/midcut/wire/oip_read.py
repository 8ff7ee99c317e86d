"""Requests and replies of the Open Inference Protocol as they arrive: taken apart, believed in nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from midcut.errors import MalformedError
from midcut.wire.body import parse
from midcut.wire.oip import HEADER_LENGTH, RAW, InferHeader, ReplyHeader, RequestedOutput, TensorHeader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.wire.body import Body, Pieces

_ERROR_PREFIX: Final = "the body is no Open Inference Protocol message"
_REQUESTS: Final = msgspec.json.Decoder(InferHeader)
_REPLIES: Final = msgspec.json.Decoder(ReplyHeader)
_PARAMETER_TYPES: Final[dict[str, type]] = {
    "cut": int,
    "timeout": int,
    "fingerprint": str,
    "codec": str,
    "binary_data_output": bool,
    "binary_data": bool,
    "binary_data_size": int,
}


class WireTensor(NamedTuple):
    """A tensor that arrived. Believed in nothing yet but that `pieces` are as long as it said.

    Attributes:
        pieces: its bytes, None where the header has them as JSON (`header.data`).
    """

    header: TensorHeader
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
    parameters: Mapping[str, str | int | float | bool]


def read_infer(body: Body, header_length: str | None) -> InferCall:
    """Parse a request body.

    Args:
        header_length: the header `Inference-Header-Content-Length`, None where there is none; "0" says that the body is
            the bytes of the one input and nothing else.

    Raises:
        MalformedError: it is not such a request, or its sizes do not add up to the body's.
    """
    length = _header_length(body, header_length)
    if length == 0:
        return InferCall("", None, None, RAW, None, [], None, binary=True, raw_bytes=body.pieces(0, body.size_bytes))
    header = parse(_REQUESTS, body.join(0, body.size_bytes if length is None else length), _ERROR_PREFIX)
    said = header.parameters or {}
    timeout_us = _parameter(said, "timeout", "the request")
    if timeout_us is not None and timeout_us < 0:
        raise MalformedError(f"parameter timeout of the request must be microseconds, 0 or more, got {timeout_us}")
    binary = bool(_parameter(said, "binary_data_output", "the request"))
    return InferCall(
        id=header.id or "",
        cut=_parameter(said, "cut", "the request"),
        fingerprint=_parameter(said, "fingerprint", "the request"),
        codec=_parameter(said, "codec", "the request") or RAW,
        timeout_s=min(timeout_us, 2**62) / 1e6 if timeout_us else None,
        tensors=_split_tensors(body, length, header.inputs),
        outputs=_requested_outputs(header.outputs, binary) if header.outputs else None,
        binary=binary,
    )


def read_reply(body: Body, header_length: str | None) -> Reply:
    """Parse a reply body.

    Raises:
        MalformedError: it is not such a reply, or its sizes do not add up to the body's.
    """
    length = _header_length(body, header_length)
    header = parse(_REPLIES, body.join(0, body.size_bytes if length is None else length), _ERROR_PREFIX)
    return Reply(
        header.id or "",
        header.model_version or "",
        _split_tensors(body, length, header.outputs),
        header.parameters or {},
    )


def _header_length(body: Body, header: str | None) -> int | None:
    if header is None:
        return None
    # ASCII digits only: int() would take signs, underscores and other scripts' digits as well.
    if not (header.isascii() and header.isdigit() and len(header) <= 15) or int(header) > body.size_bytes:
        raise MalformedError(f"{HEADER_LENGTH} must be 0 to the body's {body.size_bytes} bytes, got {header[:40]!r}")
    return int(header)


def _split_tensors(body: Body, length: int | None, headers: Sequence[TensorHeader]) -> list[WireTensor]:
    """Give each tensor its stretch of the body."""
    tensors = []
    at = body.size_bytes if length is None else length
    for header in headers:
        size = _parameter(header.given_parameters, "binary_data_size", "tensor", header.name)
        if size is None:
            if not header.has_data:
                raise MalformedError(f"tensor {header.name!r} has neither data nor binary_data_size")
            tensors.append(WireTensor(header, None))
            continue
        if header.has_data or length is None:
            raise MalformedError(
                f"tensor {header.name!r} has a binary_data_size and {'data' if length else f'no {HEADER_LENGTH}'}"
            )
        if not 0 <= size <= body.size_bytes - at:
            raise MalformedError(f"tensor {header.name!r}: {size} bytes announced, {body.size_bytes - at} are left")
        tensors.append(WireTensor(header, body.pieces(at, at + size)))
        at += size
    if at != body.size_bytes:
        raise MalformedError(f"the body has {body.size_bytes - at} bytes more than its tensors")
    return tensors


def _requested_outputs(outputs: Sequence[RequestedOutput], binary: bool) -> dict[str, bool]:
    wanted: dict[str, bool] = {}
    for output in outputs:
        if output.name in wanted:
            raise MalformedError(f"output {output.name!r} is asked for twice")
        said = output.parameters or {}
        if said.get("classification"):
            raise MalformedError("the classification extension is not offered")
        as_binary = _parameter(said, "binary_data", "output", output.name)
        wanted[output.name] = binary if as_binary is None else as_binary
    return wanted


def _parameter(parameters: Mapping[str, str | int | float | bool], name: str, whose: str, which: str = "") -> Any:
    """A parameter of the kind it must have, None where it is not given."""
    value = parameters.get(name)
    if value is not None and type(value) is not _PARAMETER_TYPES[name]:
        whose = f"{whose} {which!r}" if which else whose
        raise MalformedError(
            f"parameter {name} of {whose} must be {_PARAMETER_TYPES[name].__name__}, got {value!r:.60}"
        )
    return value
