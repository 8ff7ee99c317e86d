"""One copy of each weight for all sessions of ONNX Runtime, where that is possible the one of PyTorch."""

from __future__ import annotations

import hashlib
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

POOL_FILE: Final = "pool"
"""The file in which a graph says that its weights are; a session does not read it."""
_POOLED_BYTES: Final = 1024  # smaller weights stay in their session
_LINE_BYTES: Final = 64
_FEW, _PIECE = 64, 1024 * 1024  # elements


class WeightPool:
    """One copy of each weight, by its content, for as long as a session uses it."""

    def __init__(self) -> None:
        self._weights: weakref.WeakValueDictionary[bytes, _Weight] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def take(self, tensors: Sequence[onnx.TensorProto], there: Sequence[torch.Tensor]) -> dict[str, _Weight]:
        """Move the weights of a model to the pool; returns name -> weight, which must live as long as the session.

        Args:
            there: tensors in memory, whose memory is used where they are equal to a weight.
        """
        sizes = {tensor.name: len(tensor.raw_data) for tensor in tensors}
        return {tensor.name: self._move(tensor, there) for tensor in tensors if sizes[tensor.name] >= _POOLED_BYTES}

    def insert(
        self, proto: onnx.ModelProto, name: str, tensor: ir.TensorProtocol, there: Sequence[torch.Tensor]
    ) -> _Weight:
        """Make an input of a model a weight in the pool. For `there` see `take`."""
        (given,) = (value for value in proto.graph.input if value.name == name)
        proto.graph.input.remove(given)
        shape = tensor.shape.numpy()
        _mark_external(proto.graph.initializer.add(name=name, data_type=given.type.tensor_type.elem_type, dims=shape))
        if isinstance(tensor, ir.ExternalTensor):
            return self._shared(
                f"{tensor.path} {tensor.offset} {shape}".encode(), lambda: _in_memory_or_file(tensor, there)
            )
        # One that an optimisation made has no place in the file, and another may get its id once it is gone.
        array = tensor.numpy()
        return self._shared(content_key(array), lambda: _in_memory(array, there))

    def _move(self, tensor: onnx.TensorProto, there: Sequence[torch.Tensor]) -> _Weight:
        array = numpy_helper.to_array(tensor)
        weight = self._shared(content_key(array), lambda: _in_memory(array, there))
        tensor.ClearField("raw_data")
        _mark_external(tensor)
        return weight

    def _shared(self, key: bytes, read: Callable[[], NDArray[Any]]) -> _Weight:
        with self._lock:
            weight = self._weights.get(key)
            if weight is None:
                weight = self._weights[key] = _Weight(read())
        return weight


def _in_memory(array: NDArray[Any], there: Sequence[torch.Tensor]) -> NDArray[Any]:
    """The memory of a tensor of the same bits; else the array itself."""
    if array.dtype != np.float32:
        return array
    found = _find(array.shape, lambda: _pieces_of_array(array), there)
    return array if found is None else found


def _in_memory_or_file(weight: ir.ExternalTensor, there: Sequence[torch.Tensor]) -> NDArray[Any]:
    """The memory of a tensor of the same bits; else that of the mapped file."""
    found = None
    if weight.dtype == ir.DataType.FLOAT:
        found = _find(tuple(weight.shape.numpy()), lambda: _pieces_of_file(weight), there)
    return weight.numpy() if found is None else found


def _find(
    shape: tuple[int, ...], pieces: Callable[[], Iterator[NDArray[Any]]], there: Sequence[torch.Tensor]
) -> NDArray[Any] | None:
    """The memory of a float32 tensor of that shape with the bits of these pieces; None where there is none."""
    for tensor in there:
        if tensor.shape == shape and tensor.dtype is torch.float32 and _is_plain(tensor):
            held: NDArray[Any] = tensor.detach().numpy()
            if all(np.array_equal(*pair) for pair in zip(_pieces_of_array(held), pieces(), strict=True)):
                return held
    return None


def _parts(size: int) -> Iterator[tuple[int, int]]:
    """A few elements, which tell most weights apart, then some megabytes at a time, which take no room."""
    start = 0
    for stop in (*range(_FEW, size, _PIECE), size):
        yield start, min(stop, size)
        start = stop


def _pieces_of_array(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    bits = array.reshape(-1).view(np.uint32)
    return (bits[start:stop] for start, stop in _parts(bits.size))


def _pieces_of_file(weight: ir.ExternalTensor) -> Iterator[NDArray[Any]]:
    """Read, not mapped, as all of it would be in memory after the comparison."""
    with Path(weight.path).open("rb") as file:
        file.seek(weight.offset or 0)
        for start, stop in _parts(weight.size):
            yield np.fromfile(file, np.uint32, stop - start)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether it lies in memory as an array of numpy does, and holds no more than that; other classes may not."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and tensor.untyped_storage().nbytes() == tensor.nbytes
    )


def content_key(array: NDArray[Any]) -> bytes:
    """The same for arrays of the same bits, shape and dtype alone."""
    content = array.reshape(-1).view(np.uint8).data
    return hashlib.blake2b(content, digest_size=16, key=f"{array.dtype}{array.shape}".encode()[:64]).digest()


def _mark_external(tensor: onnx.TensorProto) -> None:
    """Let a session take the weight from its options."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", POOL_FILE


class _Weight:
    def __init__(self, array: NDArray[Any]) -> None:
        self.value = ort.OrtValue.ortvalue_from_numpy(_aligned(array))
        self.nbytes = array.nbytes


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    """The array, copied if its memory does not begin where a line of the cache does: each wide load would touch two."""
    if array.ctypes.data % _LINE_BYTES == 0:
        return array
    buffer = np.empty(array.nbytes + _LINE_BYTES, np.uint8)
    start = -buffer.ctypes.data % _LINE_BYTES
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
