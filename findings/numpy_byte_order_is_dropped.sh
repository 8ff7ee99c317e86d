#!/usr/bin/env bash
# ONNX Runtime, and OpenVINO's Tensor and Constant, take a big-endian numpy array for a little-endian one, without a word.
#
# Guessed: an array of dtype `>f4` is converted, as numpy does on `astype`, or refused, as ONNX Runtime refuses float64 for a
# float32 input. Seen (onnxruntime 1.32.0, openvino 2026.4.1, numpy 2.4.6, x86-64): only the kind and the size of the dtype
# are looked at, and the bytes are read in the order of the machine: 1.0 becomes 4.6e-41. It is so in `run`, `OrtValue` and
# the IO binding of ONNX Runtime, and in `openvino.Tensor` and `opset13.constant`, also where they copy; an OpenVINO model
# that gets the array itself converts it rightly, so that in OpenVINO the two ways of giving one array differ. onnx refuses
# such an array as a weight, tritonclient as an input, and safetensors swaps it when it saves. Pillow gives such arrays for
# big-endian 16-bit TIFF files (`>u2`).
# Output seen:
#   Pillow: 16-bit TIFF of the values 1 256 is an array >u2 with 1 256
#   ONNX Runtime: run 256 1, OrtValue 256 1, IO binding 256 1
#   OpenVINO: model(array) 1 256, model(Tensor(array)) 256 1, Constant 256 1
#   safetensors: 1 256; tritonclient: refused; onnx: refused
# Exits with 1 if this has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 openvino==2026.4.1 onnx==1.23.2 \
    safetensors==0.8.0 'tritonclient[http]==2.73.0' pillow==13.0.0 numpy==2.4.6 2> /dev/null
cat > "$folder/measure.py" << 'PYTHON'
import io
import sys

import numpy as np
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto, helper, numpy_helper
from openvino import opset13
from PIL import Image
from safetensors.numpy import load, save
from tritonclient import http
from tritonclient.utils import InferenceServerException

if sys.byteorder != "little":
    raise SystemExit("this machine is big-endian: the finding is about the other kind")

file = io.BytesIO()
Image.frombytes("I;16B", (2, 1), bytes([0, 1, 1, 0])).save(file, "TIFF")
frame = np.asarray(Image.open(file))

ends = [helper.make_tensor_value_info(name, TensorProto.UINT16, [1, 2]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
core = ov.Core()
compiled = core.compile_model(core.read_model(model), "CPU")


def bound():
    binding = session.io_binding()
    binding.bind_cpu_input("x", frame)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    return binding.copy_outputs_to_cpu()[0]


def refused(call, error):
    try:
        call()
    except error:
        return "refused"
    return "taken"


def text(array):
    return " ".join(str(int(number)) for number in np.ravel(array))


in_ort = [session.run(None, {"x": frame})[0], ort.OrtValue.ortvalue_from_numpy(frame).numpy(), bound()]
in_openvino = [compiled(frame)[0], compiled(ov.Tensor(frame))[0], opset13.constant(frame).data]
saved = load(save({"x": frame}))["x"]
by_client = refused(lambda: http.InferInput("x", [1, 2], "UINT16").set_data_from_numpy(frame), InferenceServerException)
by_onnx = refused(lambda: numpy_helper.from_array(frame), ValueError)
print(f"Pillow: 16-bit TIFF of the values 1 256 is an array {frame.dtype.str} with {text(frame)}")
print("ONNX Runtime: run {}, OrtValue {}, IO binding {}".format(*map(text, in_ort)))
print("OpenVINO: model(array) {}, model(Tensor(array)) {}, Constant {}".format(*map(text, in_openvino)))
print(f"safetensors: {text(saved)}; tritonclient: {by_client}; onnx: {by_onnx}")
right, swapped = "1 256", "256 1"
same = frame.dtype.str == ">u2" and text(frame) == text(saved) == right and by_client == by_onnx == "refused"
same = same and [text(array) for array in in_ort] == [swapped] * 3
sys.exit(not (same and [text(array) for array in in_openvino] == [right, swapped, swapped]))
PYTHON
"$folder/venv/bin/python" "$folder/measure.py"
