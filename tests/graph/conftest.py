from __future__ import annotations

import pytest
import torch

from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.graph.verify import same_bits
from midcut.tensors import tensor_from_bytes, tensor_to_bytes
from midcut.types import LoadedModel


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cut_up():
    def make(module, *inputs, **settings):
        model = LoadedModel("toy", module.eval(), inputs, preprocess=lambda image: image)
        return partition(model, CutSettings(**settings))

    return make


def over_the_wire(values):
    received = []
    for value in values:
        if isinstance(value, torch.Tensor):
            data, order = tensor_to_bytes(value)
            name = str(value.dtype).removeprefix("torch.")
            received.append(tensor_from_bytes(bytes(data), name, value.shape, order))
        else:
            received.append(value)
    return received


@pytest.fixture
def wire():
    return over_the_wire


@pytest.fixture
def assert_exact():
    """Cut, send, finish: the unsplit module's output bit for bit, at every cut given."""

    def check(parts, module, *inputs, cuts=None):
        with torch.no_grad():
            whole = module(*[value.clone() for value in inputs])
        tried = list(parts.legal if cuts is None else cuts)
        assert tried
        for cut in tried:
            received = over_the_wire(parts.head(cut, inputs))
            parts.check_values(cut, received)
            assert same_bits(parts.assemble(parts.tail(cut, received)), whole), f"cut {cut}"

    return check
