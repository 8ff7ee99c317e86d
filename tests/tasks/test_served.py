"""Networks of other tasks, served by two processes, asked by clients that are not midcut's."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import torch
from PIL import Image

NETS = """
import torch
from torch import nn
import torch.nn.functional as F

class Segmenter(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 4, 3, 2))
    def forward(self, x):
        return {"out": F.interpolate(self.body(x), size=x.shape[-2:]), "features": self.body[0](x)}

class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Conv2d(8, 8, 5, 4))
        self.classes, self.boxes = nn.Linear(8, 3), nn.Linear(8, 4)
    def forward(self, x):
        y = self.body(x).flatten(2).transpose(1, 2)
        return {"logits": self.classes(y), "pred_boxes": self.boxes(y).sigmoid()}

class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 50))
    def forward(self, ids):
        return self.body(ids)
"""
IMAGE = ["model.module.input_shapes=[[3,32,32]]"]
CASES = {
    "Segmenter": (IMAGE, ["task=segmentation"], "out"),
    "Detector": (
        IMAGE,
        ["task=detection", "task.format=cxcywh", "task.activation=sigmoid", "task.min_score=0.1"],
        "logits",
    ),
    "Text": (["model.module.inputs={ids:{dtype:int64,shape:[6]}}"], ["task=tokens"], "output"),
}


@pytest.fixture
def serve(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    servers = []

    def start(*words):
        command = [sys.executable, "-m", "midcut.cli", *words]
        servers.append(
            subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
        return servers[-1].stdout.readline().split(" ready on ")[1].split()[0]

    yield start
    for server in servers:
        server.terminate()
        server.communicate(timeout=60)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_answer_as_the_uncut_model(serve, tmp_path, name):
    triton = pytest.importorskip("tritonclient.http")
    shape, task, output = CASES[name]
    model = ["model=module", f"model.module.path=nets.{name}", *shape]
    cloud = serve("cloud", *model, "server.port=0")
    edge = serve("edge", *model, *task, f"cloud_url={cloud}", "input.port=0", "telemetry=constant", "cuts.last_cut=-2")
    feed = np.arange(6, dtype=np.int64).reshape(1, 6) if name == "Text" else np.full((1, 3, 32, 32), 0.5, np.float32)
    client = triton.InferenceServerClient(edge.removeprefix("http://"))
    (declared,) = client.get_model_metadata("module")["inputs"]
    tensor = triton.InferInput(declared["name"], list(feed.shape), declared["datatype"])
    tensor.set_data_from_numpy(feed)
    reply = client.infer("module", [tensor], outputs=[triton.InferRequestedOutput(output)])
    namespace = {}
    exec(NETS, namespace)
    torch.manual_seed(0)
    with torch.no_grad():
        wanted = namespace[name]().eval()(torch.from_numpy(feed))
    wanted = wanted[output] if isinstance(wanted, dict) else wanted
    assert [entry["name"] for entry in reply.get_response()["outputs"]] == [output]
    assert reply.get_response()["parameters"]["finished_by"] == "cloud"
    assert np.allclose(reply.as_numpy(output), wanted.numpy(), atol=1e-6)
    if name == "Text":
        return
    Image.new("RGB", (32, 32), (128, 128, 128)).save(tmp_path / "grey.png")
    request = urllib.request.Request(
        f"{edge}/v1/infer?outputs={output}", (tmp_path / "grey.png").read_bytes(), {"Content-Type": "image/png"}
    )
    with urllib.request.urlopen(request, timeout=60) as got:
        answer = json.load(got)
    assert answer["task"] == task[0].partition("=")[2]
    assert list(answer["outputs"]) == [output]
    assert "class" not in answer


def test_a_task_that_does_not_fit_is_refused_at_the_start_in_one_line(tmp_path):
    words = ["edge", "model=mnist", "task=segmentation"]
    command = [sys.executable, "-m", "midcut.cli", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "midcut edge: the task does not fit model 'mnist': task=segmentation needs an output of shape"
    )
