"""Which cuts verification refuses, against each cut tried alone: a run of its tail from what crossed the wire."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from midcut.graph import verify
from midcut.graph.verify import same_bits
from midcut.tensors import as_received


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(8, 8) for _ in range(3))


class WrittenLate(Layers):
    """A value crosses many cuts unchanged and is then written to."""

    def forward(self, x):
        kept = self.a(x)
        other = self.c(torch.relu(self.b(kept)))
        kept.mul_(2.0)
        return other + kept


class ViewOfWhatIsWritten(Layers):
    """Between view and write, the receiver's view does not see the write."""

    def forward(self, x):
        kept = self.a(x)
        view = kept[:, :4]
        other = torch.relu(self.b(x))
        kept.add_(1.0)
        value = self.c(other) + kept + view.sum()
        for _ in range(40):  # or the few refused cuts would have the other tracer tried, which has no writes
            value = torch.tanh(value)
        return value


class ManyViews(Layers):
    """Views and their base cross together for a long way, in several layouts."""

    def forward(self, x):
        base = self.a(x)
        first, second = base.chunk(2, -1)
        turned = base.reshape(2, -1).t()
        mixed = torch.cat([second, first], -1)
        for layer in (self.b, self.c):
            mixed = torch.tanh(layer(mixed))
        return mixed + base, first * second, turned.contiguous()


@pytest.mark.parametrize("kind", [WrittenLate, ViewOfWhatIsWritten, ManyViews])
def test_exactly_those_cuts_are_refused_whose_tail_alone_differs(cut_up, kind):
    module, example = kind().eval(), torch.rand(1, 8)
    parts = cut_up(module, example)
    with torch.no_grad():
        whole = module(example.clone())
    differing = set()
    for cut in range(parts.table.last + 1):
        payload = [as_received(value) for value in parts.head(cut, [example])]
        if not same_bits(parts.assemble(parts.tail(cut, payload)), whole):
            differing.add(cut)
    assert set(parts.refused) == differing
    assert bool(differing) == (kind is ViewOfWhatIsWritten)


def test_a_value_is_copied_once_for_all_cuts_that_it_crosses_and_equal_runs_go_on_as_one(cut_up, monkeypatch):
    class Long(Layers):
        def forward(self, x):
            base = self.a(x)
            left, right = base.chunk(2, -1)
            value = self.b(x)
            for _ in range(20):
                value = torch.tanh(value)
            return self.c(value) + base + torch.cat([right, left], -1)

    copied = []
    received = verify.received
    monkeypatch.setattr(verify, "received", lambda form, value: copied.append(1) or received(form, value))
    module, example = Long().eval(), torch.rand(1, 8)
    parts = cut_up(module, example)
    assert not parts.refused
    assert parts.table.last > 25
    assert len(copied) < 2 * parts.table.last  # without, three or four values at each cut
