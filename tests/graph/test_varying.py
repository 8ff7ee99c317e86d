"""Sizes that depend on the data, and branches on the batch size."""

from __future__ import annotations

import pytest
import structlog
import torch
from torch import nn

from midcut.config.settings import Capture
from midcut.errors import GraphError, MalformedError


class Thresholded(nn.Module):
    """Only rows over a threshold go on, as boxes do."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(4, 4)
        self.later = nn.Linear(4, 2)

    def forward(self, x):
        y = torch.relu(self.score(x))[0]
        return self.later(self.choose(y)), y.sum()

    def choose(self, y):
        return y[y[:, 0] > 0.3]


class NonZero(Thresholded):
    def choose(self, y):
        return y[torch.nonzero(y[:, 0] > 0.3).squeeze(1)]


class Unique(Thresholded):
    def choose(self, y):
        return torch.unique(y.round(), dim=0)


class Masked(Thresholded):
    def choose(self, y):
        return torch.masked_select(y, y > 0.1).reshape(-1, 1).expand(-1, 4)


class Counted(nn.Module):
    """The number of rows is read from the data. fx only: export must know that it is a size."""

    def __init__(self):
        super().__init__()
        self.later = nn.Linear(4, 2)

    def forward(self, x):
        count = (x > 0.5).sum().item()
        return self.later(torch.relu(x)) + count


@pytest.mark.parametrize("kind", [Thresholded, NonZero, Unique, Masked])
def test_cuts_with_a_size_that_depends_on_the_data_are_refused_and_replies_may_have_any(kind, cut_up, assert_exact):
    torch.manual_seed(0)
    module, x = kind().eval(), torch.rand(1, 12, 4)
    parts = cut_up(module, x, capture=Capture.fx)
    assert parts.refused
    assert all("depends on the data" in why for why in parts.refused.values())
    assert min(parts.refused) > 2, "before the choice every cut is on offer"
    assert parts.table.last in parts.legal
    sizes = set()
    for seed in range(5):
        other = torch.rand(1, 12, 4, generator=torch.Generator().manual_seed(seed)) - 0.4
        assert_exact(parts, module, other)
        output = parts.tail(0, (other,))
        parts.check_values(parts.table.last, output)
        sizes.add(output[0].shape[0])
    assert len(sizes) > 1
    with pytest.raises(MalformedError, match="dimensions"):
        parts.check_values(parts.table.last, [output[0][0], output[1]])


def test_a_count_that_depends_on_the_data_does_not_cross(cut_up, assert_exact):
    module, x = Counted().eval(), torch.rand(1, 5, 4)
    parts = cut_up(module, x, capture=Capture.fx)
    assert any("'item', which crosses here, depends on the data" in why for why in parts.refused.values())
    assert_exact(parts, module, torch.rand(1, 5, 4))


def test_a_mask_that_changes_no_size_costs_no_cut(cut_up, assert_exact):
    class Filled(nn.Module):
        def forward(self, x):
            kept = x.clone().masked_fill(x > 0.5, 0.0)
            total = kept[kept > 0].sum().reshape(1, 1)
            return torch.relu(kept) + total

    module, x = Filled().eval(), torch.rand(1, 6)
    parts = cut_up(module, x)
    assert {parts.table.nodes[cut - 1].op for cut in parts.refused} <= {"getitem"}
    assert_exact(parts, module, torch.rand(1, 6))


class BatchBranch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 8)

    def forward(self, x):
        y = self.a(x)
        return y - y.mean(0, keepdim=True) if self.several(x) else y

    def several(self, x):
        return x.shape[0] > 1


class LengthBranch(BatchBranch):
    def several(self, x):
        return len(x) > 1


class LoopOverBatch(BatchBranch):
    def several(self, x):
        return sum(1 for _ in range(x.size(0))) != 1


class BranchFarAbove(BatchBranch):
    """Batches 1 to 4, the traced 2 among them, take the same branch."""

    def several(self, x):
        return x.shape[0] > 4


class BranchOnAProduct(BatchBranch):
    """torch keeps no bound of the batch for this."""

    def several(self, x):
        return x.shape[0] * x.shape[0] > 20


class BranchOnOneSize(BatchBranch):
    def several(self, x):
        return x.shape[0] == 5


class BranchOnElements(BatchBranch):
    def several(self, x):
        return x.numel() > 20


class BranchBelow(BatchBranch):
    """Batches 1 and 2 take the other branch."""

    def several(self, x):
        return x.shape[0] < 3


BRANCHES = [BatchBranch, LengthBranch, LoopOverBatch, BranchFarAbove, BranchOnAProduct, BranchOnOneSize]
BRANCHES += [BranchOnElements, BranchBelow]


@pytest.mark.parametrize("kind", BRANCHES)
def test_a_branch_on_the_batch_size_is_captured_for_batch_1_and_it_says_so(kind, cut_up, assert_exact):
    module, x = kind().eval(), torch.rand(1, 4)
    with structlog.testing.capture_logs() as logs:
        parts = cut_up(module, x)
    assert "captured for batch size 1 only" in [entry["event"] for entry in logs]
    assert_exact(parts, module, x)
    with pytest.raises(MalformedError, match=r"shape \[2, 4\], expected \[1, 4\]"):
        parts.check_inputs([torch.rand(2, 4)])


@pytest.mark.parametrize(("batch", "taken"), [(torch.export.Dim("batch", max=4), False), (None, False), ("any", True)])
def test_what_torch_export_made_for_some_batch_sizes_is_captured_for_batch_1(batch, taken, cut_up, assert_exact):
    free = torch.export.Dim.AUTO if batch == "any" else batch
    kind, size = (nn.Linear(4, 8), 2) if taken else (BranchFarAbove(), 2 if batch else 1)
    shapes = ({0: free},) if free else None
    module = torch.export.export(kind.eval(), (torch.rand(size, 4),), dynamic_shapes=shapes).module()
    for part in module.modules():
        part.training = False
    module.eval = lambda: module  # it is in this mode already; its own method refuses
    parts = cut_up(module, torch.rand(1, 4))
    if taken:
        assert_exact(parts, module, torch.rand(8, 4))
        return
    assert_exact(parts, module, torch.rand(1, 4))
    with pytest.raises(MalformedError, match=r"shape \[8, 4\], expected \[1, 4\]"):
        parts.check_inputs([torch.rand(8, 4)])


class Encoder(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.embed, self.out = nn.Linear(6, 8), nn.Linear(8, 3)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers) if layers else layer

    def forward(self, x):
        return self.out(self.encoder(self.embed(x)).mean(1))


@pytest.mark.parametrize("layers", [0, 2])
def test_a_transformer_encoder_is_cut_inside_and_it_says_why(layers, cut_up, assert_exact):
    module, x = Encoder(layers).eval(), torch.rand(1, 5, 6)
    with structlog.testing.capture_logs() as logs:
        parts = cut_up(module, x)
    assert parts.table.capture == "export"
    assert parts.table.last > 20 * max(layers, 1)
    assert not parts.refused
    (line,) = [entry for entry in logs if entry["event"] == "captured by the other tracer"]
    assert "as a single node" in line["reason"]
    assert torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert_exact(parts, module, x)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_what_a_tracer_prints_of_a_graph_that_it_cannot_export_does_not_reach_the_terminal(cut_up, capfd):
    class BranchOnData(nn.Module):
        def forward(self, x):
            y = x[x > 0.5]
            return y * 2 if y.shape[0] > 3 else y - 1

    with pytest.raises(GraphError) as caught:
        cut_up(BranchOnData(), torch.rand(1, 9))
    assert "\n" not in str(caught.value)
    printed = capfd.readouterr()
    assert "def forward" not in printed.out + printed.err
    assert "Traceback" not in printed.out + printed.err
