"""How many requests of one kind tend to be there at once: what it is worth to wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    Kind = tuple[Any, ...]

# A stranger may ask in any layout of memory, each a kind of its own.
_MOST_KINDS: Final = 1024


class BatchSizeEstimator:
    """Expects as many requests of a kind as were there when the last of them were done: those, and those that waited.

    Whoever was answered, or gave up, asks again, or does not: then one wait was for nothing, and the next crowd is that
    much smaller. So one client alone is never kept waiting twice.

    Args:
        most: no more are worth waiting for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._last: dict[Kind, int] = {}

    def is_full(self, waiting: Mapping[Kind, int], kind: Kind) -> bool:
        """Whether no more of a kind are expected. Of one that nobody has asked for yet, as many as can be are."""
        return waiting[kind] >= min(self._most, self._last.get(kind, self._most))

    def observe(self, kind: Kind, count: int) -> None:
        """So many of a kind were there at once."""
        if kind not in self._last and len(self._last) >= _MOST_KINDS:
            self._last.clear()
        self._last[kind] = count
