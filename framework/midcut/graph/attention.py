"""The fast path of attention layers: fused kernels whose last bits differ from those of the layers' own parts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_WITH_FAST_PATH = (torch.nn.MultiheadAttention, torch.nn.TransformerEncoderLayer, torch.nn.TransformerEncoder)


def has_fast_path(module: torch.nn.Module) -> bool:
    """Whether any part of a module may take it."""
    return any(isinstance(part, _WITH_FAST_PATH) for part in module.modules())


@contextlib.contextmanager
def without_fast_path() -> Iterator[None]:
    """Turn the fast path off, in this process."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
