"""Answers of the cloud, computed again at the edge: a cloud that computes wrongly is found by nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from midcut.graph.probe import NOISE, TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Sequence


class Recheck:
    """Chooses which answers are computed again: one in every so many, evenly.

    Args:
        share: of the answers, 0 for none to 1 for all.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._sum = 0.0

    def is_due(self) -> bool:
        """Whether the next answer is to be computed again; to be called once an answer."""
        self._sum += self._share
        due = self._sum >= 1.0
        self._sum -= due
        return due


def difference(here: Sequence[torch.Tensor | int], there: Sequence[torch.Tensor | int]) -> str:
    """Why two results of one computation cannot both be right; `""` where they agree within float rounding."""
    for position, (own, other) in enumerate(zip(here, there, strict=True)):
        if not isinstance(own, torch.Tensor) or not isinstance(other, torch.Tensor):
            if own != other:
                return f"output {position} is {other}, here it is {own}"
        elif (off := _share_outside(own, other)) > 0.0:
            return f"{off:.0%} of output {position} differ"
    return ""


def _share_outside(own: torch.Tensor, other: torch.Tensor) -> float:
    if own.shape != other.shape or own.dtype != other.dtype:
        return 1.0
    own, other = (value.dequantize() if value.is_quantized else value for value in (own, other))
    if not own.is_floating_point() and not own.is_complex():
        return float((own != other).double().mean()) if own.numel() else 0.0
    if not own.numel():
        return 0.0
    wide = torch.complex128 if own.is_complex() else torch.float64
    own, other = own.to(wide), other.to(wide)
    finite = own[torch.isfinite(own)]
    spread = float(finite.std(correction=0)) if finite.numel() else 0.0
    size = float(finite.abs().square().mean().sqrt()) if finite.numel() else 0.0
    alike = torch.isclose(own, other, rtol=0.0, atol=TOLERANCE * spread + NOISE * size, equal_nan=True)
    return float((~alike).double().mean())
