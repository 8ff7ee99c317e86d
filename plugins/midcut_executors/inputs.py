"""Inputs on which executors compare runtimes with PyTorch, and measure them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from midcut.protocols import Network

_FIXED_SEED = 0


def noise(network: Network) -> list[torch.Tensor]:
    """Noise of batch size 1; inputs that are not floats as in the example, because other numbers may not be valid."""
    generator = torch.Generator().manual_seed(_FIXED_SEED)
    return [
        torch.randn(value.shape, generator=generator).to(value.dtype) if value.dtype.is_floating_point else value
        for value in network.example
    ]
