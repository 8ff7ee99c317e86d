"""Tensors to and from the messages of the Open Inference Protocol; what arrives is held against what is expected."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from midcut.errors import MalformedError, TooLargeError
from midcut.tensors import dtype_name, tensor_from_pieces, tensor_to_bytes
from midcut.types import Encoded, ValueSpec
from midcut.wire.body import joined
from midcut.wire.oip import (
    CHECKSUM,
    CODEC_PREFIX,
    DATATYPES,
    RAW,
    Message,
    ReplyHead,
    TensorHead,
    checksum,
    coded_head,
    encode_head,
    infer_head,
    int_head,
    sizes_in,
    tensor_head,
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
_IN_JSON: Final = {
    "BOOL": np.bool_, "UINT8": np.uint8, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
# A double at its longest, the comma and a blank; and what is around the numbers.
_JSON_NUMBER_BYTES: Final = 26
_JSON_HEAD_BYTES: Final = 16 * 1024
_NUMBERS: Final[dict[str, tuple[type, ...]]] = {"b": (bool,), "u": (int,), "i": (int,), "f": (int, float)}


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
    heads: list[TensorHead] = []
    pieces: list[memoryview] = []
    for name, value in zip(names, request.values, strict=True):
        head, own = int_head(name, value) if isinstance(value, int) else _tensor_head(name, value, codec, plain=plain)
        heads.append(head)
        pieces += own
    said = infer_head(
        heads,
        request.request_id,
        timeout_s,
        cut=None if plain else request.cut,
        fingerprint=None if plain else request.fingerprint,
        codec=codec.name if codec is not None else RAW,
    )
    return Message(encode_head(said), pieces)


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
    heads: list[TensorHead] = []
    pieces: list[memoryview] = []
    for name, binary in wanted.items():
        value = made[name]
        if isinstance(value, int):
            heads.append(int_head(name, value)[0])
        elif binary:
            head, own = _tensor_head(name, value, None, plain=True)
            heads.append(head)
            pieces += own
        else:
            heads.append(json_head(name, value))
    said = ReplyHead(table.model, heads, table.fingerprint, call.id or None, {**told, CHECKSUM: checksum(pieces)})
    return Message(encode_head(said), pieces, binary=any(not one.has_data for one in heads))


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
            check_json(name, dtype)


def _check_names(call: InferCall, table: CutTable, known: Collection[str]) -> None:
    for name in call.outputs or ():
        if name not in known:
            raise MalformedError(f"model {table.model!r} has no output {name[:80]!r}; it has: {', '.join(known)}")


def values_of(
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
        return [_bare(call, specs, max_batch, where)]
    codec = None if call.codec == RAW else codecs.get(call.codec)
    if codec is None and call.codec != RAW:
        raise MalformedError(f"codec {call.codec[:40]!r} is not taken here; {', '.join([RAW, *codecs])} are")
    tensors = _by_name(call.tensors, specs, where)
    return [_value(one, spec, codec, max_batch) for one, spec in zip(tensors, specs, strict=True)]


def reply_values(reply: Reply) -> list[torch.Tensor | int]:
    """The tensors and ints of a reply, in its order.

    Raises:
        MalformedError: data that does not fit what the reply itself says of it.
    """
    return [_replied(tensor) for tensor in reply.tensors]


def _replied(tensor: WireTensor) -> torch.Tensor | int:
    head = tensor.head
    if head.said.get("int"):
        return _int(tensor)
    if head.datatype not in _DTYPES:
        raise MalformedError(f"{head.name!r} has the unknown datatype {head.datatype!r}")
    return _plain(tensor, ValueSpec(head.name, _DTYPES[head.datatype], head.shape))


def _tensor_head(
    name: str, value: torch.Tensor, codec: Codec | None, *, plain: bool
) -> tuple[TensorHead, Sequence[memoryview]]:
    dtype, shape = dtype_name(value.dtype), tuple(value.shape)
    if codec is not None:
        try:
            return coded_head(name, dtype, shape, codec.encode(value))
        except MalformedError:
            pass
    data, order = tensor_to_bytes(value.contiguous() if plain and not value.is_contiguous() else value)
    return tensor_head(name, dtype, shape, data.nbytes, None if plain else order), (data,) if data.nbytes else ()


def _by_name(tensors: Sequence[WireTensor], specs: Sequence[ValueSpec], where: str) -> Sequence[WireTensor]:
    if len(tensors) != len(specs):
        raise MalformedError(f"{where} takes {len(specs)} inputs, got {len(tensors)}")
    named = {tensor.head.name: tensor for tensor in tensors}
    found = [named.get(spec.name) for spec in specs]
    if None in found:
        found = [named.get(str(position)) for position in range(len(specs))]
    if None in found:
        names = ", ".join(repr(tensor.head.name[:80]) for tensor in tensors[:8])
        raise MalformedError(f"{where} takes inputs {', '.join(repr(spec.name) for spec in specs)}, got {names}")
    return [one for one in found if one is not None]


def _value(tensor: WireTensor, spec: ValueSpec, codec: Codec | None, max_batch: int) -> torch.Tensor | int:
    if not spec.is_tensor:
        return _int(tensor)
    head = tensor.head
    coded = codec is not None and "dtype" in head.said
    dtype = head.said["dtype"] if coded else _DTYPES.get(head.datatype, head.datatype)
    shape = sizes_in(head, "shape") if coded else head.shape
    if dtype != spec.dtype:
        raise MalformedError(f"{spec.name!r} must be {spec.dtype}, got {dtype!r:.40}")
    if shape is None or len(shape) != len(spec.shape):
        raise MalformedError(f"{spec.name!r} has {len(shape or ())} dimensions, expected {list(spec.shape)}")
    actual = ValueSpec(spec.name, spec.dtype, shape)
    if math.prod(shape) > math.prod(spec.shape) * max_batch:
        raise TooLargeError(f"{spec.name!r} of shape {list(shape)} is over a batch of {max_batch}, the most taken here")
    return _decoded(tensor, actual, codec) if coded and codec is not None else _plain(tensor, actual)


def _decoded(tensor: WireTensor, spec: ValueSpec, codec: Codec) -> torch.Tensor:
    head = tensor.head
    if tensor.pieces is None or head.datatype != "UINT8" or head.shape != (sum(len(one) for one in tensor.pieces),):
        raise MalformedError(f"{spec.name!r}: what codec {codec.name} made travels as binary UINT8 of shape [bytes]")
    parameters = {key[len(CODEC_PREFIX) :]: value for key, value in head.said.items() if key.startswith(CODEC_PREFIX)}
    return codec.decode(Encoded(tensor.pieces, parameters, sizes_in(head, "dim_order")), spec)


def _plain(tensor: WireTensor, spec: ValueSpec) -> torch.Tensor:
    pieces = from_json(tensor.head) if tensor.pieces is None else tensor.pieces
    return tensor_from_pieces(pieces, spec.dtype, spec.shape, sizes_in(tensor.head, "dim_order"))


def _bare(call: InferCall, specs: Sequence[ValueSpec], max_batch: int, where: str) -> torch.Tensor:
    """The one input of a body that is nothing but its bytes; the batch follows from their number."""
    if len(specs) != 1 or not specs[0].is_tensor or not specs[0].shape:
        raise MalformedError(f"{where} takes {len(specs)} inputs: a body without a head can hold one tensor only")
    spec, pieces = specs[0], call.raw_bytes or ()
    batch, rest = divmod(sum(len(one) for one in pieces), max(spec.payload_bytes, 1))
    if rest or not batch:
        raise MalformedError(f"{where} takes {spec.payload_bytes} bytes of {spec.dtype} for each of a batch")
    if batch > max_batch:
        raise TooLargeError(f"{batch} times {spec.name!r} is over a batch of {max_batch}, the most taken here")
    return tensor_from_pieces(pieces, spec.dtype, (spec.shape[0] * batch, *spec.shape[1:]))


def _int(tensor: WireTensor) -> int:
    head = tensor.head
    if head.datatype != "INT64" or head.shape not in ((), (1,)):
        raise MalformedError(f"{head.name!r} must be a plain int: INT64 of shape [1], got {head.datatype}")
    data = joined(from_json(head) if tensor.pieces is None else tensor.pieces)
    if len(data) != 8:
        raise MalformedError(f"{head.name!r} takes 8 bytes, got {len(data)}")
    return int.from_bytes(data, "little", signed=True)


def json_limit(tables: Iterable[CutTable], max_batch: int) -> int:
    """The largest body of a whole-model request all in JSON; from another cut on, clients send binary."""
    inputs = max((sum(math.prod(spec.shape) for spec in table.cuts[0].values) for table in tables), default=0)
    return inputs * max_batch * _JSON_NUMBER_BYTES + _JSON_HEAD_BYTES


def json_head(name: str, value: torch.Tensor) -> TensorHead:
    """An output as numbers. Raises MalformedError where JSON has none for its datatype."""
    datatype = check_json(name, dtype_name(value.dtype))
    data = msgspec.Raw(msgspec.json.encode(value.detach().reshape(-1).tolist()))
    return TensorHead(name, tuple(value.shape), datatype, data=data)


def check_json(name: str, dtype: str) -> str:
    """An output's datatype. Raises MalformedError where JSON has no numbers for it."""
    datatype = DATATYPES[dtype]
    if datatype not in _IN_JSON:
        raise MalformedError(f"output {name!r} is {datatype}, which travels as binary only: ask for binary_data")
    return datatype


def from_json(head: TensorHead) -> Sequence[memoryview]:
    """The bytes of data that came as JSON: all numbers in one list, or nested as the shape is."""
    dtype = _IN_JSON.get(head.datatype)
    if dtype is None:
        raise MalformedError(f"{head.name!r}: {head.datatype!r} does not travel as JSON")
    count = math.prod(head.shape)
    data = bytes(head.data)
    # Either form has one comma less than numbers: told before a list is made of what a stranger sent.
    if count and data.count(b",") != count - 1:
        raise MalformedError(f"{head.name!r}: shape {list(head.shape)} takes {count} numbers, not what data holds")
    try:
        numbers = _flat(msgspec.json.decode(data), head)
        if not all(type(number) in _NUMBERS[np.dtype(dtype).kind] for number in numbers):
            raise MalformedError(f"{head.name!r}: data is not all {head.datatype}")
        with np.errstate(over="raise"):
            made: NDArray[Any] = np.array(numbers, dtype)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedError(f"{head.name!r}: data is not JSON: {error}") from None
    except (OverflowError, FloatingPointError):
        raise MalformedError(f"{head.name!r}: data does not fit {head.datatype}") from None
    return [made.view(np.uint8).data] if count else []


def _flat(data: Any, head: TensorHead) -> list[Any]:
    level = data if isinstance(data, list) else [data]
    if level and isinstance(level[0], list):
        for size in head.shape[1:]:
            if not all(isinstance(row, list) and len(row) == size for row in level):
                raise MalformedError(f"{head.name!r}: data is not nested as shape {list(head.shape)} is")
            level = [item for row in level for item in row]
    if len(level) != math.prod(head.shape):
        raise MalformedError(f"{head.name!r}: data has {len(level)} items, not those of shape {list(head.shape)}")
    return level
