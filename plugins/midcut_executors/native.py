"""Execution on this machine at its own speed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch


class Native:
    """Runs a segment on the calling thread and measures its time."""

    def run(self, segment: Callable[[], Sequence[torch.Tensor | int]]) -> tuple[Sequence[torch.Tensor | int], float]:
        start = time.perf_counter()
        values = segment()
        return values, time.perf_counter() - start

    def close(self) -> None:
        """Nothing to release."""
