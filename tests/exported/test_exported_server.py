"""An edge without torch that serves: NVIDIA's client and plain HTTP get what the unsplit model answers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from common.processes import free_port
from PIL import Image

from midcut.config.composition import compose

triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http], of the extra dev")
DIGITS = sorted((Path(__file__).parents[2] / "plugins/midcut_models/digits").glob("*.png"))[:3]

# A real edge process in which torch cannot be imported.
EDGE = """
import sys
sys.modules["torch"] = None
from midcut.cli import main
sys.argv = ["midcut", *sys.argv[1:]]
main()
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pytest.importorskip("onnxscript")
    from midcut.cli.verbs import export

    home = tmp_path_factory.mktemp("exported")
    export.run(compose("export", ["model=mnist", f"out={home / 'mnist'}", "cuts.first_cut=4", "cuts.last_cut=6"]))
    port = free_port()
    line = ["edge", "model=exported", f"model.exported.folder={home / 'mnist'}", "telemetry=constant"]
    line += [f"input.port={port}", "cloud_url=http://127.0.0.1:9", "hydra.run.dir=out"]
    edge = subprocess.Popen([sys.executable, "-c", EDGE, *line], cwd=home, env=os.environ | {"MIDCUT_CACHE": str(home)})
    try:
        deadline = time.monotonic() + 120
        while not _is_ready(port):
            assert edge.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        edge.terminate()
        edge.wait(60)


def _is_ready(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def unsplit():
    from midcut_models.mnist import Mnist

    model = Mnist(name="mnist").load()
    inputs = [model.preprocess(Image.open(file)).numpy() for file in DIGITS]

    def answer(values):
        import torch

        return model.module(torch.from_numpy(values)).detach().numpy()

    return np.concatenate(inputs), answer


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("count", [1, 3])
def test_tensors(address, unsplit, binary, count):
    images, answer = unsplit
    with triton.InferenceServerClient(address) as client:
        names = client.get_model_metadata("mnist")
        given = triton.InferInput(names["inputs"][0]["name"], [count, 1, 28, 28], "FP32")
        given.set_data_from_numpy(images[:count], binary_data=binary)
        wanted = triton.InferRequestedOutput(names["outputs"][0]["name"], binary_data=binary)
        reply = client.infer("mnist", [given], outputs=[wanted])
    found = reply.as_numpy(names["outputs"][0]["name"])
    np.testing.assert_allclose(found, answer(images[:count]), atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_files_of_pictures(address, unsplit, count):
    images, answer = unsplit
    with triton.InferenceServerClient(address) as client:
        names = client.get_model_metadata("mnist")
        given = triton.InferInput(names["inputs"][0]["name"], [count], "BYTES")
        given.set_data_from_numpy(np.array([file.read_bytes() for file in DIGITS[:count]], dtype=object))
        reply = client.infer("mnist", [given])
    np.testing.assert_allclose(reply.as_numpy(names["outputs"][0]["name"]), answer(images[:count]), atol=1e-5)


def test_a_picture_and_the_values_of_an_output(address, unsplit):
    images, answer = unsplit
    name = "output"
    request = urllib.request.Request(
        f"http://{address}/v1/infer?outputs={name}", DIGITS[0].read_bytes(), {"Content-Type": "image/png"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        body = json.load(reply)
    expected = answer(images[:1])
    assert body["class"] == int(expected.argmax())
    found = np.frombuffer(base64.b64decode(body["outputs"][name]["data"]), "<f4")
    np.testing.assert_allclose(found, expected[0], atol=1e-5)


def test_bad_input_is_a_client_error(address):
    with triton.InferenceServerClient(address) as client:
        given = triton.InferInput(client.get_model_metadata("mnist")["inputs"][0]["name"], [1, 1, 28, 27], "FP32")
        given.set_data_from_numpy(np.zeros((1, 1, 28, 27), np.float32))
        with pytest.raises(triton.InferenceServerException, match="1, 28, 27"):
            client.infer("mnist", [given])
