#!/usr/bin/env bash
# OpenVINO's model cache, asked by a path, does not look at the file of the weights: after new weights, the old model runs.
#
# Guessed: with CACHE_DIR set, `compile_model(path)` finds by itself that a model has changed, as the compiled model in the
# cache holds the weights. Seen (openvino 2026.4.1): an entry is found by the path, the size and the time, in seconds, of the
# .xml or .onnx file. Where only the other file changes, the .bin or the external data of ONNX, as after training the same
# network again and copying what differs, the answers stay those of the old weights, and the cache reports a hit. So do those
# of a single .onnx file of the same size and time (a copy that keeps times, or files whose times are set to one value, as in
# reproducible images). `compile_model(read_model(path))` hashes the weights and answers rightly with the same cache.
# Output seen (right: 64 with the old weights, 128 with the new):
#   .xml and .bin, new .bin: by path 64 (from the cache), read first 128 (compiled)
#   .onnx and external data, new data: by path 64 (from the cache), read first 128 (compiled)
#   .onnx alone, new file of the same size and time: by path 64 (from the cache), read first 128 (compiled)
#   .onnx alone, new file of the same size: by path 128 (compiled), read first 128 (compiled)
# Exits with 1 if this has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6 2> /dev/null
cat > "$folder/measure.py" << 'PYTHON'
import os
import sys
from pathlib import Path

import numpy as np
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

SIDE, OLD, NEW = 64, 1_700_000_000, 1_800_000_000  # the last two are times of files, in seconds
folder = Path(sys.argv[1])


def write(kind, value):
    """The files of a model that multiplies by a square matrix of one value, and the one that compile_model is given."""
    matrix = np.full((SIDE, SIDE), value, np.float32)
    weight = numpy_helper.from_array(matrix, "w")
    if kind == "data":
        weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[SIDE, SIDE], data_location=TensorProto.EXTERNAL)
        weight.external_data.add(key="location", value="data.bin")
        matrix.tofile(folder / "data.bin")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, SIDE]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = folder / f"{kind}.onnx"
    path.write_bytes(model.SerializeToString())
    if kind != "ir":
        return path
    ov.save_model(ov.Core().read_model(path), folder / "ir.xml", compress_to_fp16=False)
    return folder / "ir.xml"


def ask(path, cache, read_first):
    core = ov.Core()
    config = {"CACHE_DIR": str(folder / cache), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(path) if read_first else str(path), "CPU", config)
    answer = int(compiled(np.ones((1, SIDE), np.float32))[0][0, 0])
    return answer, "from the cache" if compiled.get_property("LOADED_FROM_CACHE") else "compiled"


def change(kind, time, name):
    answers = []
    for read_first in (False, True):
        cache = f"{kind}-{time}-{read_first}"
        path = write(kind, 1.0)
        before = path.read_bytes()
        os.utime(path, (OLD, OLD))
        if ask(path, cache, read_first) != (SIDE, "compiled"):
            raise SystemExit(f"{name}: the first answer is not that of the first weights")
        write(kind, 2.0)  # the time of the weights' own file is that of now
        os.utime(path, (time, time))
        if (path.read_bytes() == before) != (kind != "alone"):
            raise SystemExit(f"{name}: the model file is not as the finding has it")
        answers.append(ask(path, cache, read_first))
    texts = ["{} ({})".format(*answer) for answer in answers]
    print(f"{name}: by path {texts[0]}, read first {texts[1]}")
    return answers


stale, fresh = (SIDE, "from the cache"), (2 * SIDE, "compiled")
found = [
    change("ir", OLD, ".xml and .bin, new .bin"),
    change("data", OLD, ".onnx and external data, new data"),
    change("alone", OLD, ".onnx alone, new file of the same size and time"),
    change("alone", NEW, ".onnx alone, new file of the same size"),
]
sys.exit(found != [[stale, fresh]] * 3 + [[fresh, fresh]])
PYTHON
"$folder/venv/bin/python" "$folder/measure.py" "$folder"
