"""Stacks the values of several requests into one batch and splits the outputs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog
import torch

from midcut.errors import MidcutError
from midcut.tensors import dim_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.graph.partitioned import Partition
    from midcut.graph.values import ExpectedValue

    Values = Sequence[torch.Tensor | int]

_log = structlog.get_logger(__name__)
# In a batch, sums are added in another order, so the last bits differ. Values stacked wrongly differ by far more.
_TOLERANCE: Final = 1e-4


class Batcher:
    """Computes several requests at once, at cuts where that gives the same results as one by one.

    The constructor finds these cuts by running the model three times: on two random inputs one by one, and on both as
    a batch. A cut is batchable where the values crossing it in the batch equal the stacked values of the single runs.
    If the model's outputs differ, no cut is batchable.

    Attributes:
        cuts: the batchable ones.
    """

    def __init__(self, partition: Partition) -> None:
        self._expected = [partition.expected(cut) for cut in range(partition.table.last + 1)]
        self.cuts = frozenset(self._find_batchable(partition))

    def stack(self, cut: int, requests: Sequence[Values]) -> list[torch.Tensor | int]:
        """Stack the values of requests at one cut; all requests have the same dtypes, shapes and memory layouts."""
        stacked: list[torch.Tensor | int] = []
        for spec, *values in zip(self._expected[cut], *requests, strict=True):
            if spec.dtype == "int":
                added = _added_samples(self._expected[cut], requests[0], len(requests))
                stacked.append(values[0] + spec.growth[0] * added)
            else:
                stacked.append(_concatenate(values, _batch_dim(spec)))
        return stacked

    def unstack(self, outputs: Values, count: int, cut: int = -1) -> list[list[torch.Tensor | int]]:
        """Split the values at a cut, by default the last one, into one list for each of `count` requests."""
        columns: list[Sequence[torch.Tensor | int]] = []
        for spec, value in zip(self._expected[cut], outputs, strict=True):
            if isinstance(value, int):
                total = 1 + (value - spec.sizes[0]) // spec.growth[0] if spec.growth[0] else 0
                single = spec.sizes[0] + spec.growth[0] * (total // count - 1) if spec.growth[0] else value
                columns.append([single] * count)
            else:
                columns.append(value.chunk(count, dim=_batch_dim(spec)))
        return [list(values) for values in zip(*columns, strict=True)]

    def _find_batchable(self, partition: Partition) -> list[int]:
        model, last = partition.table.model, partition.table.last
        if not self._grows_with_batch(last):
            _log.warning("requests are not batched", model=model, reason="the model's output does not grow with them")
            return []
        try:
            return self._compare_runs(partition)
        except (RuntimeError, TypeError, ValueError, IndexError, MidcutError) as error:
            reason = " ".join(str(error).split())[:200]
            _log.warning("requests are not batched", model=model, reason=reason)
            return []

    def _compare_runs(self, partition: Partition) -> list[int]:
        """Cuts at which a batch of two carries the stacked values of the single runs.

        Raises:
            ValueError: the model cannot be batched at any cut.
        """
        last = partition.table.last
        generator = torch.Generator().manual_seed(0)
        single_runs = [[_random_value(spec, generator) for spec in self._expected[0]] for _ in range(2)]
        if not self._grows_with_batch(0):
            raise ValueError("the model's inputs do not grow with the batch")
        batch_run = self.stack(0, single_runs)
        batchable = []
        for cut in range(last + 1):
            if cut:
                single_runs = [list(partition.run(cut - 1, cut, values)) for values in single_runs]
                batch_run = list(partition.run(cut - 1, cut, batch_run))
            if cut not in partition.refused and self._grows_with_batch(cut):
                stacked = self.stack(cut, single_runs)
                if all(_nearly_equal(a, b) for a, b in zip(stacked, batch_run, strict=True)):
                    batchable.append(cut)
        if last not in batchable:
            raise ValueError("a sample's output depends on the other samples of the batch")
        return batchable

    def _grows_with_batch(self, cut: int) -> bool:
        """Whether every tensor grows along exactly one dimension, in proportion to the batch size."""
        tensors = [spec for spec in self._expected[cut] if spec.dtype != "int"]
        return bool(tensors) and all(
            sum(map(bool, spec.growth)) == 1 and spec.growth[_batch_dim(spec)] == spec.sizes[_batch_dim(spec)]
            for spec in tensors
        )


def _batch_dim(spec: ExpectedValue) -> int:
    return next((dim for dim, growth in enumerate(spec.growth) if growth), 0)


def _concatenate(values: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    """Concatenate tensors and keep their memory layout; `torch.cat` keeps only named ones such as channels_last."""
    order = dim_order(values[0])
    if order is None:
        return torch.cat(list(values), dim=dim)
    physical = torch.cat([value.permute(order) for value in values], dim=order.index(dim))
    return physical.permute([order.index(dim) for dim in range(len(order))])


def _added_samples(specs: Sequence[ExpectedValue], values: Values, count: int) -> int:
    """How many more samples `count` requests have than the first of them alone."""
    for spec, value in zip(specs, values, strict=True):
        if isinstance(value, torch.Tensor):
            return value.shape[_batch_dim(spec)] // spec.growth[_batch_dim(spec)] * (count - 1)
    return 0


def _random_value(spec: ExpectedValue, generator: torch.Generator) -> Any:
    if spec.dtype == "int":
        return spec.sizes[0]
    dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point:
        return torch.rand(spec.sizes, generator=generator).to(dtype)
    return torch.zeros(spec.sizes, dtype=dtype)  # 0 is a valid index for any embedding


def _nearly_equal(a: Any, b: Any) -> bool:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return bool(a == b)
    if a.shape != b.shape or dim_order(a) != dim_order(b):
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    scale = float(a.abs().max()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE * scale)
