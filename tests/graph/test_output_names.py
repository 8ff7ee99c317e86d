"""Outputs go by the names that the model gives them, and are those of the uncut model."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from midcut.config.settings import Capture, CutSettings
from midcut.graph import partition
from midcut.graph.outputs import named_leaves
from midcut.types import LoadedModel

Pair = namedtuple("Pair", "scores boxes")  # noqa: PYI024 - the untyped kind is met, too


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class Net(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3)
        self.make = make

    def forward(self, x):
        y = self.layer(x)
        return self.make(y.mean((2, 3)), y)


CASES = {
    "tensor": (lambda a, _: a, ["output"]),
    "dict": (lambda a, b: {"logits": a, "features": b}, ["logits", "features"]),
    "tuple": (lambda a, b: (a, b), ["output_0", "output_1"]),
    "list in a dict": (lambda a, b: {"maps": [a, b], "x": a + 1}, ["maps.0", "maps.1", "x"]),
    "dict in a tuple": (lambda a, b: (a, {"map": b}), ["output_0", "output_1.map"]),
    "named tuple": (Pair, ["scores", "boxes"]),
    "dataclass": (Answer, ["logits", "hidden"]),
    "dataclass with None": (lambda a, _: Answer(a), ["logits"]),
    "one value twice": (lambda a, b: {"logits": a, "again": a, "map": b}, ["logits", "again", "map"]),
}


@pytest.mark.parametrize("capture", list(Capture))
@pytest.mark.parametrize("name", CASES)
def test_outputs_have_the_models_names_and_values(name, capture):
    make, names = CASES[name]
    torch.manual_seed(0)
    net = Net(make).eval()
    model = LoadedModel("net", net, (torch.rand(1, 1, 8, 8),), None)
    cut = partition(model, CutSettings(capture=capture))
    assert cut.table.capture == capture.value
    assert [output.name for output in cut.table.outputs] == names
    x = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        wanted = named_leaves(net(x))
    assert list(wanted) == names
    for index in cut.legal:
        values = cut.tail(index, cut.head(index, [x]))
        for output in cut.table.outputs:
            assert torch.equal(values[output.value], wanted[output.name])
        assert list(named_leaves(cut.assemble(values))) == names
