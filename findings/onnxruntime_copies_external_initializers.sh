#!/usr/bin/env bash
# A weight given to ONNX Runtime as an external initializer is copied by each session, even with packing off.
#
# Guessed: `SessionOptions.add_external_initializers` with one OrtValue over a mapped file lets all sessions use that memory,
# as the value is shared and nothing has to be packed. Seen (onnxruntime 1.32.0, x86-64): each further session takes the size
# of the weight again. `add_initializer`, with the same value and a graph that names the real file, takes nothing.
# Output seen:
#   add_external_initializers: the second session takes 1.00 of the weight
#   add_initializer: the second session takes 0.00 of the weight
# Exits with 1 if this has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 2> /dev/null
cat > "$folder/measure.py" << 'PYTHON'
import os
import sys

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

SIDE = 4096  # 64 MiB of float32
folder, way = sys.argv[1:]
np.random.default_rng(0).standard_normal((SIDE, SIDE), dtype=np.float32).tofile(f"{folder}/weight.bin")

weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[SIDE, SIDE], data_location=TensorProto.EXTERNAL)
weight.external_data.add(key="location", value="weight.bin")
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, SIDE]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], "g", ends[:1], ends[1:], [weight])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
with open(f"{folder}/model.onnx", "wb") as file:
    file.write(model.SerializeToString())
mapped = np.memmap(f"{folder}/weight.bin", np.float32, "r").reshape(SIDE, SIDE)
value = ort.OrtValue.ortvalue_from_numpy(np.asarray(mapped))


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def session():
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_prepacking", "1")
    if way == "add_initializer":
        options.add_initializer("w", value)
    else:
        options.add_external_initializers(["w"], [value])
    made = ort.InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
    made.run(None, {"x": np.ones((1, SIDE), np.float32)})
    return made


first = session()
before = resident()
second = session()
share = (resident() - before) / mapped.nbytes
print(f"{way}: the second session takes {max(share, 0.0):.2f} of the weight")
sys.exit(not (share < 0.1 if way == "add_initializer" else 0.9 < share < 1.2))
PYTHON
for way in add_external_initializers add_initializer; do
  "$folder/venv/bin/python" "$folder/measure.py" "$folder" "$way"
done
