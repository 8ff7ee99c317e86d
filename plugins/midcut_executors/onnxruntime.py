"""Execution in ONNX Runtime."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import onnx_ir as ir
import onnxruntime as ort
import structlog
import torch

from midcut.errors import ConfigError, MidcutError
from midcut.exported import use_shared_arena
from midcut.protocols import PicturedNetwork, WeightedNetwork
from midcut_executors.comparing import INT8_TOLERANCE, TOLERANCE
from midcut_executors.config import Accuracy, tolerance_of
from midcut_executors.optimising import optimised
from midcut_executors.runtime import Compiled, RuntimeExecutor, onnx_source
from midcut_executors.saved import needs_packing, save_segments
from midcut_executors.weight_pool import POOL_FILE, WeightPool

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from midcut.exported.manifest import SavedSegments
    from midcut.protocols import Network
    from midcut_executors.exported import Exported
    from midcut_executors.int8 import Quantiser
    from midcut_executors.runtime import Inputs

_LARGE_BYTES: Final = 1024 * 1024
_PICTURES: Final = 30
_COMPARED_PICTURES: Final = 5
_log = structlog.get_logger("midcut.executor")


def _inputs_of_pictures(network: Network, folder: str) -> Sequence[Inputs]:
    pictures = network.pictures if isinstance(network, PicturedNetwork) else None
    if pictures is None:
        raise ConfigError(f"no pictures become inputs of model {network.table.model!r} here")
    return pictures(folder, _PICTURES, "executor.calibration")


def _folder_state(folder: str) -> str:
    """The path of a folder and a digest of its files' names, sizes and times."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).rglob("*")):
        with contextlib.suppress(OSError):  # gone, or not to be read: another state
            status = file.stat()
            digest.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    return f"{Path(folder).resolve()} {digest.hexdigest()[:16]}"


class OnnxRuntime(RuntimeExecutor):
    """Runs segments in ONNX Runtime on the CPU. All segments share one copy of each weight.

    Args:
        threads: of one run; None as many as PyTorch.
        tolerance: see RuntimeExecutor.
        segments: see RuntimeExecutor.
        accuracy: with `bits`, no convolution works on blocks of channels, as what is merged there depends on the cut;
            with `fast`, 8-bit integers.
        calibration: folder of pictures whose values give the ranges of the integers, for `fast`.
    """

    def __init__(
        self,
        threads: int | None,
        tolerance: float | None,
        segments: int,
        accuracy: Accuracy = Accuracy.float32,
        calibration: str | None = None,
    ) -> None:
        self._calibration = calibration
        self._quantisers: dict[str, Quantiser] = {}
        self._threads = threads or torch.get_num_threads()
        self.conditions = f"threads {self._threads}"
        if calibration is not None:
            self.conditions += f", ranges of {_folder_state(calibration)}"
        self._pool = WeightPool()
        self._exact = accuracy is Accuracy.bits
        super().__init__(
            f"onnxruntime {ort.__version__} {'int8' if accuracy is Accuracy.fast else accuracy}",
            self._session,
            tolerance_of(accuracy, tolerance, INT8_TOLERANCE),
            segments,
            exact=self._exact,
        )
        self._in_int8 = self.identity, self.tolerance
        self._in_float32 = (
            f"onnxruntime {ort.__version__} float32",
            tolerance_of(Accuracy.float32, tolerance, TOLERANCE),
        )

    def save(self, network: Network, cuts: Sequence[int], graphs: Path, weights: Path) -> SavedSegments:
        """As `midcut.exported.manifest.SegmentWriter.save`."""
        return save_segments(network, cuts, graphs, weights, self.identity)

    def drop(self, network: Network) -> None:
        super().drop(network)
        self._quantisers.pop(network.table.fingerprint, None)

    def close(self) -> None:
        super().close()
        self._quantisers.clear()

    def _samples(self, network: Network, export: Exported) -> Sequence[Inputs]:
        if self._calibration is None:
            return super()._samples(network, export)
        try:
            inputs = _inputs_of_pictures(network, self._calibration)
            from midcut_executors.int8 import Quantiser  # noqa: PLC0415 - only where it is chosen

            began = time.perf_counter()
            quantiser = Quantiser(export, inputs, self._options())
        except Exception as error:  # noqa: BLE001 - the runtime that takes the ranges raises classes of its own
            reason = str(error) if isinstance(error, MidcutError) else f"{type(error).__name__}: {error}"
            reason = " ".join(reason.split())[:300]
            _log.warning("executor.accuracy=fast computes in float32", model=network.table.model, reason=reason)
            self._quantisers.pop(network.table.fingerprint, None)
            if not self._quantisers:
                self.identity, self.tolerance = self._in_float32
            return super()._samples(network, export)
        self._quantisers[network.table.fingerprint] = quantiser
        self.identity, self.tolerance = self._in_int8  # another model may have stayed in float32
        took_s = round(time.perf_counter() - began, 1)
        _log.info("ranges of 8-bit integers", model=network.table.model, pictures=len(inputs), took_s=took_s)
        return inputs[:_COMPARED_PICTURES]

    def _compile_part(self, network: Network, model: ir.Model) -> Compiled:
        there = network.weights if isinstance(network, WeightedNetwork) else ()
        return self._session(model, there, self._quantisers.get(network.table.fingerprint))

    def _session(
        self, model: ir.Model, there: Sequence[torch.Tensor] = (), quantiser: Quantiser | None = None
    ) -> Compiled:
        """Optimise once, for this processor, and run what came out with the weights of the pool."""
        large = _take_large(model) if quantiser is None else {}
        with tempfile.TemporaryDirectory(prefix="midcut-onnx-") as folder:
            if quantiser is None:
                given = onnx_source(model, Path(folder))
            else:
                given = quantiser.quantise(model, self._options()).SerializeToString()
            options = self._options()
            options.add_session_config_entry("session.disable_prepacking", "1")  # this session never runs
            if self._exact:
                options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            proto = optimised(given, options, folder)
            held = {name: self._pool.insert(proto, name, weight, there) for name, weight in large.items()}
            held |= self._pool.take([tensor for tensor in proto.graph.initializer if tensor.name not in held], there)
            options = self._options()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            # A weight that is given as an external initializer instead is copied by each session. The file is not read.
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
            with (Path(folder) / POOL_FILE).open("wb") as file:
                file.truncate(max((weight.nbytes for weight in held.values()), default=0))
            for name, weight in held.items():
                options.add_initializer(name, weight.value)
            packing = quantiser is not None or needs_packing(proto)
            options.add_session_config_entry("session.disable_prepacking", str(int(not packing)))
            session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]

        def run(arrays: Sequence[NDArray[Any]], _held: Any = held) -> Sequence[NDArray[Any]]:
            outputs: Sequence[NDArray[Any]] = session.run(None, dict(zip(names, arrays, strict=True)))
            return outputs

        weights: dict[Hashable, int] = {weight: weight.nbytes for weight in held.values()}
        if packing:  # the session holds a rearranged copy of its matrices
            weights[session] = sum(weights.values())
        return Compiled(run, weights)

    def _options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # a saved optimised model warns that it is for this processor only, which it is
        # Idle threads that wait in a busy loop would take the processor from the link and the planner.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        use_shared_arena(options)
        return options


def _take_large(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Make the large weights of matrix products inputs, as no optimisation changes them; returns them by name.

    They would be copied to a file and back, and hashed, with each segment: seconds for the last layers of VGG16.
    """
    large = {}
    for name, value in list(model.graph.initializers.items()):
        weight = value.const_value
        if weight is None or weight.nbytes < _LARGE_BYTES or value in model.graph.outputs:
            continue
        if all(usage.node.op_type == "Gemm" and usage.idx == 1 for usage in value.uses()):
            del model.graph.initializers[name]
            value.const_value, value.shape, value.dtype = None, ir.Shape(weight.shape.numpy()), weight.dtype
            model.graph.inputs.append(value)
            large[name] = weight
    return large
