"""Numbers that cross cuts, such as sizes of a batch, in a foreign runtime; and what its inputs may be."""

from __future__ import annotations

from contextlib import closing

import pytest
import torch

from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.tensors import largest_error
from midcut.types import LoadedModel

runtime = pytest.importorskip("midcut_executors.onnxruntime", reason="needs the extra `onnx`", exc_type=ImportError)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIDCUT_CACHE", str(tmp_path))


class Sizes(torch.nn.Module):
    """Splits channels by sizes of its input, as ShuffleNet does; the sizes cross some cuts."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.last = torch.nn.Linear(8, 5)

    def forward(self, x):
        batch, _, height, width = x.shape
        x = self.first(x).view(batch, 2, 4, height, width).transpose(1, 2).reshape(batch, 8, height * width)
        return self.last(torch.relu(x).mean(2).view(batch, -1))


class Masked(torch.nn.Module):
    """Attention whose mask and indices are inputs: a mask of zeros has no valid answer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(50, 16)
        self.last = torch.nn.Linear(16, 3)

    def forward(self, words, mask):
        x = self.words(words)
        allowed = (mask[:, None, :] == 1).expand(-1, words.shape[1], -1)
        x = torch.nn.functional.scaled_dot_product_attention(
            x[:, None], x[:, None], x[:, None], attn_mask=allowed[:, None]
        )[:, 0]
        return self.last(x.mean(1))


def captured(module, *example):
    return partition(LoadedModel("net", module.eval(), example, lambda _: example[0]), CutSettings())


def test_a_cut_that_numbers_cross_runs_in_the_runtime():
    network = captured(Sizes(), torch.rand(1, 3, 6, 8))
    last = network.table.last
    with_numbers = 0
    with closing(runtime.OnnxRuntime(1, None, 64)) as executor:
        for cut in network.legal:
            head, tail = (executor.prepare(network, *ends) for ends in ((0, cut), (cut, last)))
            for batch in (1, 3):
                inputs = [torch.rand(batch, 3, 6, 8)]
                payload, expected = head.run(inputs)[0], network.run(0, cut, inputs)
                assert [type(value) for value in payload] == [type(value) for value in expected]
                assert largest_error(payload, expected) < 1e-5
                assert largest_error(tail.run(payload)[0], network.run(0, last, inputs)) < 1e-5
            with_numbers += any(isinstance(value, int) for value in payload)
    assert with_numbers > 3


def test_a_model_of_indices_and_a_mask_is_compared_on_its_own_example():
    network = captured(Masked(), torch.randint(0, 50, (1, 6)), torch.ones(1, 6, dtype=torch.int64))
    last = network.table.last
    with closing(runtime.OnnxRuntime(1, None, 64)) as executor:
        inputs = [torch.randint(0, 50, (2, 6)), torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]])]
        output = executor.prepare(network, 0, last).run(inputs)[0]
        assert largest_error(output, network.run(0, last, inputs)) < 1e-5


def test_a_segment_can_be_made_ready_in_inference_mode():
    network = captured(Sizes(), torch.rand(1, 3, 6, 8))
    with closing(runtime.OnnxRuntime(1, None, 64)) as executor, torch.inference_mode():
        inputs = [torch.rand(1, 3, 6, 8)]
        output = executor.prepare(network, 0, network.table.last).run(inputs)[0]
        assert largest_error(output, network.run(0, network.table.last, inputs)) < 1e-5
