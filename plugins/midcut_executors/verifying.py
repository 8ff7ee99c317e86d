"""Compares segments of a runtime with PyTorch, also where an output hardly depends on what the segment is given."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from midcut.tensors import largest_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.protocols import Network, Segment

CHANGE_TOLERANCE: Final = 0.1


@dataclass(frozen=True)
class Comparison:
    """A segment beside PyTorch.

    Attributes:
        error: largest difference, as a share of the largest element; of several samples the median.
        change: how much PyTorch's output changes where what goes in is mirrored, as a share of the largest element.
        change_error: largest difference between the runtime's and PyTorch's change, as a share of the largest change.
    """

    error: float
    change: float
    change_error: float


def compare(
    network: Network, start: int, stop: int, segment: Segment, samples: Sequence[Sequence[Any]]
) -> Comparison | None:
    """Run a segment and PyTorch on samples; None where the model does not take them.

    Args:
        samples: inputs of the whole network.
    """
    given, expected = [], []
    try:
        for inputs in samples:
            given.append(network.run(0, start, inputs))
            expected.append(network.run(start, stop, given[-1]))
    except Exception:  # noqa: BLE001 - the model takes no noise, such as indices
        return None
    found = [segment.run(values)[0] for values in given]
    error = statistics.median(map(largest_error, found, expected))
    try:
        mirrored = [_mirrored(value, everything=start == 0) for value in given[0]]
        other = network.run(start, stop, mirrored)
        own = segment.run(mirrored)[0]
    except Exception:  # noqa: BLE001 - likewise; the error is known
        return Comparison(error, 1.0, 0.0)
    change_error = largest_error(_changes(own, found[0]), _changes(other, expected[0]))
    return Comparison(error, largest_error(other, expected[0]), change_error)


def last_varying_cut(network: Network, inputs: Sequence[Any], least: float) -> int:
    """The last cut whose values change by `least` or more of their largest element with the input; 0 if none do."""
    before, found = 0, 0
    values: Sequence[Any] = inputs
    others: Sequence[Any] = [_mirrored(value, everything=True) for value in inputs]
    for cut in network.table.cuts[1:-1]:
        if cut.refused:
            continue
        values, others = network.run(before, cut.index, values), network.run(before, cut.index, others)
        before = cut.index
        if largest_error(others, values) >= least:
            found = cut.index
    return found


def _mirrored(value: Any, *, everything: bool) -> Any:
    """A value with its last dimension the other way round; indices stay in the middle of a model."""
    if not isinstance(value, torch.Tensor) or not value.dim() or not (everything or value.is_floating_point()):
        return value
    return value.flip(-1)


def _changes(found: Sequence[Any], reference: Sequence[Any]) -> list[torch.Tensor]:
    pairs = zip(found, reference, strict=True)
    return [a.double() - b.double() for a, b in pairs if isinstance(a, torch.Tensor)]
