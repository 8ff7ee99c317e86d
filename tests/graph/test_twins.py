"""Pairs of networks with equal parameters and other answers: their fingerprints must differ."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from collections import deque
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from midcut.config.settings import Capture
from midcut.errors import GraphError
from midcut.graph.content import ContentHash, digest_of, source_of

SCALE = 2.0


class Doubled(nn.Module):
    def forward(self, weight):
        return weight * 2


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


class Wrapped(nn.Module):
    """One leaf module between two others, so that the twin is never the root."""

    def __init__(self, leaf):
        super().__init__()
        self.leaf, self.gives_tuple = leaf, isinstance(leaf, nn.LSTM)

    def forward(self, x):
        y = self.leaf(x * 1.5)
        return (y[0] if self.gives_tuple else y) + 1


class Attends(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, heads, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


class HasAttribute(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.gain, self.inner = gain, nn.Linear(8, 8)

    def forward(self, x):
        return self.inner(x) * self.gain


class HasTable(nn.Module):
    """A tensor that is neither a parameter nor a buffer."""

    def __init__(self, first):
        super().__init__()
        self.table, self.inner = torch.arange(8.0) + first, nn.Linear(8, 8)

    def forward(self, x):
        return self.inner(x + self.table)


class HasHiddenBuffer(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.register_buffer("offset", torch.full((8,), value), persistent=False)

    def forward(self, x):
        return self.inner(x + self.offset)


class TwoScales(nn.Module):
    """Two parameters of one shape, used in one order or the other."""

    def __init__(self, *, swap):
        super().__init__()
        self.a, self.b, self.swap = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8)), swap

    def forward(self, x):
        first, second = (self.b, self.a) if self.swap else (self.a, self.b)
        return torch.relu(x - first) * second


def normalised(order):
    return nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)) if order else nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))


def hooked(hook):
    leaf = nn.Linear(8, 8)
    leaf.register_forward_hook(hook)
    return Wrapped(leaf)


def hooked_before(factor):
    leaf = nn.Linear(8, 8)
    leaf.register_forward_pre_hook(lambda _, inputs: (inputs[0] * factor,))  # the factor is in the closure
    return Wrapped(leaf)


def scaled(_, __, output):
    return output * SCALE


def scaled_by_global(value):
    namespace = dict(vars(sys.modules[__name__]), SCALE=value)
    return hooked(type(scaled)(scaled.__code__, namespace, "scaled"))


class HookObject:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, _, __, output):
        return output * self.factor


def packed(change):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        linear = nn.Linear(8, 8)
        with torch.no_grad():
            linear.weight[0, 0] += change
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(linear, nn.ReLU()), {nn.Linear}, torch.qint8)


def packed_rnn(change):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        lstm = nn.LSTM(8, 8, batch_first=True)
        with torch.no_grad():
            lstm.weight_hh_l0[0, 0] += change
        return torch.ao.quantization.quantize_dynamic(Wrapped(lstm), {nn.LSTM}, torch.qint8)


def parametrised(parametrisation):
    leaf = nn.Linear(8, 8)
    parametrize.register_parametrization(leaf, "weight", parametrisation())
    return Wrapped(leaf)


def encoder_layer(heads=2, **given):
    layer = nn.TransformerEncoderLayer(8, heads, 16, batch_first=True, dropout=0.0, **given)
    return nn.Sequential(nn.Linear(8, 8), layer)


def with_attribute(leaf, name, value):
    setattr(leaf, name, value)
    return Wrapped(leaf)


TWINS = {
    "heads of attention": (Attends, 4, 2),
    "heads within a transformer layer": (lambda heads: encoder_layer(heads=heads), 4, 2),
    "norm first": (lambda first: encoder_layer(norm_first=first), True, False),
    "order of norm and linear": (normalised, True, False),
    "activation": (lambda kind: nn.Sequential(nn.Linear(8, 8), kind()), nn.ReLU, nn.GELU),
    "activation within a layer": (lambda name: encoder_layer(activation=name), "relu", "gelu"),
    "approximation of an activation": (lambda how: nn.Sequential(nn.Linear(8, 8), nn.GELU(how)), "none", "tanh"),
    "epsilon of a norm": (lambda eps: nn.LayerNorm(8, eps=eps), 1e-5, 1e-6),
    "epsilon within a layer": (lambda eps: encoder_layer(layer_norm_eps=eps), 1e-5, 1e-3),
    "padding mode": (lambda mode: nn.Conv1d(5, 5, 3, padding=1, padding_mode=mode), "zeros", "circular"),
    "groups of channels": (lambda groups: nn.GroupNorm(groups, 5 * 1), 1, 5),
    "hook on a leaf": (hooked, lambda _, __, o: o * 2, lambda _, __, o: o * 3),
    "no hook on a leaf": (hooked, lambda _, __, o: o * 2, lambda *_: None),
    "closure of a hook before a leaf": (hooked_before, 2.0, 3.0),
    "global of a hook": (scaled_by_global, 2.0, 3.0),
    "object as a hook": (lambda factor: hooked(HookObject(factor)), 2.0, 3.0),
    "packed weights": (packed, 0.0, 1.0),
    "packed recurrent weights": (packed_rnn, 0.0, 1.0),
    "attribute": (HasAttribute, 2.0, 3.0),
    "tensor that is not in the state": (HasTable, 0.0, 1.0),
    "buffer that is not saved": (HasHiddenBuffer, 0.0, 1.0),
    "which of two parameters": (lambda swap: TwoScales(swap=swap), True, False),
    "parametrisation": (parametrised, Doubled, Halved),
    "attribute of a leaf": (lambda slope: with_attribute(nn.LeakyReLU(0.1), "negative_slope", slope), 0.1, 0.2),
    "direction of a recurrent layer": (lambda p: Wrapped(nn.LSTM(8, 8, batch_first=True, proj_size=p)), 0, 4),
}
FX_ONLY = {"packed weights", "packed recurrent weights"}  # torch.export does not take packed layers


def fingerprint(cut_up, make, variant, capture):
    torch.manual_seed(0)
    return cut_up(make(variant), torch.rand(1, 5, 8), capture=capture).table.fingerprint


@pytest.mark.parametrize("capture", list(Capture))
@pytest.mark.parametrize("name", TWINS)
def test_twins_have_other_fingerprints_and_copies_the_same(name, capture, cut_up):
    make, one, other = TWINS[name]
    first, again, twin = (fingerprint(cut_up, make, variant, capture) for variant in (one, one, other))
    assert first == again
    assert first != twin


def test_packed_weights_are_part_of_the_weights(cut_up):
    first, other = (cut_up(packed(change), torch.rand(1, 5, 8)).table for change in (0.0, 1.0))
    assert first.weights != other.weights


def test_what_cannot_be_seen_is_refused_by_name_unless_the_other_tracer_does_without_it(cut_up):
    leaf = nn.Linear(8, 8)
    leaf.stream = memoryview(b"12")
    assert cut_up(Wrapped(leaf), torch.rand(1, 5, 8), capture=Capture.fx).table.capture == "export"
    module = packed(0.0)
    module[0].stream = memoryview(b"12")
    with pytest.raises(
        GraphError, match=r"what node '_0' calls.stream is a .*memoryview, whose content cannot be seen"
    ):
        cut_up(module, torch.rand(1, 5, 8))


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
import test_twins as twins
from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.types import LoadedModel
for name, (make, variant, _) in twins.TWINS.items():
    torch.manual_seed(0)
    model = LoadedModel("toy", make(variant).eval(), (torch.rand(1, 5, 8),), lambda image: image)
    print(partition(model, CutSettings()).table.fingerprint, name)
"""


def test_the_same_network_in_two_processes_has_one_fingerprint():
    found = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, str(Path(__file__).parent)],
            env=environment, capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
        found.append([line for line in done.stdout.splitlines() if len(line.split()[0]) == 33])
    assert len(found[0]) == len(TWINS)
    assert found[0] == found[1]


class Colour(Enum):
    red = 1
    blue = 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ("1", 1),
        ((1, 2), [1, 2]),
        ({"a": 1}, {"b": 1}),
        ({1, 2}, {1, 3}),
        (Colour.red, Colour.blue),
        (deque([1]), [1]),
        (slice(1, 2), slice(1, 3)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.tensor([float("nan")]), torch.zeros(1)),
        (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
        (torch.zeros(2).to(torch.float8_e4m3fn), torch.ones(2).to(torch.float8_e4m3fn)),
        (torch.zeros(2, dtype=torch.complex64), torch.ones(2, dtype=torch.complex64)),
        (torch.eye(2).to_sparse(), torch.zeros(2, 2).to_sparse()),
    ],
)
def test_other_content_is_another_digest(one, other):
    assert digest_of(one, "x") == digest_of(one, "x")
    assert digest_of(one, "x") != digest_of(other, "x")


def test_a_digest_depends_on_the_elements_not_on_strides_or_shared_objects():
    pair = (3, 3)
    assert digest_of([pair, pair], "x") == digest_of([(3, 3), tuple(range(3, 4)) * 2], "x")
    image = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert digest_of(image, "x") == digest_of(image.to(memory_format=torch.channels_last), "x")


def test_a_digest_by_hand_so_that_it_is_the_same_on_every_platform():
    content = ContentHash()
    content.add({"weight": torch.tensor([1.0, -2.0]), "share": 0.1}, "x")
    lines = ["builtins.dict of 2", "str 'weight'", "tensor torch.float32 (2,)", "str 'share'", "float 0.1"]
    assert content.settings.digest() == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).digest()
    assert content.weights.digest() == hashlib.sha256(bytes.fromhex("0000803f 000000c0")).digest()


def test_each_of_several_lambdas_in_a_line_is_known_by_its_own_source():
    doubles, triples, nested = (lambda x: x * 2), (lambda x: x * 3), (lambda x: (lambda x: x * 2)(x))  # noqa: PLC3002, PLW0108 - the point
    assert [source_of(function) for function in (doubles, triples)] == ["lambda x: x * 2", "lambda x: x * 3"]
    assert source_of(nested) == "lambda x: (lambda x: x * 2)(x)"
    assert len({digest_of(function, "x") for function in (doubles, triples, nested)}) == 3


def test_the_byte_order_of_an_array_does_not_matter():
    numbers = np.arange(6.0).reshape(2, 3)
    assert digest_of(numbers, "x") == digest_of(numbers.astype(">f8"), "x")
    assert digest_of(numbers, "x") != digest_of(numbers.astype("<f4"), "x")
