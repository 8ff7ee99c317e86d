"""How far the values of one executor are from those of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERANCE: Final = 1e-3
"""Largest difference from PyTorch at `executor.accuracy=float32`, as a share of a value's largest element."""


def largest_error(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference as a share of the largest element of the same value; infinite if shapes differ."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if not isinstance(b, torch.Tensor):
            worst = max(worst, 0.0 if a == b else float("inf"))
        elif a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        elif b.numel():
            scale = float(b.double().abs().max()) or 1.0
            difference = float((a.double() - b.double()).abs().max()) / scale
            worst = max(worst, difference if difference == difference else float("inf"))  # noqa: PLR0124 - NaN
    return worst
