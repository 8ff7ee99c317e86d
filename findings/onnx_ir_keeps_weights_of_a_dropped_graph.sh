#!/usr/bin/env bash
# The weights of a graph of onnx_ir stay in memory after the last name of it is gone, until the collector looks at old objects.
#
# Guessed: a graph that is extracted, converted with `onnx_ir.to_proto` and dropped gives its weights back at once. Seen
# (onnx-ir 1.1.0): nodes, values and graphs refer to one another in circles, so that the weights are alive after `del`, also
# after `gc.collect(1)` where the graph had grown old; `gc.collect()` frees them, and so does setting `const_value = None` on
# each initializer before the graph is dropped. A process that makes one graph after the other, with large weights and few
# other objects, grows.
# Output seen:
#   onnx_ir model dropped: 8 of 8 weights alive, after gc.collect(1) 8, after gc.collect() 0
#   onnx_ir model whose const_value were cleared, dropped: 0 of 8 weights alive
# Exits with 1 if this has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx-ir==1.1.0 onnx==1.23.2 numpy==2.4.6 2> /dev/null
cat > "$folder/measure.py" << 'PYTHON'
import gc
import weakref

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.convenience import extract

COUNT, SIDE = 8, 256
gc.disable()  # so that only the calls below collect


def proto():
    weights = [numpy_helper.from_array(np.full((SIDE, SIDE), i, np.float32), f"w{i}") for i in range(COUNT)]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(COUNT)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, SIDE]) for name in ("x0", f"x{COUNT}")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def in_memory(clear):
    """References to the weights of a part of a model, which is made, converted and dropped."""
    whole = ir.from_proto(proto())
    for value in whole.graph.initializers.values():
        value.const_value = ir.tensor(value.const_value.numpy().copy(), name=value.name)
    part = ir.Model(extract(whole.graph, ["x0"], [f"x{COUNT}"]), ir_version=10)
    for value in part.graph.initializers.values():
        value.const_value = ir.tensor(value.const_value.numpy().copy(), name=value.name)
    references = [weakref.ref(value.const_value) for value in part.graph.initializers.values()]
    ir.to_proto(part).SerializeToString()
    if clear:
        for value in part.graph.initializers.values():
            value.const_value = None
    gc.collect(0), gc.collect(1)  # the graph has grown old
    return references


def alive(references):
    return sum(reference() is not None for reference in references)


references = in_memory(clear=False)
counts = [alive(references)]
gc.collect(1)
counts.append(alive(references))
gc.collect()
counts.append(alive(references))
old, all_ = counts[1:]
print(f"onnx_ir model dropped: {counts[0]} of {COUNT} weights alive, after gc.collect(1) {old}, after gc.collect() {all_}")
cleared = alive(in_memory(clear=True))
print(f"onnx_ir model whose const_value were cleared, dropped: {cleared} of {COUNT} weights alive")
raise SystemExit((*counts, cleared) != (COUNT, COUNT, 0, 0))
PYTHON
"$folder/venv/bin/python" "$folder/measure.py"
