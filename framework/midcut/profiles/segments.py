"""Measures an executor that merges nodes: there, a node's own time means nothing, but real heads and tails have one."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from msgspec.structs import replace

from midcut.errors import ExecutorError
from midcut.tensors import largest_error
from midcut.terms import Role

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import torch

    from midcut.graph import Partition
    from midcut.profiles.profile import Run
    from midcut.protocols import Executor, Segment
    from midcut.types import Floats

_CUTS: Final = 11


def measuring_segments(
    partition: Partition, inputs: Sequence[torch.Tensor], role: Role, run: Run, executor: Executor, repeats: int
) -> Generator[None, None, Run]:
    """Replace the seconds per node by those of an executor; yields after each pass.

    Heads (of an edge) or tails (of a cloud) are measured at eleven cuts, about equally far apart in PyTorch's time. In
    between, seconds are interpolated in PyTorch's cumulative time. The seconds of a node are then the difference
    between two neighbouring cuts, and never negative.

    Args:
        run: PyTorch's seconds per node.
        executor: must be able to run the whole model; other cuts that it refuses are left out.
        repeats: counted passes.
    """
    cuts, segments = _segments(partition, role, run, executor)
    values = [list(inputs) if role is Role.edge else list(partition.run(0, cut, inputs)) for cut in cuts]
    seconds = np.empty((repeats, len(cuts)))
    for index in range(-1, repeats):
        for column, (segment, given) in enumerate(zip(segments, values, strict=True)):
            seconds[index, column] = segment.run(given)[1]
        yield
    medians = np.median(seconds, axis=0)
    torch_s = np.concatenate([[0.0], np.cumsum(run.node_s)])
    if role is Role.edge:
        known, at = np.concatenate([[0.0], medians]), [0, *cuts]
        total = np.interp(torch_s, torch_s[at], np.maximum.accumulate(known))
        node_s = np.diff(total)
    else:
        known, at = np.concatenate([medians, [0.0]]), [*cuts, partition.table.last]
        total = np.interp(torch_s, torch_s[at], np.maximum.accumulate(known[::-1])[::-1])
        node_s = -np.diff(total)
    whole = cuts.index(partition.table.last if role is Role.edge else 0)
    low, high = np.percentile(seconds[:, whole], (25, 75))
    spread_s = np.asarray(run.node_spread_s) * (medians[whole] / run.whole_s)
    return replace(
        run,
        node_s=tuple(np.maximum(node_s, 0.0).tolist()),
        node_spread_s=tuple(spread_s.tolist()),
        whole_s=float(medians[whole]),
        whole_spread_s=float(high - low),
        repeats=repeats,
        cut_errors=(
            _cut_errors(partition, role, cuts, segments, _samples(partition, inputs, executor))
            if getattr(partition, "has_torch", True)
            else {}
        ),
    )


def _samples(partition: Partition, inputs: Sequence[Any], executor: Executor) -> Sequence[Sequence[Any]]:
    """The pictures on which the executor is compared with PyTorch; without any the inputs that are measured with."""
    samples = getattr(executor, "samples", None)
    found = () if samples is None else cast("Sequence[Sequence[Any]]", samples(partition))
    return found if len(found) > 1 else [inputs]


def _cut_errors(
    partition: Partition, role: Role, cuts: Sequence[int], segments: Sequence[Segment], samples: Sequence[Sequence[Any]]
) -> dict[int, float]:
    """What a measured head or tail changes of the output, with the rest in PyTorch; infinite errors are left out.

    Of several samples, the median counts.
    """
    last = partition.table.last
    errors = {}
    for cut, segment in zip(cuts, segments, strict=True):
        found = []
        for inputs in samples:
            given = inputs if role is Role.edge else partition.run(0, cut, inputs)
            output = segment.run(given)[0]
            expected = partition.run(0 if role is Role.edge else cut, last, given)
            found.append(largest_error(partition.run(cut, last, output) if role is Role.edge else output, expected))
        error = statistics.median(found)
        if math.isfinite(error):
            errors[cut] = error
    return errors


def _segments(partition: Partition, role: Role, run: Run, executor: Executor) -> tuple[list[int], list[Segment]]:
    """Cuts at about equal distances in time, ascending, and the heads before them or the tails after them."""
    torch_s: Floats = np.cumsum(run.node_s)
    wanted = np.linspace(0.0, torch_s[-1], _CUTS + 1)
    last = partition.table.last
    whole = last if role is Role.edge else 0
    cuts = {int(np.searchsorted(torch_s, seconds)) + 1 for seconds in wanted[1:-1]} - {0, last}
    found: dict[int, Segment] = {}
    for cut in sorted({*cuts, whole}):
        ends = (0, cut) if role is Role.edge else (cut, last)
        try:
            found[cut] = executor.prepare(partition, *ends)
        except ExecutorError:
            if cut == whole:
                raise
    return list(found), list(found.values())
