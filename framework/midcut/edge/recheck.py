"""Answers of the cloud, computed again at the edge: a cloud that computes wrongly is found by nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut.graph.probe import NOISE, TOLERANCE
from midcut.tensors import is_tensor, to_numpy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.types import Tensor


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


def difference(here: Sequence[Tensor | int], there: Sequence[Tensor | int]) -> str:
    """Why two results of one computation cannot both be right; `""` where they agree within float rounding."""
    for position, (own, other) in enumerate(zip(here, there, strict=True)):
        if not is_tensor(own) or not is_tensor(other):
            if own != other:
                return f"output {position} is {other}, here it is {own}"
        elif (off := _share_outside(own, other)) > 0.0:
            return f"{off:.0%} of output {position} differ"
    return ""


def _share_outside(own: Tensor, other: Tensor) -> float:
    if tuple(own.shape) != tuple(other.shape) or _dtype(own) != _dtype(other):
        return 1.0
    here, there = to_numpy(own), to_numpy(other)
    if not here.size:
        return 0.0
    if here.dtype.kind not in "fc":
        return float((here != there).mean())
    wide = np.complex128 if here.dtype.kind == "c" else np.float64
    here, there = here.astype(wide), there.astype(wide)
    finite = here[np.isfinite(here)]
    spread = float(finite.std()) if finite.size else 0.0
    size = float(np.sqrt(np.square(np.abs(finite)).mean())) if finite.size else 0.0
    alike = np.isclose(here, there, rtol=0.0, atol=TOLERANCE * spread + NOISE * size, equal_nan=True)
    return float((~alike).mean())


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
