from __future__ import annotations

import pytest
import torch
from torch import nn

from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.graph.batcher import Batcher
from midcut.types import LoadedModel


def cut_up(module, *example):
    return partition(LoadedModel("net", module.eval(), example, None, (), "random"), CutSettings())


def batched_outputs(partition, cut, inputs):
    """Run the head of every input separately and all tails as one batch."""
    batcher = Batcher(partition)
    stacked = batcher.stack(cut, [partition.head(cut, (x,)) for x in inputs])
    return batcher.unstack(partition.tail(cut, stacked), len(inputs))


def test_requests_computed_together_give_what_each_gives_alone(tiny, tiny_model):
    inputs = list(torch.randn(5, 1, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    batcher = Batcher(tiny)
    assert batcher.cuts == frozenset(range(10))
    with torch.inference_mode():
        expected = [tiny_model.module(x) for x in inputs]
        for cut in range(10):
            for (output,), whole in zip(batched_outputs(tiny, cut, inputs), expected, strict=True):
                assert output.shape == (1, 10)
                torch.testing.assert_close(output, whole, rtol=1e-5, atol=1e-6)


def test_requests_that_are_batches_themselves(tiny, tiny_model):
    inputs = list(torch.randn(3, 2, 3, 16, 16, generator=torch.Generator().manual_seed(2)))
    with torch.inference_mode():
        for (output,), x in zip(batched_outputs(tiny, 4, inputs), inputs, strict=True):
            torch.testing.assert_close(output, tiny_model.module(x), rtol=1e-5, atol=1e-6)


class Centred(nn.Module):
    """The output of a sample depends on the other samples of the batch."""

    def forward(self, x):
        return x - x.mean(dim=0)


class SequenceFirst(nn.Module):
    """The batch is first the second dimension, then the inner part of a merged dimension."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x):
        x = self.lin(x.transpose(0, 1))  # tokens, batch, 4
        merged = x.reshape(x.shape[0] * x.shape[1], 4).relu()
        return merged.reshape(x.shape).transpose(0, 1)


class Fixed(nn.Module):
    def forward(self, x):
        return x.sum(dim=0)


@pytest.mark.parametrize("module", [Centred(), Fixed()])
def test_a_model_whose_samples_affect_each_other_is_not_batched(module):
    assert Batcher(cut_up(module, torch.randn(1, 4))).cuts == frozenset()


def test_a_cut_where_stacked_values_are_not_those_of_the_batch_is_left_out():
    torch.manual_seed(0)
    module = SequenceFirst()
    parts = cut_up(module, torch.randn(1, 3, 4))
    batcher = Batcher(parts)
    assert {0, parts.table.last} <= batcher.cuts
    merged = [cut.index for cut in parts.table.cuts if any(value.shape == (3, 4) for value in cut.values)]
    assert merged
    assert not batcher.cuts & set(merged)
    inputs = [torch.randn(1, 3, 4), torch.randn(1, 3, 4)]
    for cut in batcher.cuts:
        for (output,), x in zip(batched_outputs(parts, cut, inputs), inputs, strict=True):
            torch.testing.assert_close(output, module(x), rtol=1e-5, atol=1e-6)
