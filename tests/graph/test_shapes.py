from __future__ import annotations

import pytest
import torch
from torch import nn

from midcut.config.settings import Capture
from midcut.graph.capture import capture
from midcut.graph.shapes import learn_batch
from midcut.graph.values import ExpectedValue, check_values
from midcut.graph.verify import examine


class Windows(nn.Module):
    """Batch items become rows among others, sizes cross as ints, and one value does not depend on the batch."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.rand(4, 4))
        self.mix = nn.Linear(4, 4)

    def forward(self, x):
        bias = self.table * 2
        rows = x.size(0) * 6
        y = self.mix(x.permute(0, 2, 1).reshape(rows, 4))
        return torch.cat([y + (y @ bias), bias])


@pytest.mark.parametrize("forward_s", [0.0, 1e9], ids=["run at batch 2", "propagate shapes"])
def test_growth_per_batch_item_by_hand(forward_s):
    module, x = Windows().eval(), torch.rand(1, 4, 6)
    program = capture(module, (x,), Capture.fx)
    examination = examine(program, (x,), verify=True)
    grown = learn_batch(program, (x,), examination, forward_s)
    by_name = {program.names[register]: parts[0] for register, parts in grown.items()}
    assert by_name["x"] == (1, 0, 0)
    assert by_name["size"] == (1,)
    assert by_name["mul_1"] == (6,)
    assert by_name["mul"] == (0, 0)
    assert by_name["mix"] == (6, 0)
    assert by_name["cat"] == (6, 0)
    assert examination.parts[program.live[-1][0]] == [("float32", (10, 4))]


def test_sizes_with_an_offset_follow_the_batch():
    rows = ExpectedValue("cat", "float32", (10, 4), (6, 0))
    for batch in (1, 2, 7):
        check_values([torch.rand(6 * batch + 4, 4)], [rows], "cut 9")
    with pytest.raises(Exception, match=r"cut 9: 'cat' has shape \[11, 4\], expected \[4\+6\*B, 4\]"):
        check_values([torch.rand(11, 4)], [rows], "cut 9")
