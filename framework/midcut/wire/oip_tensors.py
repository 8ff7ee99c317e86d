"""Encodes tensors into messages of the Open Inference Protocol, and decodes those that match what is expected."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from midcut import chains
from midcut.errors import MalformedError, TooLargeError
from midcut.tensors import dense, dtype_name, tensor_from_pieces, tensor_to_bytes, to_numpy
from midcut.types import Encoded, ValueSpec
from midcut.wire.body import join
from midcut.wire.oip import (
    BYTES,
    CODEC_PREFIX,
    DATATYPES,
    FILE,
    LENGTH_BYTES,
    RAW,
    Message,
    ReplyHeader,
    ReplyParameters,
    TensorHeader,
    checksum,
    encode_header,
    encoded_header,
    file_header,
    infer_header,
    int_header,
    parse_sizes,
    tensor_header,
)
from midcut.wire.route import route_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from midcut.protocols import Codec
    from midcut.types import CutTable, TailRequest, Tensor
    from midcut.wire.oip_read import InferCall, Reply, WireTensor

_DTYPES: Final = {datatype: dtype for dtype, datatype in DATATYPES.items() if dtype != "int"}
_NAMES: Final = frozenset(_DTYPES.values())
# JSON has no numbers for FP16 and BF16; by the protocol these are sent as binary only.
_JSON_DTYPES: Final = {
    "BOOL": np.bool_, "UINT8": np.uint8, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
# No codec makes so much of a tensor; what is beyond would only keep a decoder busy.
_MOST_ENCODED: Final = 2
_MORE_ENCODED_BYTES: Final = 64 * 1024
# The longest double with a comma and a blank; and the JSON around the numbers.
_JSON_NUMBER_BYTES: Final = 26
_JSON_HEADER_BYTES: Final = 16 * 1024
_JSON_NUMBER_TYPES: Final[dict[str, tuple[type, ...]]] = {"b": (bool,), "u": (int,), "i": (int,), "f": (int, float)}


def encode_infer(
    request: TailRequest,
    codec: Codec | None = None,
    timeout_s: float | None = None,
    *,
    plain: bool = False,
    reply_codec: str = RAW,
) -> Message:
    """Encode a request.

    Args:
        codec: encodes the tensors; None sends their own bytes, as is done with a tensor that the codec does not accept.
        timeout_s: how long the client waits for the reply; None without limit.
        reply_codec: name of the codec that is asked for in the reply.
        plain: leave out midcut's own parameters, for another vendor's server, which runs the whole model.

    Raises:
        MalformedError: a dtype that the protocol cannot send.
    """
    names = request.names or [str(position) for position in range(len(request.values))]
    headers: list[TensorHeader] = []
    pieces: list[memoryview] = []
    for name, value in zip(names, request.values, strict=True):
        if isinstance(value, int):
            header, tensor_pieces = int_header(name, value)
        elif request.codec == FILE:
            header, tensor_pieces = file_header(name, tensor_to_bytes(value)[0])
        else:
            header, tensor_pieces = _encode_tensor(name, value, codec, plain=plain)
        headers.append(header)
        pieces += tensor_pieces
    infer = infer_header(
        headers,
        request.request_id,
        timeout_s,
        cut=None if plain else request.cut,
        fingerprint=None if plain else request.fingerprint,
        codec=codec.name if codec is not None else RAW,
        reply_codec=reply_codec,
        route="" if request.onward is None else route_text(request.onward),
        hops=request.hops,
        input_shapes=() if plain else request.input_shapes,
    )
    return Message(encode_header(infer), pieces)


def encode_reply(
    call: InferCall,
    table: CutTable,
    outputs: Mapping[str, Tensor | int],
    parameters: ReplyParameters,
    codec: Codec | None = None,
) -> Message:
    """Encode a reply: the requested outputs in the order of the request, or all of them where none is named.

    Args:
        outputs: the outputs by name, in the model's order.
        parameters: the reply's parameters; the checksum is set here.
        codec: encodes the outputs that are sent as binary; None sends their own bytes.

    Raises:
        MalformedError: the request names an unknown output, or wants one as JSON that JSON has no numbers for: half
            precision, NaN or infinity.
    """
    _check_names(call, table, outputs)
    requested = dict.fromkeys(outputs, call.binary) if call.outputs is None else call.outputs
    headers: list[TensorHeader] = []
    pieces: list[memoryview] = []
    for name, binary in requested.items():
        value = outputs[name]
        if isinstance(value, int):
            headers.append(int_header(name, value)[0])
        elif binary:
            header, tensor_pieces = _encode_tensor(name, value, codec, plain=True)
            headers.append(header)
            pieces += tensor_pieces
        else:
            headers.append(_json_header(name, value))
    parameters.crc32 = checksum(pieces)
    reply = ReplyHeader(table.model, headers, table.fingerprint, call.id or None, parameters)
    return Message(encode_header(reply), pieces, binary=any(not header.has_data for header in headers))


def check_outputs(call: InferCall, table: CutTable) -> None:
    """Refuse, before anything is computed, a request whose outputs cannot be returned.

    Raises:
        MalformedError: it names an unknown output, or wants one as JSON that JSON has no numbers for.
    """
    if call.outputs is None and call.binary:
        return
    by_node = {} if call.outputs is None else {spec.name: spec for spec in table.cuts[table.last].values}
    dtypes = {name: spec.dtype for name, spec in (by_node | table.output_specs).items()}
    _check_names(call, table, dtypes)
    for name, dtype in dtypes.items():
        binary = call.binary if call.outputs is None else call.outputs.get(name, True)
        if not binary:
            _json_datatype(name, dtype)


def _check_names(call: InferCall, table: CutTable, known: Collection[str]) -> None:
    for name in call.outputs or ():
        if name not in known:
            raise MalformedError(
                f"model {table.model!r} has no output {name[:80]!r}; it has: {', '.join(table.output_specs)}"
            )


def request_values(
    call: InferCall, specs: Sequence[ValueSpec], codecs: Mapping[str, Codec], max_batch: int, where: str
) -> list[Tensor | int]:
    """Decode the tensors of a request; only those that match the specs are decoded.

    Args:
        specs: the values that cross the cut, at batch 1. Inputs have these names, or their positions `"0"`, `"1"`, ...
        codecs: the accepted ones, by name.
        where: the model and cut, for errors.

    Raises:
        MalformedError: names, datatypes, shapes or data that do not fit.
        TooLargeError: a batch over `max_batch`.
    """
    if call.raw_bytes is not None:
        return [_tensor_without_header(call, specs, max_batch, where)]
    codec = find_codec(call.codec, codecs)
    tensors = _match_inputs(call.tensors, specs, where)
    return [_request_value(tensor, spec, codec, max_batch) for tensor, spec in zip(tensors, specs, strict=True)]


def input_shapes(call: InferCall, specs: Sequence[ValueSpec], where: str) -> tuple[tuple[int, ...], ...]:
    """The shapes of a whole model's inputs, in the model's order; empty where only the number of bytes is known.

    Args:
        specs: the model's inputs.
        where: the model, for errors.

    Raises:
        MalformedError: other inputs than these.
    """
    if call.raw_bytes is not None:
        return ()
    headers = [tensor.header for tensor in _match_inputs(call.tensors, specs, where)]
    encoded = [parse_sizes(header, "shape") if "dtype" in header.given_parameters else None for header in headers]
    return tuple(header.shape if sizes is None else sizes for header, sizes in zip(headers, encoded, strict=True))


def picture_files(
    call: InferCall, specs: Sequence[ValueSpec], max_batch: int, where: str
) -> list[bytes | memoryview] | None:
    """The files of pictures that came in place of the model's input, one for each of a batch; None if it is a tensor.

    Args:
        specs: the model's inputs.
        where: the model, for errors.

    Raises:
        MalformedError: not the only input, or not in the binary form of BYTES.
        TooLargeError: a batch over `max_batch`.
    """
    if all(tensor.header.datatype != BYTES for tensor in call.tensors):
        return None
    if call.cut:
        raise MalformedError(f"{where}: BYTES is a picture for the whole model, not for cut {call.cut}")
    if len(specs) != 1:
        raise MalformedError(
            f"{where} takes {len(specs)} inputs; BYTES, the file of a picture, can only be the only one"
        )
    (tensor,) = _match_inputs(call.tensors, specs, where)
    if tensor.pieces is None:
        raise MalformedError(f"{where}: BYTES, the file of a picture, must be sent as binary, not in the JSON")
    count = math.prod(tensor.header.shape)
    if count > max_batch:
        raise TooLargeError(f"{count} pictures are over a batch of {max_batch}, the largest accepted here")
    return _split_bytes(join(tensor.pieces), count, tensor.header.name)


def _split_bytes(data: bytes | memoryview, count: int, name: str) -> list[bytes | memoryview]:
    """Split BYTES into its elements, each with its length before it."""
    elements = []
    at = 0
    for _ in range(count):
        size = int.from_bytes(data[at : at + LENGTH_BYTES], "little")
        at += LENGTH_BYTES + size
        if at > len(data):
            break
        elements.append(data[at - size : at])
    if at != len(data) or not elements:
        raise MalformedError(
            f"{name!r}: {len(data)} bytes are not {count} elements of BYTES, each after its length in four bytes"
        )
    return elements


def find_codec(name: str, codecs: Mapping[str, Codec]) -> Codec | None:
    """The codec, or chain of codecs, that a request names; None for `raw`.

    Raises:
        MalformedError: it is not accepted.
    """
    if name == RAW:
        return None
    codec = chains.find_codec(name, codecs)
    if codec is None:
        raise MalformedError(f"codec {name[:40]!r} is not accepted here; accepted: {', '.join([RAW, *codecs])}")
    return codec


def reply_values(reply: Reply, codec: Codec | None = None, limit_bytes: int = 2**28) -> list[Tensor | int]:
    """Decode the tensors and ints of a reply, in its order.

    Args:
        codec: the codec that was asked for; None if there was none.
        limit_bytes: the most bytes of a tensor that a codec encoded, decoded.

    Raises:
        MalformedError: data that does not match the reply's own header.
    """
    return [_reply_value(tensor, codec, limit_bytes) for tensor in reply.tensors]


def _reply_value(tensor: WireTensor, codec: Codec | None, limit_bytes: int) -> Tensor | int:
    header = tensor.header
    dtype, shape = header.given_parameters.get("dtype"), parse_sizes(header, "shape")
    if codec is not None and dtype in _NAMES and shape is not None:
        spec = ValueSpec(header.name, str(dtype), shape)
        if spec.payload_bytes > limit_bytes:
            raise MalformedError(f"{header.name!r} takes {spec.payload_bytes} bytes, over the limit of {limit_bytes}")
        return _decode_encoded(tensor, spec, codec)
    if header.given_parameters.get("int"):
        return _decode_int(tensor)
    if header.datatype not in _DTYPES:
        raise MalformedError(f"{header.name!r} has the unknown datatype {header.datatype!r}")
    return _decode_plain(tensor, ValueSpec(header.name, _DTYPES[header.datatype], header.shape))


def _encode_tensor(
    name: str, value: Tensor, codec: Codec | None, *, plain: bool
) -> tuple[TensorHeader, Sequence[memoryview]]:
    dtype, shape = dtype_name(value.dtype), tuple(value.shape)
    if codec is not None:
        try:
            return encoded_header(name, dtype, shape, codec.encode(value))
        except MalformedError:
            pass
    data, order = tensor_to_bytes(dense(value) if plain else value)
    return tensor_header(name, dtype, shape, data.nbytes, None if plain else order), (data,) if data.nbytes else ()


def _match_inputs(tensors: Sequence[WireTensor], specs: Sequence[ValueSpec], where: str) -> Sequence[WireTensor]:
    if len(tensors) != len(specs):
        raise MalformedError(f"{where} takes {len(specs)} inputs, got {len(tensors)}")
    named = {tensor.header.name: tensor for tensor in tensors}
    matched = [named.get(spec.name) for spec in specs]
    if None in matched:
        matched = [named.get(str(position)) for position in range(len(specs))]
    if None in matched:
        names = ", ".join(repr(tensor.header.name[:80]) for tensor in tensors[:8])
        raise MalformedError(f"{where} takes inputs {', '.join(repr(spec.name) for spec in specs)}, got {names}")
    return [tensor for tensor in matched if tensor is not None]


def _request_value(tensor: WireTensor, spec: ValueSpec, codec: Codec | None, max_batch: int) -> Tensor | int:
    if not spec.is_tensor:
        return _decode_int(tensor)
    header = tensor.header
    encoded = codec is not None and "dtype" in header.given_parameters
    dtype = header.given_parameters["dtype"] if encoded else _DTYPES.get(header.datatype, header.datatype)
    shape = parse_sizes(header, "shape") if encoded else header.shape
    if dtype != spec.dtype:
        raise MalformedError(f"{spec.name!r} must be {spec.dtype}, got {dtype!r:.40}")
    if shape is None or len(shape) != len(spec.shape):
        raise MalformedError(f"{spec.name!r} has {len(shape or ())} dimensions, expected {list(spec.shape)}")
    actual = ValueSpec(spec.name, spec.dtype, shape)
    if math.prod(shape) > math.prod(spec.shape) * max_batch:
        raise TooLargeError(
            f"{spec.name!r} of shape {list(shape)} is over a batch of {max_batch}, the largest accepted here"
        )
    return _decode_encoded(tensor, actual, codec) if encoded and codec is not None else _decode_plain(tensor, actual)


def _decode_encoded(tensor: WireTensor, spec: ValueSpec, codec: Codec) -> Tensor:
    header = tensor.header
    if tensor.pieces is None or header.datatype != "UINT8" or header.shape != (sum(map(len, tensor.pieces)),):
        raise MalformedError(f"{spec.name!r}: encoded by codec {codec.name}, it must be binary UINT8 of shape [bytes]")
    limit_bytes = _MOST_ENCODED * spec.payload_bytes + _MORE_ENCODED_BYTES
    if header.shape[0] > limit_bytes:
        raise TooLargeError(
            f"{spec.name!r} takes {header.shape[0]} bytes in codec {codec.name}, over the limit of {limit_bytes}"
        )
    parameters = {
        key[len(CODEC_PREFIX) :]: value
        for key, value in header.given_parameters.items()
        if key.startswith(CODEC_PREFIX)
    }
    return codec.decode(Encoded(tensor.pieces, parameters, parse_sizes(header, "dim_order")), spec)


def _decode_plain(tensor: WireTensor, spec: ValueSpec) -> Tensor:
    pieces = _bytes_from_json(tensor.header) if tensor.pieces is None else tensor.pieces
    return tensor_from_pieces(pieces, spec.dtype, spec.shape, parse_sizes(tensor.header, "dim_order"))


def _tensor_without_header(call: InferCall, specs: Sequence[ValueSpec], max_batch: int, where: str) -> Tensor:
    """Decode a body that is the bytes of the only input; the batch follows from their number."""
    if len(specs) != 1 or not specs[0].is_tensor or not specs[0].shape:
        raise MalformedError(
            f"{where} takes {len(specs)} inputs: a body without a JSON header can hold one tensor only"
        )
    spec, pieces = specs[0], call.raw_bytes or ()
    batch, rest = divmod(sum(map(len, pieces)), max(spec.payload_bytes, 1))
    if rest or not batch:
        raise MalformedError(f"{where} takes {spec.payload_bytes} bytes of {spec.dtype} for each of a batch")
    if batch > max_batch:
        raise TooLargeError(f"{batch} times {spec.name!r} is over a batch of {max_batch}, the largest accepted here")
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
    """The largest body of a request that is all JSON, which can be for whole models only: cuts are sent as binary."""
    inputs = max((sum(math.prod(spec.shape) for spec in table.cuts[0].values) for table in tables), default=0)
    return inputs * max_batch * _JSON_NUMBER_BYTES + _JSON_HEADER_BYTES


def _json_header(name: str, value: Tensor) -> TensorHeader:
    """The header entry of an output as JSON numbers. Raises MalformedError where JSON has none for what is in it."""
    datatype = _json_datatype(name, dtype_name(value.dtype))
    array = to_numpy(value).reshape(-1)
    if not np.isfinite(array).all():
        raise MalformedError(f"output {name!r} has NaN or infinity, which JSON has not: request it with binary_data")
    data = msgspec.Raw(msgspec.json.encode(array.tolist()))
    return TensorHeader(name, tuple(value.shape), datatype, data=data)


def _json_datatype(name: str, dtype: str) -> str:
    """The datatype of an output to be sent as JSON. Raises MalformedError where JSON has no numbers for it."""
    datatype = DATATYPES[dtype]
    if datatype not in _JSON_DTYPES:
        raise MalformedError(
            f"output {name!r} is {datatype}, which is sent as binary only: request it with binary_data"
        )
    return datatype


def _bytes_from_json(header: TensorHeader) -> Sequence[memoryview]:
    """Decode a tensor that came as JSON numbers, in one list or nested as its shape."""
    dtype = _JSON_DTYPES.get(header.datatype)
    if dtype is None:
        raise MalformedError(f"{header.name!r}: {header.datatype!r} cannot be sent as JSON")
    count = math.prod(header.shape)
    data = bytes(header.data)
    # Both forms have one comma less than numbers; counted first, so that no list is made of a wrong number of items.
    if count and data.count(b",") != count - 1:
        raise MalformedError(f"{header.name!r}: shape {list(header.shape)} takes {count} numbers, not what data holds")
    try:
        numbers = _flatten(msgspec.json.decode(data), header)
        if not all(type(number) in _JSON_NUMBER_TYPES[np.dtype(dtype).kind] for number in numbers):
            raise MalformedError(f"{header.name!r}: data is not all {header.datatype}")
        with np.errstate(over="raise"):
            array: NDArray[Any] = np.array(numbers, dtype)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"{header.name!r}: data is not JSON: {error}") from None
    except (OverflowError, FloatingPointError):
        raise MalformedError(f"{header.name!r}: data does not fit {header.datatype}") from None
    return [array.view(np.uint8).data] if count else []


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
