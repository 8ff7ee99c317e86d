"""The files of a folder that is streamed, with those that arrive later if it is watched."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from midcut.edge.frontend.folder import matching_images

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from midcut.config.settings import InputFolder

_LOOK_S: Final = 0.5


async def files_in_turn(first: Sequence[Path], settings: InputFolder, stop: asyncio.Event) -> AsyncIterator[Path]:
    """Yield the first files as often as configured, then those that arrive, up to the limit.

    A file that arrives is taken when its size has not changed between two looks, and again if it was removed meanwhile.
    """
    total = len(first) * settings.repeat
    limit = settings.limit
    for position in range(total if limit is None else min(total, limit)):
        yield first[position % len(first)]
    given = min(total, limit) if limit is not None else total
    if not settings.watch:
        return
    seen = set(first)
    sizes: dict[Path, int] = {}
    while not stop.is_set() and (limit is None or given < limit):
        found = matching_images(settings)
        seen.intersection_update(found)  # whoever empties the folder keeps this short
        sizes_before, sizes = sizes, {file: _size(file) for file in found if file not in seen}
        for file, size in sizes.items():
            if size and sizes_before.get(file) == size and (limit is None or given < limit):
                seen.add(file)
                given += 1
                yield file
        try:
            async with asyncio.timeout(_LOOK_S):
                await stop.wait()
        except TimeoutError:
            continue


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # gone again
        return 0
