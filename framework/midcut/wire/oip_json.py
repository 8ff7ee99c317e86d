"""Tensors as JSON numbers, for clients that send no binary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from midcut.errors import MalformedError
from midcut.wire.oip import DATATYPES, TensorHead

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch
    from numpy.typing import NDArray

    from midcut.types import CutTable

# What JSON has no numbers for (FP16, BF16) travels as binary only, as the protocol says.
_IN_JSON: Final = {
    "BOOL": np.bool_, "UINT8": np.uint8, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
# A double at its longest, the comma and a blank; and what is around the numbers.
_JSON_NUMBER_BYTES: Final = 26
_JSON_HEAD_BYTES: Final = 16 * 1024


def json_limit(tables: Iterable[CutTable], max_batch: int) -> int:
    """The largest body of a whole-model request all in JSON; from another cut on, clients send binary."""
    inputs = max((sum(math.prod(spec.shape) for spec in table.cuts[0].values) for table in tables), default=0)
    return inputs * max_batch * _JSON_NUMBER_BYTES + _JSON_HEAD_BYTES


def json_head(name: str, value: torch.Tensor) -> TensorHead:
    """An output as numbers. Raises MalformedError where JSON has none for its datatype."""
    from midcut.tensors import dtype_name  # noqa: PLC0415 - imports torch

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


_NUMBERS: Final[dict[str, tuple[type, ...]]] = {"b": (bool,), "u": (int,), "i": (int,), "f": (int, float)}


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
