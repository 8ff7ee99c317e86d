"""The paper's JSON messages as strict types: whatever does not match them exactly is a `MalformedError`."""

from __future__ import annotations

import math
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import pybase64

from midcut.errors import MalformedError
from midcut.types import DTYPES, HeldModel, ValueSpec
from midcut.wire.body import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.types import TailRequest, Tensor

_Identifier = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,128}\Z")]
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_MAX_DIMS: Final = 16
_ITEM_BYTES: Final = {dtype: ValueSpec("", dtype).payload_bytes for dtype in DTYPES}
_ERROR_PREFIX: Final = "the body is not the JSON expected here"
# A list of a hundred models states for each refused cut why it is refused.
_MOST_STRINGS_OF_MODELS: Final = 1024 * 1024


class TensorValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor on the wire. Only its types are checked before `decode_values`."""

    dtype: str
    shape: tuple[int, ...]
    dim_order: tuple[int, ...] | None
    data: str


class InferMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of POST /v1/infer, values still encoded; `input_shapes` as in `TailRequest`."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    cut: _Int64
    fingerprint: Annotated[str, msgspec.Meta(max_length=200)]
    request_id: _Identifier
    values: list[TensorValue | _Int64]
    input_shapes: tuple[tuple[_Int64, ...], ...] = ()


class ReplyMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a 200, values still encoded."""

    request_id: _Identifier
    values: list[TensorValue | _Int64]
    compute_s: Annotated[float, msgspec.Meta(ge=0.0)]
    server_s: Annotated[float, msgspec.Meta(ge=0.0)]


class ValueList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body of values alone, which the edge server accepts in place of an image."""

    values: list[TensorValue | _Int64]


class ErrorMessage(msgspec.Struct, frozen=True):
    """The body of an error response."""

    error: str


class _ListedModel(HeldModel, frozen=True, kw_only=True):
    name: str


class _ModelList(msgspec.Struct, frozen=True):
    models: list[_ListedModel]


class _Greeting(msgspec.Struct, frozen=True):
    wire: tuple[int, int] = (1, 1)


class _EncodedReply(msgspec.Struct, frozen=True):
    request_id: str
    values: msgspec.Raw
    compute_s: float
    server_s: float


def encode_values(values: Sequence[Tensor | int]) -> list[TensorValue | int]:
    """Encode tensors and ints for a message.

    Raises:
        MalformedError: a dtype that the wire has no name for.
    """
    from midcut.tensors import dtype_name, tensor_to_bytes  # noqa: PLC0415 - imports torch

    encoded: list[TensorValue | int] = []
    for value in values:
        if isinstance(value, int):
            encoded.append(value)
            continue
        data, dim_order = tensor_to_bytes(value)
        text = pybase64.b64encode_as_string(data)
        encoded.append(TensorValue(dtype_name(value.dtype), tuple(value.shape), dim_order, text))
    return encoded


def decode_values(values: Sequence[TensorValue | int]) -> list[Tensor | int]:
    """Decode the values of a message into new tensors and ints.

    Raises:
        MalformedError: unknown dtype, impossible shape or dimension order, data that is not strict base64 or whose
            length does not match dtype and shape. Sizes are checked before a tensor is allocated.
    """
    return [
        value if isinstance(value, int) else _decode_tensor(value, position) for position, value in enumerate(values)
    ]


def _decode_tensor(value: TensorValue, position: int) -> Tensor:
    from midcut.tensors import tensor_from_bytes  # noqa: PLC0415 - imports torch

    where = f"values[{position}]"
    item_bytes = _ITEM_BYTES.get(value.dtype)
    if item_bytes is None:
        raise MalformedError(f"{where}: unknown dtype {_short(value.dtype)}; known: {', '.join(sorted(DTYPES))}")
    dims = len(value.shape)
    if dims > _MAX_DIMS or any(size < 0 or size >= 2**48 for size in value.shape):
        raise MalformedError(f"{where}: impossible shape {_short(value.shape)}")
    if value.dim_order is not None and sorted(value.dim_order) != list(range(dims)):
        raise MalformedError(f"{where}: dim_order {_short(value.dim_order)} is not an order of {dims} dimensions")
    expected = math.prod(value.shape) * item_bytes
    if len(value.data) != (expected + 2) // 3 * 4:
        raise MalformedError(
            f"{where}: {value.dtype} {_short(value.shape)} takes {expected} bytes, "
            f"which {len(value.data)} characters of base64 do not hold"
        )
    try:
        data = pybase64.b64decode_as_bytearray(value.data, validate=True)
    except ValueError as error:
        raise MalformedError(f"{where}: data is not base64: {error}") from None
    if len(data) != expected:
        raise MalformedError(f"{where}: {value.dtype} {_short(value.shape)} takes {expected} bytes, got {len(data)}")
    return tensor_from_bytes(data, value.dtype, value.shape, value.dim_order)


def encode_request(request: TailRequest) -> bytes:
    """The body of POST /v1/infer."""
    message = InferMessage(
        model=request.model,
        cut=request.cut,
        fingerprint=request.fingerprint,
        request_id=request.request_id,
        values=encode_values(request.values),
        input_shapes=request.input_shapes,
    )
    return msgspec.json.encode(message)


def encode_reply(request_id: str, values: Sequence[Tensor | int], compute_s: float, started: float) -> bytes:
    """The body of a 200.

    Args:
        started: `time.perf_counter()` when the request was complete; `server_s` is the time since then, including
            the encoding of the values.
    """
    encoded = msgspec.Raw(msgspec.json.encode(encode_values(values)))
    server_s = round(perf_counter() - started, 9)
    return msgspec.json.encode(_EncodedReply(request_id, encoded, round(compute_s, 9), server_s))


def encode_error(reason: str) -> bytes:
    """The body of an error response, one line of text."""
    return msgspec.json.encode(ErrorMessage(" ".join(reason.split())))


_REQUESTS: Final = msgspec.json.Decoder(InferMessage)
_REPLIES: Final = msgspec.json.Decoder(ReplyMessage)
_VALUES: Final = msgspec.json.Decoder(ValueList)
_ERRORS: Final = msgspec.json.Decoder(ErrorMessage)
_GREETINGS: Final = msgspec.json.Decoder(_Greeting)
_MODELS: Final = msgspec.json.Decoder(_ModelList)


def read_request(body: bytes | bytearray) -> InferMessage:
    """Parse a request body.

    Raises:
        MalformedError: the body is not exactly the message.
    """
    return parse(_REQUESTS, body, _ERROR_PREFIX)


def read_reply(body: bytes | bytearray) -> ReplyMessage:
    """Parse a reply body.

    Raises:
        MalformedError: the body is not exactly the message.
    """
    return parse(_REPLIES, body, _ERROR_PREFIX)


def read_values(body: bytes | bytearray) -> ValueList:
    """Parse a body of values alone.

    Raises:
        MalformedError: the body is not exactly the message.
    """
    return parse(_VALUES, body, _ERROR_PREFIX)


def read_models(body: bytes | bytearray) -> dict[str, HeldModel]:
    """Parse the reply to GET /v1/models into models by name; unknown fields are ignored.

    Raises:
        MalformedError: the body is not a list of models.
    """
    return {model.name: model for model in parse(_MODELS, body, _ERROR_PREFIX, _MOST_STRINGS_OF_MODELS).models}


def read_wire_versions(body: bytes | bytearray) -> tuple[int, int]:
    """The oldest and the own version of a cloud in its reply to GET /v1/models; (1, 1) where it names none.

    Raises:
        MalformedError: the body is no reply of that kind.
    """
    return parse(_GREETINGS, body, _ERROR_PREFIX, _MOST_STRINGS_OF_MODELS).wire


def read_error(body: bytes | bytearray) -> str:
    """The reason in an error response; the beginning of the body where it has none."""
    try:
        return " ".join(parse(_ERRORS, body, _ERROR_PREFIX).error.split())[:500]
    except MalformedError:
        return _short(bytes(body[:200]).decode("utf-8", "replace"))


def _short(value: Any) -> str:
    """A value as text that is short enough for an error's message."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
