from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import fx, nn

from midcut.graph.compile import compile_graph
from midcut.graph.content import ContentHash


class Net(nn.Module):
    def __init__(self, *, stride=1, eps=1e-5, slope=0.1, swap=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=stride, padding=1)
        self.norm = nn.BatchNorm2d(4, eps=eps)
        self.slope, self.swap = slope, swap

    def forward(self, x):
        y = self.norm(self.conv(x))
        y = torch.relu(y) if not self.swap else torch.sigmoid(y)
        return torch.cat([y, y * self.slope], dim=1)[:, 1:5]


def fingerprint(cut_up, **changes):
    torch.manual_seed(0)
    return cut_up(Net(**changes), torch.ones(1, 3, 8, 8)).table


def test_equal_models_have_equal_fingerprints(cut_up):
    first, second = fingerprint(cut_up), fingerprint(cut_up)
    assert first == second
    assert len(first.graph) == len(first.weights) == 16
    assert first.fingerprint == f"{first.graph}-{first.weights}"


@pytest.mark.parametrize("changes", [{"stride": 2}, {"eps": 1e-4}, {"slope": 0.2}, {"swap": True}])
def test_another_operation_or_constant_is_another_graph_with_the_same_weights(changes, cut_up):
    first, second = fingerprint(cut_up), fingerprint(cut_up, **changes)
    assert first.graph != second.graph
    assert first.weights == second.weights


def test_one_bit_of_one_weight_or_buffer_is_another_weights_hash(cut_up):
    fingerprints = set()
    for change in ("", "conv.weight", "norm.running_var"):
        torch.manual_seed(0)
        net = Net()
        if change:
            tensor = net.get_parameter(change) if "weight" in change else net.get_buffer(change)
            with torch.no_grad():
                tensor.view(-1).view(torch.int32)[0] ^= 1
        fingerprints.add(cut_up(net, torch.ones(1, 3, 8, 8)).table.fingerprint)
    assert len(fingerprints) == 3
    assert len({entry.partition("-")[0] for entry in fingerprints}) == 1


def test_the_cuts_on_offer_do_not_change_the_fingerprint(cut_up):
    torch.manual_seed(0)
    narrow = cut_up(Net(), torch.ones(1, 3, 8, 8), first_cut=2, single_tensor=True, verify=False).table
    assert narrow.fingerprint == fingerprint(cut_up).fingerprint


SCRIPT = """
import torch
from midcut.graph import partition
from midcut.config.settings import CutSettings, Capture
from midcut_models.mnist import Mnist
model = Mnist(name="mnist").load()
for how in Capture:
    print(partition(model, CutSettings(capture=how)).table.fingerprint)
"""


def test_two_processes_agree_whatever_their_hash_seed():
    lines = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        finished = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=600, check=True
        )
        lines.append(finished.stdout.split())
    assert len(lines[0]) == 2
    assert lines[0] == lines[1]
    assert lines[0][0] != lines[0][1]


def described(*args):
    """The hash of one node as two versions of torch export it: with and without an operator's defaults."""
    graph = fx.Graph()
    x, weight = graph.placeholder("x"), graph.placeholder("weight")
    graph.output(graph.call_function(torch.ops.aten.layer_norm.default, (x, [4], weight, *args)))
    content = ContentHash()
    compile_graph(graph, nn.Module(), {}, given=2).steps[0].describe(content)
    return content.settings.hexdigest()


def test_an_operator_with_its_defaults_written_out_is_the_same_operator():
    assert described() == described(None, 1e-5) == described(None, 1e-5, False)  # noqa: FBT003 - `cudnn_enable`
    assert described() != described(None, 1e-6)
