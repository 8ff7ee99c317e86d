"""Conversion of tensors to bytes and back with their memory layout, for the wire and for verification.

A kernel may add in another order for another memory layout, so a tensor that arrives contiguous although it was
permuted can change the last bits of the result. The layout of a dense tensor is its dim order (the physical order of
its dimensions, outermost first), which is therefore sent along.

A tensor is a `torch.Tensor`, or a `numpy.ndarray` where a model runs without PyTorch. Both can be encoded in any
process; what is decoded is torch's in a process that has imported torch, and numpy's in any other. Importing this
imports no torch.
"""

from __future__ import annotations

import math
import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midcut.errors import MalformedError
from midcut.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from midcut.types import Tensor

_NUMPY_DTYPES: Final = {name: np.dtype(name) for name in DTYPES - {"bfloat16"}}  # numpy has no bfloat16
# A new torch.dtype is looked up once in torch, and then found here.
_NAMES: Final[dict[Any, str]] = {dtype: name for name, dtype in _NUMPY_DTYPES.items()}


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of torch or of numpy."""
    torch = sys.modules.get("torch")
    return isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return the elements as an array, a view where that is possible; numbers that numpy lacks become float32."""
    if isinstance(tensor, np.ndarray):
        return tensor
    tensor = tensor.detach().cpu()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.is_complex():
        tensor = tensor.resolve_conj()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    array: NDArray[Any] = tensor.numpy()
    return array


def from_numpy(array: NDArray[Any]) -> Tensor:
    """Return an array as a tensor: in a process that has imported torch, a copy, which torch aligns as all its tensors.

    A kernel may add in another order where memory is aligned otherwise.
    """
    torch = sys.modules.get("torch")
    return array if torch is None else torch.from_numpy(array).clone()


def to_dtype(tensor: Tensor, dtype: str) -> Tensor:
    """Return a tensor with its elements in another dtype, by torch's name without the prefix.

    Raises:
        MalformedError: there is no such dtype, or it cannot be sent.
    """
    if isinstance(tensor, np.ndarray):
        with np.errstate(over="ignore"):
            return tensor.astype(_numpy_dtype(dtype), copy=False)
    return tensor.to(torch_dtype(dtype))


def dense(tensor: Tensor) -> Tensor:
    """Return a tensor whose elements lie in memory in the order of its dimensions: itself, or a copy."""
    if isinstance(tensor, np.ndarray):
        return np.asarray(tensor, order="C")
    return tensor if tensor.is_contiguous() else tensor.contiguous()


def with_order(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Return a tensor whose elements lie in memory in another order of the dimensions; see `dim_order`."""
    inverse = tuple(np.argsort(order).tolist())
    if isinstance(tensor, np.ndarray):
        return np.asarray(tensor.transpose(order), order="C").transpose(inverse)
    return tensor.permute(tuple(order)).contiguous().permute(inverse)


def concatenate(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors of equal shapes along their first dimension."""
    if isinstance(tensors[0], np.ndarray):
        return np.concatenate(tensors)
    import torch  # noqa: PLC0415 - only where the tensors are torch's

    return torch.cat(list(tensors))


def zeros(dtype: str, shape: Sequence[int]) -> Tensor:
    """Return a tensor of zeros, torch's in a process that has imported torch.

    Raises:
        MalformedError: there is no such dtype, or it cannot be sent.
    """
    torch = sys.modules.get("torch")
    return np.zeros(shape, _numpy_dtype(dtype)) if torch is None else torch.zeros(shape, dtype=torch_dtype(dtype))


def set_threads(count: int) -> None:
    """Set the number of threads of PyTorch's operations on the calling thread, where PyTorch is used at all."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def begin_computing(count: int) -> None:
    """Make the calling thread one that only computes: it records nothing for gradients. Otherwise as `set_threads`."""
    set_threads(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_grad_enabled(False)


def thread_count() -> int:
    """The number of threads of PyTorch's operations on the calling thread; 1 where PyTorch is not used at all."""
    torch = sys.modules.get("torch")
    return 1 if torch is None else int(torch.get_num_threads())


def dtype_name(dtype: torch.dtype | np.dtype[Any]) -> str:
    """Return torch's name of a dtype without the prefix (`float32`).

    Raises:
        MalformedError: the dtype cannot be sent.
    """
    try:
        return _NAMES[dtype]
    except KeyError:
        name = str(dtype).removeprefix("torch.")
        if isinstance(dtype, np.dtype) or name not in DTYPES:
            raise MalformedError(f"dtype {dtype} cannot be sent; these can: {', '.join(sorted(DTYPES))}") from None
    _NAMES[dtype] = name
    return name


def torch_dtype(name: str) -> torch.dtype:
    """Return the dtype of a name, the inverse of `dtype_name`.

    Raises:
        MalformedError: there is no such dtype, or it cannot be sent.
    """
    try:
        return _torch_dtypes()[name]
    except (KeyError, TypeError):
        raise _unknown(name) from None


@cache
def _torch_dtypes() -> dict[str, torch.dtype]:
    import torch  # noqa: PLC0415 - only where torch's tensors are wanted

    return {name: getattr(torch, name) for name in DTYPES}


def _numpy_dtype(name: str) -> np.dtype[Any]:
    try:
        return _NUMPY_DTYPES[name]
    except (KeyError, TypeError):
        raise _unknown(name) from None


def _unknown(name: Any) -> MalformedError:
    return MalformedError(f"unknown dtype {name!r}; these can be sent: {', '.join(sorted(DTYPES))}")


def dim_order(tensor: Tensor) -> tuple[int, ...] | None:
    """Dimensions from the outermost in memory to the innermost; None for the usual order 0, 1, 2, ...

    An expanded tensor, which stores an element once for several positions, has the usual order: it is sent in full.
    """
    strides = tensor.strides if isinstance(tensor, np.ndarray) else tensor.stride()
    return _order_of_strides(tensor.shape, strides)


@lru_cache(maxsize=4096)
def _order_of_strides(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...] | None:
    dims = range(len(strides))
    if any(stride == 0 and size > 1 for stride, size in zip(strides, shape, strict=True)):
        return None
    # Of several dimensions with the same stride, the others have size 1 and come after the one with elements.
    order = sorted(dims, key=lambda dim: (-strides[dim], shape[dim] == 1))
    return None if order == list(dims) else tuple(order)


def tensor_to_bytes(tensor: Tensor) -> tuple[memoryview, tuple[int, ...] | None]:
    """Return the elements in physical order, little-endian, and the dim order that restores them.

    The bytes of a dense tensor are a view of its memory, not a copy: they change when the tensor does.
    """
    if isinstance(tensor, np.ndarray):
        return _array_to_bytes(tensor)
    order = dim_order(tensor)
    if tensor.requires_grad:
        tensor = tensor.detach()
    if order is not None:
        tensor = tensor.permute(order)
    return _memory(tensor if tensor.is_contiguous() else tensor.contiguous()), order


def _array_to_bytes(array: NDArray[Any]) -> tuple[memoryview, tuple[int, ...] | None]:
    order = dim_order(array)
    physical = np.ascontiguousarray(array if order is None else array.transpose(order))
    return physical.data.cast("B") if physical.size else memoryview(bytearray()), order


def _memory(tensor: torch.Tensor) -> memoryview:
    """A view of the bytes of a contiguous tensor. numpy views are much cheaper than torch's, Python's cheaper still."""
    dtypes = _torch_dtypes()
    if tensor.dtype is dtypes["bfloat16"]:  # numpy has no such dtype
        tensor = tensor.view(dtypes["int16"])
    array = tensor.numpy()
    return array.data.cast("B") if array.size else memoryview(bytearray())


def tensor_from_bytes(
    buffer: bytes | bytearray | memoryview,
    dtype: str,
    shape: Sequence[int],
    dim_order: Sequence[int] | None = None,
) -> Tensor:
    """Call `tensor_from_pieces` with the elements in one piece."""
    return tensor_from_pieces((memoryview(buffer).cast("B"),), dtype, shape, dim_order)


def tensor_from_pieces(
    pieces: Sequence[bytes | bytearray | memoryview],
    dtype: str,
    shape: Sequence[int],
    dim_order: Sequence[int] | None = None,
) -> Tensor:
    """Copy bytes into a new tensor, whose memory torch allocates and aligns in a process that has imported torch.

    Args:
        pieces: the elements in physical order, as `tensor_to_bytes` gives them, split anywhere. A memoryview must have
            items of one byte. No reference to them remains.
        dtype: torch's name without the prefix.
        shape: logical shape.
        dim_order: physical order of the dimensions, None for the usual one.

    Raises:
        MalformedError: an unknown dtype, a negative size, a length that does not fit the shape, a dim order that is
            not a permutation, or a bool that is neither 0 nor 1.
    """
    torch = sys.modules.get("torch")
    kind: Any = _numpy_dtype(dtype) if torch is None else torch_dtype(dtype)
    expected, got = math.prod(shape) * kind.itemsize, sum(map(len, pieces))
    if got != expected:
        if min(shape, default=0) < 0:
            raise MalformedError(f"shape {tuple(shape)} has a negative size")
        raise MalformedError(f"{dtype} of shape {tuple(shape)} takes {expected} bytes, got {got}")
    if dtype == "bool" and any(np.frombuffer(piece, np.uint8).max(initial=0) > 1 for piece in pieces):
        raise MalformedError("a bool must be sent as 0 or 1")
    if dim_order is not None and sorted(dim_order) != list(range(len(shape))):
        raise MalformedError(f"dim_order {tuple(dim_order)} is not a permutation of the {len(shape)} dimensions")
    try:
        tensor, memory = (_new_array if torch is None else _new_tensor)(kind, shape, dim_order)
    except (
        RuntimeError,
        TypeError,
        ValueError,
        OverflowError,
    ):  # negative sizes, or a size of 0 together with sizes too large for a tensor
        raise MalformedError(f"no tensor can have shape {tuple(shape)}") from None
    at = 0
    for piece in pieces:
        end = at + len(piece)
        memory[at:end] = piece
        at = end
    return tensor


def _new_tensor(
    dtype: torch.dtype, shape: Sequence[int], dim_order: Sequence[int] | None
) -> tuple[torch.Tensor, memoryview]:
    """A new tensor of torch, and its memory in physical order."""
    torch = sys.modules["torch"]
    if dim_order is None:
        tensor = torch.empty(shape, dtype=dtype)
        return tensor, _memory(tensor)
    tensor = torch.empty_permuted(tuple(shape), tuple(dim_order), dtype=dtype)
    return tensor, _memory(tensor.permute(tuple(dim_order)))


def _new_array(
    dtype: np.dtype[Any], shape: Sequence[int], dim_order: Sequence[int] | None
) -> tuple[NDArray[Any], memoryview]:
    """A new array of numpy, and its memory in physical order."""
    order = tuple(range(len(shape))) if dim_order is None else tuple(dim_order)
    physical = np.empty([shape[dim] for dim in order], dtype)
    memory = physical.data.cast("B") if physical.size else memoryview(bytearray())
    return physical.transpose(np.argsort(order)), memory


def as_received(tensor: Tensor) -> Tensor:
    """Return the tensor that the other side receives when this one is sent: equal bits and dim order, dense, a copy."""
    data, order = tensor_to_bytes(tensor)
    return tensor_from_bytes(data, dtype_name(tensor.dtype), tensor.shape, order)


def largest_error(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference as a share of the largest element of the same value; infinite if shapes differ."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if not is_tensor(b):
            worst = max(worst, 0.0 if a == b else float("inf"))
        elif tuple(a.shape) != tuple(b.shape) or a.dtype != b.dtype:
            return float("inf")
        elif math.prod(b.shape):
            own, other = (to_numpy(value).astype(np.float64) for value in (a, b))
            difference = float(np.abs(own - other).max()) / (float(np.abs(other).max()) or 1.0)
            worst = max(worst, difference if difference == difference else float("inf"))  # noqa: PLR0124 - NaN
    return worst
