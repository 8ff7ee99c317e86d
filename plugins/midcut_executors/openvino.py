"""Execution in OpenVINO."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import openvino as ov
import torch

from midcut_executors.runtime import RuntimeExecutor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from midcut_executors.runtime import Compiled


class OpenVino(RuntimeExecutor):
    """Runs segments in OpenVINO on the CPU, in float32 unless bfloat16 is asked for.

    Args:
        threads: of one run; None as many as PyTorch.
        precision: `f32` or `bf16`. OpenVINO's own default is bfloat16 where the processor has it.
        tolerance: see RuntimeExecutor.
        segments: see RuntimeExecutor.
    """

    def __init__(self, threads: int | None, precision: str, tolerance: float, segments: int) -> None:
        self._core = ov.Core()
        self._options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        version = ov.__version__.partition("-")[0]
        super().__init__(f"openvino {version} {precision}", self._compiled, tolerance, segments)

    def _compiled(self, model: ir.Model) -> Compiled:
        model = ir.external_data.load_to_model(model)
        read = self._core.read_model(ir.to_proto(model).SerializeToString())
        compiled = self._core.compile_model(read, "CPU", self._options)
        own = threading.local()  # a request object serves one thread at a time

        def run(arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            results = own.request.infer(list(arrays), share_inputs=True, share_outputs=False)
            return [results[output] for output in compiled.outputs]

        return run
