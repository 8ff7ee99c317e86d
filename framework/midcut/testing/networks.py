"""A small captured model for the contract suite of executors."""

from __future__ import annotations

import torch
from torch import nn

from midcut.config.settings import CutSettings
from midcut.graph import Partition, partition
from midcut.types import LoadedModel


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.activation = nn.SiLU(inplace=True)
        self.branch = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        values = self.activation(self.norm(self.first(image)))
        values = torch.relu_(values + self.branch(values))
        output: torch.Tensor = self.head(values.mean((2, 3)))
        return output


def small_network() -> Partition:
    """A network with a branch, a normalisation with statistics, and operations in place; seeded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = _Small()
        module.train()(torch.randn(16, 3, 12, 12))
    example = (torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)),)
    return partition(LoadedModel("small", module.eval(), example, lambda _: example[0]), CutSettings())
