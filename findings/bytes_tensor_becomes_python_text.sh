#!/usr/bin/env bash
# ONNX Runtime takes bytes for a string tensor and makes Python's own text of them, b'cat': what tritonclient reads is such bytes.
#
# Guessed: an array of objects of type `bytes` is read as UTF-8, which is what a string tensor holds in the ONNX format, or
# refused. Seen (onnxruntime 1.32.0, tritonclient 2.73.0): each object goes through Python's `str`, so that the
# string in the model is "b'cat'", with the letter b and the quotes, and None becomes "None"; a table in the model finds no
# key. tritonclient returns `str` objects for a BYTES output that came as JSON and `bytes` for the same output that came as
# binary data, so that a switch between the two changes what the next model gets. Nothing warns. OpenVINO refuses both, and
# onnx.numpy_helper stores both as the same tensor.
# Output seen:
#   JSON: tritonclient gives str cat, ONNX Runtime sees cat, table gives 7; OpenVINO: refused
#   binary: tritonclient gives bytes b'cat', ONNX Runtime sees b'cat', table gives -1; OpenVINO: refused
#   onnx.numpy_helper: both are the same tensor; ONNX Runtime for None: None
# Exits with 1 if this has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 openvino==2026.4.1 onnx==1.23.2 \
    'tritonclient[http]==2.73.0' numpy==2.4.6 2> /dev/null
cat > "$folder/measure.py" << 'PYTHON'
import json
import struct
import sys

import numpy as np
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto, helper, numpy_helper
from tritonclient.http import InferResult

table = helper.make_node(
    "LabelEncoder", ["x"], ["class"], domain="ai.onnx.ml", keys_strings=["cat"], values_int64s=[7], default_int64=-1
)
nodes = [helper.make_node("Identity", ["x"], ["seen"]), table]
ends = [helper.make_tensor_value_info(name, TensorProto.STRING, [1]) for name in ("x", "seen")]
ends.append(helper.make_tensor_value_info("class", TensorProto.INT64, [1]))
graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 4)]
model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def answer(output, tail=b""):
    """What the client reads out of a server's answer with one output of the type BYTES and the shape [1]."""
    header = json.dumps({"model_name": "m", "outputs": [{"name": "y", "datatype": "BYTES", "shape": [1], **output}]})
    header = header.encode()
    length = len(header) if tail else None
    return InferResult.from_response_body(header + tail, header_length=length).as_numpy("y")


def in_openvino(array):
    try:
        ov.Tensor(array)
    except RuntimeError:
        return "refused"
    return "taken"


tail = struct.pack("<I", 3) + b"cat"
ways = {"JSON": answer({"data": ["cat"]}), "binary": answer({"parameters": {"binary_data_size": len(tail)}}, tail)}
found = []
for way, array in ways.items():
    seen, number = (output[0] for output in session.run(None, {"x": array}))
    kind, other = type(array[0]).__name__, in_openvino(array)
    print(f"{way}: tritonclient gives {kind} {array[0]}, ONNX Runtime sees {seen}, table gives {number}; OpenVINO: {other}")
    found.append((kind, seen, int(number), other))
stored = [numpy_helper.from_array(array).SerializeToString() for array in ways.values()]
nothing = session.run(["seen"], {"x": np.array([None], object)})[0][0]
equal = "both are the same tensor" if stored[0] == stored[1] else "the two differ"
print(f"onnx.numpy_helper: {equal}; ONNX Runtime for None: {nothing}")
expected = [("str", "cat", 7, "refused"), ("bytes", "b'cat'", -1, "refused")]
sys.exit(not (found == expected and stored[0] == stored[1] and nothing == "None"))
PYTHON
"$folder/venv/bin/python" "$folder/measure.py"
