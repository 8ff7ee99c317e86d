"""What crosses cuts besides plain tensors, between PyTorch and a foreign runtime: numbers, and orders in memory."""

from __future__ import annotations

from contextlib import closing

import pytest
import torch

from midcut.config.settings import CutSettings
from midcut.exported import ExportedNetwork, read_folder
from midcut.exported.writing import write_folder
from midcut.graph import partition
from midcut.tensors import as_received, dim_order, largest_error
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


class Turned(torch.nn.Module):
    """Looks at turned values as rows, which only works where they are turned in memory, too."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.last = torch.nn.Linear(4 * 6 * 8, 5)

    def forward(self, x):
        x = torch.relu(self.first(x).permute(0, 3, 1, 2)).sigmoid()
        return self.last(x.permute(0, 2, 3, 1).view(x.shape[0], -1))


class Masked(torch.nn.Module):
    """Attention whose mask and indices are inputs: a mask of zeros has no valid answer."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(50, 16)
        self.last = torch.nn.Linear(16, 3)

    def forward(self, words, mask):
        x = self.words(words)
        allowed = (mask[:, None, :] == 1).expand(-1, words.shape[1], -1)
        if self.heads:
            x, allowed = x.unflatten(2, (self.heads, -1)).transpose(1, 2), allowed[:, None]
        x = torch.nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=allowed)
        return self.last((x.transpose(1, 2).flatten(2) if self.heads else x).mean(1))


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


@pytest.mark.parametrize("module", [Turned, Sizes])
def test_a_tail_in_pytorch_takes_what_a_head_in_the_runtime_gives(module, tmp_path):
    network = captured(module(), torch.rand(1, 3, 6, 8))
    last = network.table.last
    with closing(runtime.OnnxRuntime(1, None, 64)) as executor:
        model = LoadedModel("net", None, network.example, lambda _: network.example[0])
        write_folder(model, network, executor, [1.0] * network.node_count, {}, tmp_path / "net")
        exported = ExportedNetwork(read_folder(tmp_path / "net"), CutSettings())
        for cut in network.legal:
            for batch in (1, 3):
                inputs = [torch.rand(batch, 3, 6, 8)]
                expected, values = network.run(0, last, inputs), network.run(0, cut, inputs)
                for payload in (executor.prepare(network, 0, cut).run(inputs)[0], exported.head(cut, inputs)):
                    sent = [value if isinstance(value, int) else as_received(value) for value in payload]
                    assert cut == last or [dim_order(v) for v in sent if not isinstance(v, int)] == [
                        dim_order(v) for v in values if not isinstance(v, int)
                    ]
                    network.check_values(cut, sent)
                    assert largest_error(network.run(cut, last, sent), expected) < 1e-5
                found = [torch.as_tensor(value) for value in exported.tail(cut, values)]
                assert largest_error(found, expected) < 1e-5


@pytest.mark.parametrize("heads", [2, 0], ids=["heads", "three dimensions, which the exporter refuses"])
def test_a_model_of_indices_and_a_mask_runs_and_is_compared_on_its_own_example(heads):
    network = captured(Masked(heads), torch.randint(0, 50, (1, 6)), torch.ones(1, 6, dtype=torch.int64))
    last = network.table.last
    with closing(runtime.OnnxRuntime(1, None, 64)) as executor:
        inputs = [torch.randint(0, 50, (2, 6)), torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]])]
        for cut in (network.legal[len(network.legal) // 2], last):
            values = executor.prepare(network, 0, cut).run(inputs)[0]
            output = executor.prepare(network, cut, last).run(values)[0]
            assert largest_error(output, network.run(0, last, inputs)) < 1e-5


def test_a_segment_can_be_made_ready_in_inference_mode():
    network = captured(Sizes(), torch.rand(1, 3, 6, 8))
    with closing(runtime.OnnxRuntime(1, None, 64)) as executor, torch.inference_mode():
        inputs = [torch.rand(1, 3, 6, 8)]
        output = executor.prepare(network, 0, network.table.last).run(inputs)[0]
        assert largest_error(output, network.run(0, network.table.last, inputs)) < 1e-5
