"""8-bit integers in ONNX Runtime: parts of a network, quantised by the ranges that its values have on pictures."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from midcut_executors.optimising import optimised
from midcut_executors.runtime import onnx_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx
    import onnx_ir as ir
    from numpy.typing import NDArray

    from midcut_executors.exported import Exported

_X86: Final = ("x86_64", "AMD64")
_TYPES: Final = (
    *("Conv", "Gemm", "MatMul", "Add", "Mul", "Clip", "Relu", "Reshape"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"),
)


class Quantiser:
    """Makes parts of one network compute in 8 bits: activations per tensor, weights per channel.

    The ranges come from the whole network once, so that heads and tails round the same value in the same way.

    Args:
        export: of the network.
        inputs: of the network, for pictures of what it will see.
        options: of the session that runs it, which is changed.
    """

    def __init__(self, export: Exported, inputs: Sequence[Sequence[Any]], options: ort.SessionOptions) -> None:
        lowest: dict[str, float] = {}
        highest: dict[str, float] = {}
        for values in _values(export, inputs, options):
            for name, array in values.items():
                lowest[name] = min(lowest.get(name, np.inf), float(array.min()))
                highest[name] = max(highest.get(name, -np.inf), float(array.max()))
        self._ranges = {
            name: TensorData(lowest=np.float32(low), highest=np.float32(highest[name])) for name, low in lowest.items()
        }

    def quantise(self, model: ir.Model, options: ort.SessionOptions) -> onnx.ModelProto:
        """A model that takes and gives float32, and computes in 8 bits what it has ranges for.

        Args:
            options: of a session, which is changed and merges normalisations into convolutions first.
        """
        proto = _merged(model, options)
        weights = {tensor.name for tensor in proto.graph.initializer}
        known: list[str] = []
        unknown: list[str] = []
        for number, node in enumerate(proto.graph.node):
            node.name = node.name or f"node{number}"
            names = [name for name in (*node.input, *node.output) if name and name not in weights]
            (known if all(name in self._ranges for name in names) else unknown).append(node.name)
        ranges = TensorsData(CalibrationMethod.MinMax, dict(self._ranges))
        quantiser = QDQQuantizer(
            proto,
            per_channel=True,
            reduce_range=_saturates(),
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=known,
            nodes_to_exclude=unknown,
            op_types_to_quantize=list(_TYPES),
            extra_options={},
        )
        quantiser.quantize_model()
        quantised: onnx.ModelProto = quantiser.model.model
        return quantised


def _values(
    export: Exported, inputs: Sequence[Sequence[Any]], options: ort.SessionOptions
) -> Iterator[dict[str, NDArray[Any]]]:
    """For each input, the float values of the whole network by their names in a part."""
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(export.model_file), options, providers=["CPUExecutionProvider"])
    copies, names = export.copies, [value.name for value in session.get_inputs()]
    wanted = [value.name for value in session.get_outputs() if value.type == "tensor(float)"]
    for given in inputs:
        arrays = dict(zip(names, (value.numpy() for value in given), strict=True))
        outputs = zip(wanted, session.run(wanted, arrays), strict=True)
        yield arrays | {copies[name]: array for name, array in outputs if array.size}


def _saturates() -> bool:
    """Whether products of 8 bits overflow the sums of 16 bits of this processor: weights then get 7 bits."""
    if platform.machine() not in _X86:
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True


def _merged(model: ir.Model, options: ort.SessionOptions) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory(prefix="midcut-onnx-") as folder:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        return optimised(onnx_source(model, Path(folder)), options, folder)
