"""Several requests' values as one batch and back, where a model treats each sample by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog
import torch

from midcut.errors import MidcutError
from midcut.tensors import dim_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.graph.batch import Expected
    from midcut.graph.partition import Partition

    Values = Sequence[torch.Tensor | int]

_log = structlog.get_logger(__name__)
# A batch changes the order of additions, so that the last bits differ; a wrong join differs by far more.
_TOLERANCE: Final = 1e-4


class Batcher:
    """Knows at which cuts requests may be computed together. Finds out by running the model three times.

    Two made-up inputs go through the graph by themselves and as one batch. A cut is joinable where what crosses it in
    the batch is what crosses it twice, put side by side; none is where the outputs differ.

    Attributes:
        cuts: the joinable ones.
    """

    def __init__(self, partition: Partition) -> None:
        self._expected = [partition.expected(cut) for cut in range(partition.table.last + 1)]
        self.cuts = frozenset(self._joinable(partition))

    def stack(self, cut: int, requests: Sequence[Values]) -> list[torch.Tensor | int]:
        """Put the values of requests at one cut side by side; all have the same dtypes, shapes and layouts."""
        joined: list[torch.Tensor | int] = []
        for spec, *values in zip(self._expected[cut], *requests, strict=True):
            if spec.dtype == "int":
                joined.append(values[0] + spec.growth[0] * _more(self._expected[cut], requests[0], len(requests)))
            else:
                joined.append(_side_by_side(values, _axis(spec)))
        return joined

    def unstack(self, outputs: Values, count: int) -> list[list[torch.Tensor | int]]:
        """Take the values at the last cut apart again, one list for each of `count` requests."""
        columns: list[Sequence[torch.Tensor | int]] = []
        for spec, value in zip(self._expected[-1], outputs, strict=True):
            if isinstance(value, int):
                total = 1 + (value - spec.sizes[0]) // spec.growth[0] if spec.growth[0] else 0
                own = spec.sizes[0] + spec.growth[0] * (total // count - 1) if spec.growth[0] else value
                columns.append([own] * count)
            else:
                columns.append(value.chunk(count, dim=_axis(spec)))
        return [list(values) for values in zip(*columns, strict=True)]

    def _joinable(self, partition: Partition) -> list[int]:
        model, last = partition.table.model, partition.table.last
        if not self._fits(last):
            _log.warning("requests are not computed together", model=model, reason="its output does not grow with them")
            return []
        try:
            return self._walk(partition)
        except (RuntimeError, TypeError, ValueError, IndexError, MidcutError) as error:
            reason = " ".join(str(error).split())[:200]
            _log.warning("requests are not computed together", model=model, reason=reason)
            return []

    def _walk(self, partition: Partition) -> list[int]:
        last = partition.table.last
        seeded = torch.Generator().manual_seed(0)
        alone = [[_made_up(spec, seeded) for spec in self._expected[0]] for _ in range(2)]
        if not self._fits(0):
            raise ValueError("its inputs do not grow with the batch")
        both = self.stack(0, alone)
        found = []
        for cut in range(last + 1):
            if cut:
                alone = [list(partition.run(cut - 1, cut, values)) for values in alone]
                both = list(partition.run(cut - 1, cut, both))
            if cut not in partition.refused and self._fits(cut) and _alike(self.stack(cut, alone), both):
                found.append(cut)
        if last not in found:
            raise ValueError("a sample's output depends on the samples beside it")
        return found

    def _fits(self, cut: int) -> bool:
        """Whether every tensor grows along exactly one dimension, in proportion to the batch."""
        tensors = [spec for spec in self._expected[cut] if spec.dtype != "int"]
        return bool(tensors) and all(
            sum(map(bool, spec.growth)) == 1 and spec.growth[_axis(spec)] == spec.sizes[_axis(spec)] for spec in tensors
        )


def _axis(spec: Expected) -> int:
    return next((dim for dim, more in enumerate(spec.growth) if more), 0)


def _side_by_side(values: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
    """As `torch.cat`, which keeps only the layouts it knows by name."""
    order = dim_order(values[0])
    if order is None:
        return torch.cat(list(values), dim=axis)
    physical = torch.cat([value.permute(order) for value in values], dim=order.index(axis))
    return physical.permute([order.index(dim) for dim in range(len(order))])


def _more(specs: Sequence[Expected], values: Values, count: int) -> int:
    """Samples that `count` requests have beyond those of one."""
    for spec, value in zip(specs, values, strict=True):
        if isinstance(value, torch.Tensor):
            return value.shape[_axis(spec)] // spec.growth[_axis(spec)] * (count - 1)
    return 0


def _made_up(spec: Expected, seeded: torch.Generator) -> Any:
    if spec.dtype == "int":
        return spec.sizes[0]
    kind = getattr(torch, spec.dtype)
    if kind.is_floating_point:
        return torch.rand(spec.sizes, generator=seeded).to(kind)
    return torch.zeros(spec.sizes, dtype=kind)  # an index that any table has


def _alike(one: Values, other: Values) -> bool:
    return all(_same(a, b) for a, b in zip(one, other, strict=True))


def _same(a: Any, b: Any) -> bool:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return bool(a == b)
    if a.shape != b.shape or dim_order(a) != dim_order(b):
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    scale = float(a.abs().max()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE * scale)
