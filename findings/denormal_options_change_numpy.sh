#!/usr/bin/env bash
# The option "denormals are zero" of one ONNX Runtime session or OpenVINO model is a state of threads: numpy's results change.
#
# Guessed: `session.set_denormal_as_zero` and `CPU_DENORMALS_OPTIMIZATION` hold for the session or model that they are given
# to, during its runs. Seen (onnxruntime 1.32.0, openvino 2026.4.1, x86-64): making the session or compiling the model
# sets the processor's flags in the calling thread and leaves them set, so that from then on numpy, and sessions and models
# made without the option, give zero there, and threads started later inherit it. In ONNX Runtime the first session of a
# process decides for good: the option does nothing in a later session, on or off. In OpenVINO it lasts until some model is
# compiled with False, also where the model that asked for it is gone. With both in one process, an option of one library
# changes the values of the other, and ONNX Runtime's first session, made without the option, undoes OpenVINO's.
# Output seen (1e-40 times 1.5, in float32; "kept" is 1.5e-40, "zero" is 0):
#   ONNX Runtime, first session with it: it zero, numpy zero, second session with "0" zero, numpy in a new thread zero
#   ONNX Runtime, first session without it: it kept, numpy kept, second session with "1" kept, numpy in a new thread kept
#   OpenVINO, model with the option: it zero, numpy zero, ONNX Runtime without it zero, numpy in a new thread zero
#   OpenVINO, that model dropped: numpy zero, ONNX Runtime without it zero, numpy in a new thread zero
#   OpenVINO, then another model with False: numpy kept, ONNX Runtime without it kept, numpy in a new thread kept
#   OpenVINO with the option, then ONNX Runtime's first session without: it kept, numpy kept, numpy in a new thread kept
# Exits with 1 if this has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 openvino==2026.4.1 onnx==1.23.2 \
    numpy==2.4.6 2> /dev/null
cat > "$folder/measure.py" << 'PYTHON'
import sys
import threading

import numpy as np
from onnx import TensorProto, helper

SMALL, FACTOR = np.full(4, 1e-40, np.float32), np.float32(1.5)

ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
weight = helper.make_tensor("w", TensorProto.FLOAT, [], [float(FACTOR)])
graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def word(array):
    return "kept" if array.view(np.uint32).all() else "zero"  # of the bits, as the flags change comparisons as well


def in_numpy():
    return word(SMALL * FACTOR)


def in_new_thread():
    words = []
    thread = threading.Thread(target=lambda: words.append(in_numpy()))
    thread.start()
    thread.join()
    return words[0]


def session(option=None):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # all of it runs in the calling thread
    if option is not None:
        options.add_session_config_entry("session.set_denormal_as_zero", option)
    made = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: word(made.run(None, {"x": SMALL})[0])


def compiled(core, option):
    asked = {"CPU_DENORMALS_OPTIMIZATION": option, "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    made = core.compile_model(core.read_model(model), "CPU", asked)
    return lambda: word(made(SMALL)[0])


def row(start, *steps):
    words = [step() for _, step in steps]
    print(f"{start}: " + ", ".join(f"{name} {found}" for (name, _), found in zip(steps, words, strict=True)))
    return set(words)


before = in_numpy()
thread = ("numpy in a new thread", in_new_thread)
if sys.argv[1] == "openvino":
    import openvino as ov

    core = ov.Core()
    rest = ("numpy", in_numpy), ("ONNX Runtime without it", session()), thread
    made = compiled(core, True)
    found = [row("OpenVINO, model with the option", ("it", made), *rest)]
    del made
    found.append(row("OpenVINO, that model dropped", *rest))
    other = compiled(core, False)
    found.append(row("OpenVINO, then another model with False", *rest))
    expected = [{"zero"}, {"zero"}, {"kept"}]
elif sys.argv[1] == "both":
    import openvino as ov

    core = ov.Core()
    made = compiled(core, True)
    during = in_numpy()
    start = "OpenVINO with the option, then ONNX Runtime's first session without"
    found = [during, row(start, ("it", session()), ("numpy", in_numpy), thread)]
    expected = ["zero", {"kept"}]
else:
    asked = sys.argv[1] == "with"
    first = session("1" if asked else None)
    last = ("1", "0")[asked]
    steps = ("it", first), ("numpy", in_numpy), (f'second session with "{last}"', lambda: session(last)())
    start = f"ONNX Runtime, first session {sys.argv[1]} it"
    found, expected = [row(start, *steps, thread)], [{"zero" if asked else "kept"}]
sys.exit(before != "kept" or found != expected)
PYTHON
for way in with without openvino both; do
  "$folder/venv/bin/python" "$folder/measure.py" "$way"
done
