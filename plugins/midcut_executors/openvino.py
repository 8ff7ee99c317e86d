"""Execution in OpenVINO."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openvino as ov
import structlog
import torch

from midcut_executors.config import Accuracy, tolerance_of
from midcut_executors.runtime import Compiled, RuntimeExecutor, onnx_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

_log = structlog.get_logger("midcut.executor")


class OpenVino(RuntimeExecutor):
    """Runs segments in OpenVINO on the CPU, in float32 unless bfloat16 is asked for.

    Args:
        threads: of one run; None as many as PyTorch.
        tolerance: see RuntimeExecutor.
        segments: see RuntimeExecutor.
        accuracy: `fast` is bfloat16, where the processor has it; that is OpenVINO's own default.
    """

    def __init__(
        self,
        threads: int | None,
        tolerance: float | None,
        segments: int,
        accuracy: Accuracy = Accuracy.float32,
    ) -> None:
        self._core = ov.Core()
        # A file that is mapped keeps its place on the disk, also when it is removed.
        self._core.set_property({"ENABLE_MMAP": False})
        threads = threads or torch.get_num_threads()
        self.conditions = f"threads {threads}"
        precision = "bf16" if accuracy is Accuracy.fast and self._has_bfloat16() else "f32"
        self._options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        version = ov.__version__.partition("-")[0]
        level = f"{precision} bits" if accuracy is Accuracy.bits else precision
        super().__init__(
            f"openvino {version} {level}",
            self._compiled,
            tolerance_of(accuracy, tolerance),
            segments,
            exact=accuracy is Accuracy.bits,
        )

    def _has_bfloat16(self) -> bool:
        if "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return True
        _log.warning("this processor has no bfloat16: executor.accuracy=fast computes in float32")
        return False

    def _compiled(self, model: ir.Model) -> Compiled:
        with tempfile.TemporaryDirectory(prefix="midcut-onnx-") as folder:
            read = self._core.read_model(onnx_source(model, Path(folder)))
            compiled = self._core.compile_model(read, "CPU", self._options)
        own = threading.local()  # a request object serves one thread at a time

        def run(arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            results = own.request.infer(list(arrays), share_inputs=True, share_outputs=False)
            return [results[output] for output in compiled.outputs]

        return Compiled(run)
