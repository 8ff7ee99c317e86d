"""Tensors to and from the messages of the Open Inference Protocol; what arrives is held against what is expected."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from midcut.errors import MalformedError, TooLargeError
from midcut.tensors import dtype_name, tensor_from_pieces, tensor_to_bytes
from midcut.types import Encoded, ValueSpec
from midcut.wire.body import join
from midcut.wire.oip import (
    CHECKSUM,
    CODEC_PREFIX,
    DATATYPES,
    RAW,
    Message,
    ReplyHeader,
    TensorHeader,
    checksum,
    encode_header,
    encoded_header,
    infer_header,
    int_header,
    parse_sizes,
    tensor_header,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from midcut.protocols import Codec
    from midcut.types import CutTable, TailRequest
    from midcut.wire.oip_read import InferCall, Reply, WireTensor

_DTYPES: Final = {datatype: dtype for dtype, datatype in DATATYPES.items() if dtype != "int"}
# What JSON has no numbers for (FP16, BF16) travels as binary only, as the protocol says.
_JSON_DTYPES: Final = {
    "BOOL": np.bool_, "UINT8": np.uint8, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
# A double at its longest, the comma and a blank; and what is around the numbers.
_JSON_NUMBER_BYTES: Final = 26
_JSON_HEADER_BYTES: Final = 16 * 1024
_JSON_NUMBER_TYPES: Final[dict[str, tuple[type, ...]]] = {"b": (bool,), "u": (int,), "i": (int,), "f": (int, float)}


def encode_infer(
    request: TailRequest, codec: Codec | None = None, timeout_s: float | None = None, *, plain: bool = False
) -> Message:
    """A request as the protocol has it.

    Args:
        timeout_s: how long the answer is waited for; None for as long as it takes.
        codec: makes the tensors' bytes; None for their own. A tensor that the codec does not take travels as it is.
        plain: nothing but the protocol's own words, for a server that is not midcut's: it runs the whole model.

    Raises:
        MalformedError: a dtype that does not travel.
    """
    names = request.names or [str(position) for position in range(len(request.values))]
    headers: list[TensorHeader] = []
    pieces: list[memoryview] = []
    for name, value in zip(names, request.values, strict=True):
        header, own = (
            int_header(name, value) if isinstance(value, int) else _encode_tensor(name, value, codec, plain=plain)
        )
        headers.append(header)
        pieces += own
    said = infer_header(
        headers,
        request.request_id,
        timeout_s,
        cut=None if plain else request.cut,
        fingerprint=None if plain else request.fingerprint,
        codec=codec.name if codec is not None else RAW,
    )
    return Message(encode_header(said), pieces)


def encode_reply(
    call: InferCall,
    table: CutTable,
    made: Mapping[str, torch.Tensor | int],
    told: Mapping[str, str | int],
) -> Message:
    """A reply: the outputs that were asked for, in that order; all of them where none was named.

    Args:
        made: the outputs by name, in the model's order.
        told: the reply's parameters; the checksum comes to them.

    Raises:
        MalformedError: an output that there is not, or one that JSON cannot hold.
    """
    _check_names(call, table, made)
    wanted = dict.fromkeys(made, call.binary) if call.outputs is None else call.outputs
    headers: list[TensorHeader] = []
    pieces: list[memoryview] = []
    for name, binary in wanted.items():
        value = made[name]
        if isinstance(value, int):
            headers.append(int_header(name, value)[0])
        elif binary:
            header, own = _encode_tensor(name, value, None, plain=True)
            headers.append(header)
            pieces += own
        else:
            headers.append(_json_header(name, value))
    said = ReplyHeader(table.model, headers, table.fingerprint, call.id or None, {**told, CHECKSUM: checksum(pieces)})
    return Message(encode_header(said), pieces, binary=any(not one.has_data for one in headers))


def check_outputs(call: InferCall, table: CutTable) -> None:
    """Refuse before anything is computed what could not be answered afterwards.

    Raises:
        MalformedError: an output is asked for that there is not, or as JSON one that JSON cannot hold.
    """
    if call.outputs is None and call.binary:
        return
    dtypes = {spec.name: spec.dtype for spec in table.cuts[table.last].values}
    _check_names(call, table, dtypes)
    for name, dtype in dtypes.items():
        binary = call.binary if call.outputs is None else call.outputs.get(name, True)
        if not binary:
            _json_datatype(name, dtype)


def _check_names(call: InferCall, table: CutTable, known: Collection[str]) -> None:
    for name in call.outputs or ():
        if name not in known:
            raise MalformedError(f"model {table.model!r} has no output {name[:80]!r}; it has: {', '.join(known)}")


def request_values(
    call: InferCall, specs: Sequence[ValueSpec], codecs: Mapping[str, Codec], max_batch: int, where: str
) -> list[torch.Tensor | int]:
    """The tensors of a request, made only where they can be what the specs ask for.

    Args:
        specs: what crosses at the cut, at batch 1. Inputs are known by these names, or by position, `"0"`, `"1"`, ...
        codecs: those that are taken, by name.
        where: the model and cut, for errors.

    Raises:
        MalformedError: names, datatypes, shapes or data that do not fit.
        TooLargeError: a batch over `max_batch`.
    """
    if call.raw_bytes is not None:
        return [_tensor_without_header(call, specs, max_batch, where)]
    codec = None if call.codec == RAW else codecs.get(call.codec)
    if codec is None and call.codec != RAW:
        raise MalformedError(f"codec {call.codec[:40]!r} is not taken here; {', '.join([RAW, *codecs])} are")
    tensors = _match_inputs(call.tensors, specs, where)
    return [_request_value(one, spec, codec, max_batch) for one, spec in zip(tensors, specs, strict=True)]


def reply_values(reply: Reply) -> list[torch.Tensor | int]:
    """The tensors and ints of a reply, in its order.

    Raises:
        MalformedError: data that does not fit what the reply itself says of it.
    """
    return [_reply_value(tensor) for tensor in reply.tensors]


def _reply_value(tensor: WireTensor) -> torch.Tensor | int:
    header = tensor.header
    if header.given_parameters.get("int"):
        return _decode_int(tensor)
    if header.datatype not in _DTYPES:
        raise MalformedError(f"{header.name!r} has the unknown datatype {header.datatype!r}")
    return _decode_plain(tensor, ValueSpec(header.name, _DTYPES[header.datatype], header.shape))


def _encode_tensor(
    name: str, value: torch.Tensor, codec: Codec | None, *, plain: bool
) -> tuple[TensorHeader, Sequence[memoryview]]:
    dtype, shape = dtype_name(value.dtype), tuple(value.shape)
    if codec is not None:
        try:
            return encoded_header(name, dtype, shape, codec.encode(value))
        except MalformedError:
            pass
    data, order = tensor_to_bytes(value.contiguous() if plain and not value.is_contiguous() else value)
    return tensor_header(name, dtype, shape, data.nbytes, None if plain else order), (data,) if data.nbytes else ()


def _match_inputs(tensors: Sequence[WireTensor], specs: Sequence[ValueSpec], where: str) -> Sequence[WireTensor]:
    if len(tensors) != len(specs):
        raise MalformedError(f"{where} takes {len(specs)} inputs, got {len(tensors)}")
    named = {tensor.header.name: tensor for tensor in tensors}
    found = [named.get(spec.name) for spec in specs]
    if None in found:
        found = [named.get(str(position)) for position in range(len(specs))]
    if None in found:
        names = ", ".join(repr(tensor.header.name[:80]) for tensor in tensors[:8])
        raise MalformedError(f"{where} takes inputs {', '.join(repr(spec.name) for spec in specs)}, got {names}")
    return [one for one in found if one is not None]


def _request_value(tensor: WireTensor, spec: ValueSpec, codec: Codec | None, max_batch: int) -> torch.Tensor | int:
    if not spec.is_tensor:
        return _decode_int(tensor)
    header = tensor.header
    coded = codec is not None and "dtype" in header.given_parameters
    dtype = header.given_parameters["dtype"] if coded else _DTYPES.get(header.datatype, header.datatype)
    shape = parse_sizes(header, "shape") if coded else header.shape
    if dtype != spec.dtype:
        raise MalformedError(f"{spec.name!r} must be {spec.dtype}, got {dtype!r:.40}")
    if shape is None or len(shape) != len(spec.shape):
        raise MalformedError(f"{spec.name!r} has {len(shape or ())} dimensions, expected {list(spec.shape)}")
    actual = ValueSpec(spec.name, spec.dtype, shape)
    if math.prod(shape) > math.prod(spec.shape) * max_batch:
        raise TooLargeError(f"{spec.name!r} of shape {list(shape)} is over a batch of {max_batch}, the most taken here")
    return _decode_encoded(tensor, actual, codec) if coded and codec is not None else _decode_plain(tensor, actual)


def _decode_encoded(tensor: WireTensor, spec: ValueSpec, codec: Codec) -> torch.Tensor:
    header = tensor.header
    if tensor.pieces is None or header.datatype != "UINT8" or header.shape != (sum(len(one) for one in tensor.pieces),):
        raise MalformedError(f"{spec.name!r}: what codec {codec.name} made travels as binary UINT8 of shape [bytes]")
    parameters = {
        key[len(CODEC_PREFIX) :]: value
        for key, value in header.given_parameters.items()
        if key.startswith(CODEC_PREFIX)
    }
    return codec.decode(Encoded(tensor.pieces, parameters, parse_sizes(header, "dim_order")), spec)


def _decode_plain(tensor: WireTensor, spec: ValueSpec) -> torch.Tensor:
    pieces = _bytes_from_json(tensor.header) if tensor.pieces is None else tensor.pieces
    return tensor_from_pieces(pieces, spec.dtype, spec.shape, parse_sizes(tensor.header, "dim_order"))


def _tensor_without_header(call: InferCall, specs: Sequence[ValueSpec], max_batch: int, where: str) -> torch.Tensor:
    """The one input of a body that is nothing but its bytes; the batch follows from their number."""
    if len(specs) != 1 or not specs[0].is_tensor or not specs[0].shape:
        raise MalformedError(f"{where} takes {len(specs)} inputs: a body without a header can hold one tensor only")
    spec, pieces = specs[0], call.raw_bytes or ()
    batch, rest = divmod(sum(len(one) for one in pieces), max(spec.payload_bytes, 1))
    if rest or not batch:
        raise MalformedError(f"{where} takes {spec.payload_bytes} bytes of {spec.dtype} for each of a batch")
    if batch > max_batch:
        raise TooLargeError(f"{batch} times {spec.name!r} is over a batch of {max_batch}, the most taken here")
    return tensor_from_pieces(pieces, spec.dtype, (spec.shape[0] * batch, *spec.shape[1:]))


def _decode_int(tensor: WireTensor) -> int:
    header = tensor.header
    if header.datatype != "INT64" or header.shape not in ((), (1,)):
        raise MalformedError(f"{header.name!r} must be a plain int: INT64 of shape [1], got {header.datatype}")
    data = join(_bytes_from_json(header) if tensor.pieces is None else tensor.pieces)
    if len(data) != 8:
        raise MalformedError(f"{header.name!r} takes 8 bytes, got {len(data)}")
    return int.from_bytes(data, "little", signed=True)


def json_limit(tables: Iterable[CutTable], max_batch: int) -> int:
    """The largest body of a whole-model request all in JSON; from another cut on, clients send binary."""
    inputs = max((sum(math.prod(spec.shape) for spec in table.cuts[0].values) for table in tables), default=0)
    return inputs * max_batch * _JSON_NUMBER_BYTES + _JSON_HEADER_BYTES


def _json_header(name: str, value: torch.Tensor) -> TensorHeader:
    """An output as numbers. Raises MalformedError where JSON has none for its datatype."""
    datatype = _json_datatype(name, dtype_name(value.dtype))
    data = msgspec.Raw(msgspec.json.encode(value.detach().reshape(-1).tolist()))
    return TensorHeader(name, tuple(value.shape), datatype, data=data)


def _json_datatype(name: str, dtype: str) -> str:
    """An output's datatype. Raises MalformedError where JSON has no numbers for it."""
    datatype = DATATYPES[dtype]
    if datatype not in _JSON_DTYPES:
        raise MalformedError(f"output {name!r} is {datatype}, which travels as binary only: ask for binary_data")
    return datatype


def _bytes_from_json(header: TensorHeader) -> Sequence[memoryview]:
    """The bytes of data that came as JSON: all numbers in one list, or nested as the shape is."""
    dtype = _JSON_DTYPES.get(header.datatype)
    if dtype is None:
        raise MalformedError(f"{header.name!r}: {header.datatype!r} does not travel as JSON")
    count = math.prod(header.shape)
    data = bytes(header.data)
    # Either form has one comma less than numbers: told before a list is made of what a stranger sent.
    if count and data.count(b",") != count - 1:
        raise MalformedError(f"{header.name!r}: shape {list(header.shape)} takes {count} numbers, not what data holds")
    try:
        numbers = _flatten(msgspec.json.decode(data), header)
        if not all(type(number) in _JSON_NUMBER_TYPES[np.dtype(dtype).kind] for number in numbers):
            raise MalformedError(f"{header.name!r}: data is not all {header.datatype}")
        with np.errstate(over="raise"):
            made: NDArray[Any] = np.array(numbers, dtype)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedError(f"{header.name!r}: data is not JSON: {error}") from None
    except (OverflowError, FloatingPointError):
        raise MalformedError(f"{header.name!r}: data does not fit {header.datatype}") from None
    return [made.view(np.uint8).data] if count else []


def _flatten(data: Any, header: TensorHeader) -> list[Any]:
    level = data if isinstance(data, list) else [data]
    if level and isinstance(level[0], list):
        for size in header.shape[1:]:
            if not all(isinstance(row, list) and len(row) == size for row in level):
                raise MalformedError(f"{header.name!r}: data is not nested as shape {list(header.shape)} is")
            level = [item for row in level for item in row]
    if len(level) != math.prod(header.shape):
        raise MalformedError(f"{header.name!r}: data has {len(level)} items, not those of shape {list(header.shape)}")
    return level
