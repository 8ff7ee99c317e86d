"""Writes heads and tails of a network as ONNX graphs that share one file of weights."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Final

import onnx
import onnx_ir as ir
from onnx import numpy_helper

from midcut.errors import ExecutorError
from midcut.exported.manifest import WEIGHTS, SavedSegment, SavedSegments, Weight
from midcut_executors.export_cache import cache_folder
from midcut_executors.exported import Exported
from midcut_executors.weight_pool import content_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from midcut.protocols import Network

_SEPARATE_BYTES: Final = 1024  # smaller weights stay in their graph
_ALIGNMENT: Final = 64


def save_segments(network: Network, cuts: Sequence[int], graphs: Path, weights: Path, identity: str) -> SavedSegments:
    """Write the whole network, and the head before and the tail after each cut.

    Args:
        graphs: the archive to write.
        weights: the file to write.
        identity: of the executor.

    Raises:
        ExecutorError: PyTorch cannot export the network.
    """
    export = Exported(network, cache_folder())
    last = network.table.last
    segments: dict[tuple[int, int], SavedSegment] = {}
    refused: dict[int, str] = {}
    with zipfile.ZipFile(graphs, "w", zipfile.ZIP_DEFLATED) as archive, weights.open("wb") as file:
        pool = _Pool(file)
        segments[0, last] = _save(export, 0, last, archive, pool)
        for cut in cuts:
            try:
                for ends in ((0, cut), (cut, last)):
                    if ends[0] != ends[1] and ends not in segments:
                        segments[ends] = _save(export, *ends, archive, pool)
            except ExecutorError as error:
                refused[cut] = str(error)
    return SavedSegments(tuple(segments.values()), tuple(pool.weights), refused, identity)


def _save(export: Exported, start: int, stop: int, archive: zipfile.ZipFile, pool: _Pool) -> SavedSegment:
    part = export.part(start, stop)
    if part.model is None:
        return SavedSegment(start, stop, "", part.inputs, part.outputs, part.passed, {})
    proto = ir.to_proto(ir.external_data.load_to_model(part.model))
    moved = {
        tensor.name: pool.move(tensor)
        for tensor in proto.graph.initializer
        if numpy_helper.to_array(tensor).nbytes >= _SEPARATE_BYTES
    }
    name = f"{start}-{stop}.onnx"
    archive.writestr(name, proto.SerializeToString())
    return SavedSegment(
        start,
        stop,
        name,
        part.inputs,
        part.outputs,
        part.passed,
        moved,
        part.ints,
        dict(part.orders),
        needs_packing(proto),
    )


def needs_packing(proto: onnx.ModelProto) -> bool:
    """Whether packed matrices make a graph faster: those of a Gemm meet one row for each picture, and do not.

    Measured on one thread, batch size 1: without packing ViT-B/32 takes 1.29 of its time, ResNet-18, MobileNetV2 and
    AlexNet 0.87 to 1.05. Each session that packs a matrix has a copy of it.
    """
    return any("MatMul" in node.op_type for node in proto.graph.node)


class _Pool:
    """A file with one copy of each weight, by its content."""

    def __init__(self, file: BinaryIO) -> None:
        self.weights: list[Weight] = []
        self._file = file
        self._numbers: dict[bytes, int] = {}

    def move(self, tensor: onnx.TensorProto) -> int:
        """Move the content of a tensor to the file; returns its number."""
        array = numpy_helper.to_array(tensor)
        content, key = array.tobytes(), content_key(array)
        if key not in self._numbers:
            self._file.write(bytes(-self._file.tell() % _ALIGNMENT))
            self._numbers[key] = len(self.weights)
            self.weights.append(Weight(self._file.tell(), array.dtype.name, array.shape))
            self._file.write(content)
        number = self._numbers[key]
        for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(field)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        place = {"location": WEIGHTS, "offset": self.weights[number].offset, "length": len(content)}
        for name, value in place.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = name, str(value)
        return number
