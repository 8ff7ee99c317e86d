#!/usr/bin/env bash
# torch.onnx exports attention with a row whose mask allows no key as the mean of all values; PyTorch gives zeros there.
#
# Guessed: below opset 23 (where ONNX has no operator for attention) the exporter writes scaled_dot_product_attention as
# MatMul, Add, Softmax, IsNaN, Where, MatMul, and the pair IsNaN and Where makes zeros of rows without keys, as PyTorch does.
# Seen (torch 2.13.0, onnxruntime 1.32.0): a boolean mask becomes 0 and -3.4028235e+38, the lowest finite float32, and not
# minus infinity. Softmax of a row of equal finite numbers is uniform, so IsNaN never finds anything. No error, no warning:
# the row, as of a padded query, is wrong. ONNX's reference evaluator agrees with ONNX Runtime, so it is the graph; at opset
# 23, where the exporter writes one operator Attention, the row is zeros.
# Output seen:
#   PyTorch: [0.0, 0.0, 0.0, 0.0]
#   opset 18: mask becomes -3.4028235e+38, IsNaN is in the graph, row [0.42, 0.678, 0.309, 0.477]
#   opset 23: row [0.0, 0.0, 0.0, 0.0]
#   mean of all values: [0.42, 0.678, 0.309, 0.477]
# Exits with 1 if this has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 \
    onnxruntime==1.32.0 numpy==2.4.6 2> /dev/null
cat > "$folder/measure.py" << 'PYTHON'
import logging
import sys
import warnings

import onnxruntime as ort
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)


class Attention(torch.nn.Module):
    def forward(self, x, mask):
        return torch.nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)


torch.manual_seed(0)
x = torch.rand(1, 1, 3, 4)
mask = torch.tensor([[True, True, False], [True, True, False], [False, False, False]]).view(1, 1, 3, 3)


def row(output):
    return [round(number, 3) for number in output[0, 0, 2].tolist()]


def export(opset):
    model = torch.onnx.export(Attention(), (x, mask), dynamo=True, verbose=False, opset_version=opset).model_proto
    names = [value.name for value in model.graph.input]
    return model, dict(zip(names, (x.numpy(), mask.numpy()), strict=True))


def run(model, given):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return row(session.run(None, given)[0])


in_torch, mean = row(Attention()(x, mask)), [round(number, 3) for number in x[0, 0].mean(0).tolist()]
old, given = export(18)
weights = [numpy_helper.to_array(tensor) for tensor in old.graph.initializer]
lowest = min(float(weight.min()) for weight in weights if weight.dtype.kind == "f")
guarded = any(node.op_type == "IsNaN" for node in old.graph.node)
found = run(old, given)
reference = row(ReferenceEvaluator(old).run(None, given)[0])
newer = run(*export(23))
print(f"PyTorch: {in_torch}")
print(f"opset 18: mask becomes {lowest:.8g}, IsNaN is {'' if guarded else 'not '}in the graph, row {found}")
print(f"opset 23: row {newer}")
print(f"mean of all values: {mean}")
same = in_torch == newer == [0.0] * 4 and found == reference == mean and guarded and -3.41e38 < lowest < -3.4e38
sys.exit(not same)
PYTHON
"$folder/venv/bin/python" "$folder/measure.py" 2> /dev/null
