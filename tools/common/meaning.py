"""Random weights under which an output depends on the input, so that comparing outputs proves something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from midcut.types import LoadedModel

_IMAGES = 4


def give_meaning(model: LoadedModel, passes: int = 1) -> None:
    """Give batch normalisation statistics of noise, and layers of zeros weights.

    Args:
        model: its module is changed.
        passes: batches of noise, whose statistics are averaged.
    """
    generator = torch.Generator().manual_seed(0)
    norms = []
    for module in model.module.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            norms.append(module.train())
            module.reset_running_stats()
            module.momentum = None  # a cumulative average
    if not norms:
        return
    shapes = [value.shape for value in model.example]
    with torch.no_grad():
        for _ in range(passes):
            model.module(*(torch.randn(_IMAGES, *shape[1:], generator=generator) for shape in shapes))
    for norm in norms:
        norm.eval()
