from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn

from midcut.graph.probe import difference, probe
from midcut.types import Probe


class Steps(nn.Module):
    """What it computes depends on a number that no fingerprint sees."""

    hidden = 2.0

    def forward(self, x):
        return torch.tanh(x @ x.transpose(1, 2) * type(self).hidden)


def taken(module, *example):
    return probe(lambda inputs: [module(*inputs)], example)


def test_equal_models_agree_and_examples_with_other_numbers_do_not_matter():
    torch.manual_seed(0)
    module = nn.Linear(8, 8)
    assert taken(module, torch.rand(1, 8)) == taken(module, torch.zeros(1, 8))
    assert difference(taken(module, torch.rand(1, 8)), taken(module, torch.rand(1, 8))) == ""


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, -1.0])
def test_another_computation_is_noticed(factor, monkeypatch):
    here = taken(Steps(), torch.rand(1, 5, 8))
    monkeypatch.setattr(Steps, "hidden", 2.0 * factor)
    there = taken(Steps(), torch.rand(1, 5, 8))
    assert difference(here, here) == ""
    assert "output 0 differs by" in difference(here, there)
    assert difference(here, there) == difference(there, here)


@pytest.mark.parametrize("size", [1e-6, 1e-4, 1e-3])
def test_what_kernels_of_other_processors_do_is_tolerated(size):
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(nn.Linear(8, 100), nn.Softmax(-1))

    def noisy(inputs):
        output = module(*inputs)
        return [output + size * output.std() * torch.randn(output.shape, generator=generator)]

    assert difference(taken(module, torch.rand(1, 8)), probe(noisy, [torch.rand(1, 8)])) == ""


def test_nearly_constant_outputs_are_compared_too():
    one, other = (taken(lambda x, add=add: x * 1e-6 + add, torch.rand(1, 8)) for add in (1.0, 1.01))
    assert "differs" in difference(one, other)


def test_outputs_that_are_not_finite_are_digested_without_them():
    here = taken(lambda x: x / (x > 0.5), torch.rand(1, 50))
    assert all(abs(number) < 1e9 for number in here.outputs[0])
    assert difference(here, here) == ""
    assert "differs" in difference(here, taken(lambda x: x / (x > 0.1), torch.rand(1, 50)))


def test_integers_that_differ_make_probes_that_cannot_be_compared():
    module = nn.Embedding(9, 4)
    one, other = (taken(module, torch.tensor([[number, 2]])) for number in (1, 5))
    assert one.inputs != other.inputs
    assert difference(one, other) == ""
    assert difference(one, None) == difference(None, None) == ""


def test_a_model_that_refuses_the_input_has_no_probe():
    assert taken(lambda x: x.no_such_thing, torch.rand(1, 2)) is None


def test_it_travels_as_json_without_losing_a_digit():
    here = taken(Steps(), torch.rand(1, 5, 8))
    assert msgspec.json.decode(msgspec.json.encode(here), type=Probe) == here


def test_a_partition_probes_the_whole_model(cut_up):
    module = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    assert cut_up(module, torch.rand(1, 8)).probe == taken(module, torch.rand(1, 8))
