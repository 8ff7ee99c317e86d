"""How many requests of one kind tend to be there at once: what it is worth to wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    Kind = tuple[Any, ...]


class Crowds:
    """Expects as many requests of a kind as were there when the last of them were done: those, and those that waited.

    Whoever was answered asks again, or does not: then one wait was for nothing, and the next crowd is that much
    smaller. So one client alone is never kept waiting twice.

    Args:
        most: no more are worth waiting for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._last: dict[Kind, int] = {}

    def complete(self, waiting: Mapping[Kind, int], kind: Kind) -> bool:
        """Whether no more of a kind are expected. Of one that nobody has asked for yet, as many as can be are."""
        return waiting[kind] >= min(self._most, self._last.get(kind, self._most))

    def done(self, kind: Kind, together: int, waiting: int) -> None:
        """So many were computed together, and so many wait.

        Kinds are kept: there are no more of them than cuts and batch sizes, since values are checked.
        """
        self._last[kind] = together + waiting
