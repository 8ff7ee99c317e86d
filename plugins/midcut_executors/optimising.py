"""The graph that ONNX Runtime makes of a graph, to be changed or run by another session."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort


def optimised(given: bytes | str, options: ort.SessionOptions, folder: str) -> onnx.ModelProto:
    """Optimise a graph.

    Args:
        given: its bytes, or its file.
        options: of the session, which are changed; how far to optimise is one of them.
        folder: for files; nothing needs them afterwards.
    """
    options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
    ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath)
