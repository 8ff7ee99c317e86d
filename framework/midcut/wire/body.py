"""A body as it came, in chunks: read where it stands, joined only where somebody needs one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Pieces: TypeAlias = "Sequence[memoryview]"


class Body:
    """A body's chunks, read-only.

    Args:
        chunks: not empty ones, in order; kept, not copied.
    """

    def __init__(self, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
        self._chunks = chunks
        self.size_bytes = sum(map(len, chunks))

    def pieces(self, start: int, stop: int) -> Pieces:
        """Views of bytes start..stop-1."""
        if len(self._chunks) == 1:
            return [memoryview(self._chunks[0])[start:stop]] if start < stop else []
        found = []
        at = 0
        for chunk in self._chunks:
            end = at + len(chunk)
            if end > start and at < stop:
                found.append(memoryview(chunk)[max(start - at, 0) : min(stop, end) - at])
            at = end
            if at >= stop:
                break
        return found

    def joined(self, start: int, stop: int) -> bytes | bytearray | memoryview:
        """Bytes start..stop-1 in one piece, copied only where they stand in several."""
        if len(self._chunks) == 1:
            chunk = self._chunks[0]
            return chunk if stop - start == self.size_bytes else memoryview(chunk)[start:stop]
        return joined(self.pieces(start, stop))


def joined(pieces: Pieces) -> bytes | memoryview:
    """Pieces as one, copied only where there are several."""
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
