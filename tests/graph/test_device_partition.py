"""Another device than the CPU. `cpu:0` goes the same way as `cuda` does, where there is no GPU to test with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from midcut.config.settings import CutSettings
from midcut.errors import ConfigError, MalformedError
from midcut.graph import partition
from midcut.graph.batcher import Batcher
from midcut.graph.device_partition import DevicePartition
from midcut.types import LoadedModel, ShapeRange

DEVICES = ["cpu:0", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", DEVICES)
def test_tails_run_there_and_answers_come_back(tiny, tiny_model, device):
    placed = DevicePartition(tiny, tiny_model, device)
    assert (placed.table, placed.legal, placed.refused) == (tiny.table, tiny.legal, tiny.refused)
    placed.warm_up()
    with torch.inference_mode():
        whole = tiny_model.module(*tiny_model.example)
    for cut in tiny.legal:
        values = tiny.head(cut, tiny_model.example)
        before = [value.clone() for value in values]
        (output,) = placed.tail(cut, values)
        assert output.device.type == "cpu"
        torch.testing.assert_close(output, whole, rtol=1e-4, atol=1e-5)
        assert all(torch.equal(a, b) for a, b in zip(values, before, strict=True))
    assert Batcher(placed).cuts == Batcher(tiny).cuts


@pytest.mark.parametrize("device", DEVICES)
def test_other_sizes_run_there_too(device):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 2, 1)).eval()
    example = (torch.rand(1, 3, 8, 8),)
    ranges = (ShapeRange((3, 4, 4), (3, 20, 20)),)
    model = LoadedModel("net", module, example, lambda _: example[0], ranges=ranges)
    placed = DevicePartition(partition(model, CutSettings()), model, device)
    assert len(placed.end_tables()) == 2
    for shape in ((1, 3, 8, 8), (1, 3, 15, 5), (2, 3, 20, 20)):
        image = torch.rand(shape)
        found = placed.make_for_shapes((shape,))
        assert found is placed.for_shapes((shape,))
        with torch.inference_mode():
            whole = module(image)
        for cut in found.legal:
            (output,) = found.tail(cut, found.head(cut, [image]))
            assert output.device.type == "cpu"
            torch.testing.assert_close(output, whole, rtol=1e-4, atol=1e-5)
    with pytest.raises(MalformedError, match="it takes"):
        placed.for_shapes(((1, 3, 21, 4),))


@pytest.mark.parametrize("device", DEVICES)
def test_the_weights_there_are_its_own(tiny, tiny_model, device):
    placed = DevicePartition(tiny, tiny_model, device)
    mine = {parameter.data_ptr() for parameter in tiny_model.module.parameters()}
    theirs = {value.data_ptr() for value in placed._program._initial_registers if isinstance(value, torch.Tensor)}
    assert not mine & theirs


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_one_line(tiny, tiny_model, device):
    with pytest.raises(ConfigError) as caught:
        DevicePartition(tiny, tiny_model, device)
    assert str(caught.value).startswith(f"cloud.device={device}: torch cannot use this device here")
    assert "\n" not in str(caught.value)
