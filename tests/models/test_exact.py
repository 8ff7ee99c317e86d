"""Every legal cut of the models the issue names, against the unsplit model, through bytes."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.graph.verify import same_bits
from midcut.planning.cuts import legal_cuts
from midcut.tensors import tensor_from_bytes, tensor_to_bytes
from midcut_models.classification import Torchvision
from midcut_models.mnist import Mnist

CHECK_MODELS = Path(__file__).parents[2] / "tools" / "break" / "check_models.py"
# Bytes at cuts 0..22, worked out by hand from AlexNet's layer sizes (4 bytes an element).
ALEXNET_BYTES = [
    3 * 224 * 224 * 4, 64 * 55 * 55 * 4, 64 * 55 * 55 * 4, 64 * 27 * 27 * 4,
    192 * 27 * 27 * 4, 192 * 27 * 27 * 4, 192 * 13 * 13 * 4,
    384 * 13 * 13 * 4, 384 * 13 * 13 * 4, 256 * 13 * 13 * 4, 256 * 13 * 13 * 4, 256 * 13 * 13 * 4, 256 * 13 * 13 * 4,
    256 * 6 * 6 * 4, 256 * 6 * 6 * 4, 256 * 6 * 6 * 4, 256 * 6 * 6 * 4,
    4096 * 4, 4096 * 4, 4096 * 4, 4096 * 4, 4096 * 4, 1000 * 4,
]  # fmt: skip
MNIST_BYTES = [3136, 23040, 5760, 5760, 5120, 5120, 1280, 1280, 1280, 200, 200, 200, 40, 40]


@cache
def loaded(name):
    model = Mnist(name=name).load() if name == "mnist" else Torchvision(name=name).load()
    return model, partition(model, CutSettings())


def split(name, cuts, batch=1, side=None):
    model, parts = loaded(name)
    channels, *sides = model.example[0].shape[1:]
    shape = (batch, channels, *(sides if side is None else (side, side)))
    image = torch.rand(shape, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        whole = model.module(image)
    wrong = []
    for cut in cuts:
        received = []
        for value in parts.head(cut, (image,)):
            data, order = tensor_to_bytes(value)
            received.append(tensor_from_bytes(bytes(data), "float32", value.shape, order))
        if not same_bits(parts.assemble(parts.tail(cut, received)), whole):
            wrong.append(cut)
    return wrong


@pytest.mark.parametrize(
    ("name", "side"), [("mnist", 28), ("alexnet", 224), ("resnet18", 96), ("googlenet", 96), ("mobilenet_v2", 96)]
)
def test_every_legal_cut_is_bit_identical(name, side):
    """Small images where the network takes them: the cuts are the same, and a full size is in the slow tests."""
    _, parts = loaded(name)
    assert parts.legal == tuple(range(parts.node_count + 1)), "these have no cut that cannot be offered"
    assert split(name, parts.legal, side=side) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "googlenet", "mobilenet_v2", "vgg16"])
def test_every_legal_cut_is_bit_identical_at_full_size(name):
    assert split(name, loaded(name)[1].legal) == []


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "mobilenet_v2", "mnist"])
def test_batch_3_is_bit_identical_at_a_sample(name):
    _, parts = loaded(name)
    side = 28 if name == "mnist" else 96
    assert split(name, parts.legal[:: max(1, len(parts.legal) // 6)], batch=3, side=side) == []


def test_vgg16_at_a_sample_of_cuts():
    model = Torchvision(name="vgg16", num_classes=10).load()
    parts = partition(model, CutSettings())
    with torch.no_grad():
        whole = model.module(*model.example)
    for cut in (5, 31, 40):
        assert same_bits(parts.assemble(parts.tail(cut, parts.head(cut, model.example))), whole)


def test_alexnets_cut_list_by_hand():
    _, parts = loaded("alexnet")
    assert parts.node_count == 22
    assert [cut.payload_bytes for cut in parts.table.cuts] == ALEXNET_BYTES
    assert ALEXNET_BYTES[:4] == [602112, 774400, 774400, 186624]
    ops = [node.op for node in parts.table.nodes]
    assert ops[:3] == ["Conv2d", "ReLU", "MaxPool2d"]
    assert ops[13:16] == ["AdaptiveAvgPool2d", "flatten", "Dropout"]
    assert parts.table.nodes[0].module == "features.0"


def test_the_papers_counting_gives_alexnet_22_cuts():
    table = loaded("alexnet")[1].table
    cuts = legal_cuts(table, CutSettings(modules=True))
    assert [table.cuts[cut].layer for cut in cuts] == list(range(22))
    assert cuts[0] == 0
    assert cuts[-1] == table.last
    on_edge = legal_cuts(table, CutSettings(keep_on_edge=["features"], keep_in_cloud=["classifier"]))
    assert on_edge == (13, 14, 15)


def test_mnists_cut_list_by_hand():
    _, parts = loaded("mnist")
    assert [cut.payload_bytes for cut in parts.table.cuts] == MNIST_BYTES
    assert [cut.layer for cut in parts.table.cuts] == list(range(14))


def test_mobilenets_tails_write_in_place_and_leave_what_they_were_given():
    model, parts = loaded("mobilenet_v2")
    image = torch.rand(1, 3, 96, 96)
    untouched = image.clone()
    whole = parts.tail(0, (image,))
    for cut in parts.legal[:40]:
        payload = parts.head(cut, (image,))
        copies = [value.clone() for value in payload]
        assert same_bits(parts.tail(cut, payload), whole)
        assert same_bits(list(payload), copies), f"cut {cut}"
    assert torch.equal(image, untouched)
    assert model.name == "mobilenet_v2"


def test_the_tool_compares_a_handful():
    done = subprocess.run(
        [sys.executable, CHECK_MODELS, "--cuts", "3", "shufflenet_v2_x0_5", "mnasnet0_5", "squeezenet1_1"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 models captured" in done.stdout
    assert " 0 differ in a bit" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_tool_compares_all_80():
    done = subprocess.run([sys.executable, CHECK_MODELS], capture_output=True, text=True, timeout=7000, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "80 of 80 models captured" in done.stdout
