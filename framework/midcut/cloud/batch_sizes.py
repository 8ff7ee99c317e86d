"""Estimates how many requests are in the queue together, and so for how large a batch it is worth waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    BatchKey = tuple[Any, ...]  # equal for requests that can be computed in one batch

# Clients may send tensors in any memory layout, and each layout is a kind of its own.
_MOST_KINDS: Final = 1024


class BatchSizeEstimator:
    """Expects as many requests of a kind as were in the queue when the last of them left it, themselves included.

    Clients that were answered, or gave up, usually ask again. If one does not, one wait is in vain and the expected
    number falls, so that a client alone never waits for others twice.

    Args:
        most: the largest batch.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._expected: dict[BatchKey, int] = {}

    def fills_a_batch(self, waiting: Mapping[BatchKey, int], kind: BatchKey) -> bool:
        """Whether no more requests of a kind are expected. Of a new kind, a full batch is expected."""
        return waiting[kind] >= min(self._most, self._expected.get(kind, self._most))

    def observe(self, kind: BatchKey, count: int) -> None:
        """Record how many requests of a kind were in the queue together."""
        if kind not in self._expected and len(self._expected) >= _MOST_KINDS:
            self._expected.clear()
        self._expected[kind] = count
