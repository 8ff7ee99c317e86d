"""Models with a memory are refused by the name of what remembers; capturing leaves a model as it was."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from midcut.config.settings import Capture
from midcut.errors import GraphError
from midcut.graph.module_state import ModuleState

OUTSIDE = []


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.part = nn.Identity()


class LastFrame(Base):
    def forward(self, x):
        last, self.last = getattr(self, "last", x), x
        return self.inner(x - last)


class HiddenState(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("hidden", torch.zeros(1, 4))

    def forward(self, x):
        self.hidden = torch.tanh(self.inner(x) + self.hidden)
        return self.hidden


class InPlace(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 4))

    def forward(self, x):
        self.mean.mul_(0.9).add_(x, alpha=0.1)
        return self.inner(x - self.mean)


class InPart(Base):
    def forward(self, x):
        self.part.seen = x if getattr(self.part, "seen", None) is None else self.part.seen + x
        return self.inner(self.part.seen)


class InList(Base):
    def __init__(self):
        super().__init__()
        self.queue = deque(maxlen=2)

    def forward(self, x):
        self.queue.append(x)
        return self.inner(sum(self.queue))


class InObject(Base):
    def __init__(self):
        super().__init__()
        self.cache = SimpleNamespace(keys=None)

    def forward(self, x):
        self.cache.keys = x if self.cache.keys is None else torch.cat([self.cache.keys, x])
        return self.inner(self.cache.keys).mean(0, keepdim=True)


class EveryTenth(Base):
    """The answers are equal so far, but a counter goes on."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x) if self.calls % 10 else x


class OutsideItself(Base):
    def forward(self, x):
        OUTSIDE.append(1)
        return self.inner(x) * len(OUTSIDE)


@pytest.mark.parametrize("capture", list(Capture))
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (LastFrame, "LastFrame keeps 'last' from one call to the next"),
        (HiddenState, "HiddenState keeps 'hidden' from one call"),
        (InPlace, "InPlace keeps 'mean' from one call"),
        (InPart, "InPart keeps 'part.seen' from one call"),
        (InList, "InList keeps 'queue.0'"),
        (InObject, "InObject keeps 'cache.keys'"),
        (EveryTenth, "'calls' of EveryTenth changes with every call"),
        (OutsideItself, "keeps something outside of its attributes"),
    ],
)
def test_a_model_with_a_memory_is_refused_by_name_in_one_line(kind, message, capture, cut_up):
    module = kind()
    with pytest.raises(GraphError, match=f"model 'toy' cannot be cut: .*{message}") as caught:
        cut_up(module, torch.rand(1, 4), capture=capture)
    assert "\n" not in str(caught.value)


class Stash(Base):
    """Keeps its features for a look at them, but never reads them."""

    def forward(self, x):
        self.features = self.inner(x)
        return torch.relu(self.features)


class TableWhenNeeded(Base):
    """A position table that is made at the first call, and again for longer inputs."""

    table = None

    def forward(self, x):
        if self.table is None or self.table.shape[0] < x.shape[1]:
            self.table = torch.arange(x.shape[1] * 4.0).reshape(-1, 4)
        return self.inner(x + self.table[: x.shape[1]]).mean(1)


class CachedByShape(Base):
    """Anchors in a dict, by the size of the image."""

    def __init__(self):
        super().__init__()
        self.anchors = {}

    def forward(self, x):
        key = tuple(x.shape[1:])
        if key not in self.anchors:
            self.anchors[key] = torch.ones(key) * 0.5
        return self.inner(x + self.anchors[key])


class MaskBuffer(Base):
    """A buffer that is filled in place when it is first used."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.zeros(5, 5), persistent=False)
        self.ready = False

    def forward(self, x):
        if not self.ready:
            self.mask.copy_(torch.full((5, 5), -9.0).triu(1))
            self.ready = True
        return self.inner(((x @ x.transpose(1, 2)) + self.mask).softmax(-1) @ x)


@pytest.mark.parametrize("capture", list(Capture))
@pytest.mark.parametrize("kind", [Stash, TableWhenNeeded, CachedByShape, MaskBuffer])
def test_what_is_made_at_the_first_call_or_never_read_is_no_memory(kind, capture, cut_up, assert_exact):
    torch.manual_seed(0)
    module, x = kind().eval(), torch.rand(1, 5, 4)
    parts = cut_up(module, x, capture=capture)
    assert_exact(parts, module, x)
    other = torch.rand(1, 5, 4)
    assert_exact(parts, module, other)


@pytest.mark.parametrize("capture", list(Capture))
@pytest.mark.parametrize("kind", [Stash, TableWhenNeeded, CachedByShape, MaskBuffer])
def test_no_proxy_or_fake_tensor_stays_on_the_module(kind, capture, cut_up):
    module, x = kind().eval(), torch.rand(1, 5, 4)
    with torch.no_grad():
        expected = module(x)
    names = set(vars(module))
    cut_up(module, x, capture=capture)
    assert set(vars(module)) == names
    assert all(type(value) in (torch.Tensor, nn.Parameter) for value in vars(module).values() if torch.is_tensor(value))
    with torch.no_grad():
        assert torch.equal(module(x), expected)


def test_a_recorded_state_is_restored_whatever_was_changed():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    module.notes, module.table, module.deep = [1], {"a": 1}, SimpleNamespace(value={1})
    buffer = module[1].running_mean
    state = ModuleState(module)
    assert state.changes() == []
    module.notes.append(2)
    module.table["b"] = 2
    module.deep.value.add(3)
    module.new = 1
    module[0].bias = None
    buffer.add_(1)
    changed = ["new", "0.bias", "notes.1", "table.b", "deep.value.a set", "1.running_mean"]
    assert sorted(state.changes()) == sorted(changed)
    state.restore()
    assert state.changes() == []
    assert (module.notes, module.table, module.deep.value) == ([1], {"a": 1}, {1})
    assert module[0].bias is not None
    assert not hasattr(module, "new")
    assert buffer.tolist() == [0.0, 0.0]


def test_a_model_that_fails_on_its_own_example_says_so_in_one_line(cut_up):
    with pytest.raises(
        GraphError, match=r"Linear fails on its own example \(float32\[1, 3\]\): RuntimeError: mat1"
    ) as caught:
        cut_up(nn.Linear(4, 4), torch.rand(1, 3))
    assert "\n" not in str(caught.value)


class Returns(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.layer, self.wrap = nn.Linear(4, 4), wrap

    def forward(self, x):
        return self.wrap(self.layer(x))


@pytest.mark.parametrize(
    ("wrap", "named"),
    [
        (lambda y: y.detach().numpy(), "numpy.ndarray"),
        (lambda y: (value for value in y), "builtins.generator"),
        (lambda y: {"kept": {1, 2}, "y": y}, "builtins.set"),
        (lambda y: torch.distributions.Categorical(logits=y), "torch.distributions.categorical.Categorical"),
    ],
)
def test_an_output_that_is_no_tensor_is_refused_by_its_type(cut_up, wrap, named):
    with pytest.raises(GraphError, match=f"Returns returns a {named}, where tensors, numbers") as caught:
        cut_up(Returns(wrap), torch.rand(1, 4))
    assert "\n" not in str(caught.value)


class BranchesOnValues(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        y = self.layer(x)
        return torch.stack([row * 2 for row in y]) if y.sum() > 0 else y


def test_what_no_tracer_can_capture_is_said_in_plain_words(cut_up):
    with pytest.raises(GraphError) as caught:
        cut_up(BranchesOnValues(), torch.rand(1, 4))
    by_fx, by_export = str(caught.value).removeprefix("model 'toy' cannot be captured; ").split("; ")
    assert by_fx == "fx cannot capture BranchesOnValues: it branches on a value or a size (TraceError)"
    assert by_export == (
        "export cannot capture BranchesOnValues: a branch or a size depends on values, such as the number of boxes "
        "found (GuardOnDataDependentSymNode)"
    )


def test_token_ids_that_are_given_as_floats_say_how_they_are_given(cut_up):
    with pytest.raises(GraphError, match=r"token ids need a dtype and a range: inputs={NAME: {dtype: int64") as caught:
        cut_up(nn.Embedding(9, 4), torch.rand(1, 3))
    assert "\n" not in str(caught.value)
