"""The setting of a bed: in memory, or for a standing bed in a file that any number of processes read and change."""

from __future__ import annotations

import fcntl
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bed.errors import BedError
from bed.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Setting:
    """Values by name; those that were never set are missing.

    Args:
        file: holds the values; None: they are in memory only.

    Raises:
        BedError: on reading and changing, where the bed is gone or the file is damaged.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._values: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """The values now."""
        if self._file is None:
            return dict(self._values)
        try:
            return dict(json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError):
            raise BedError(f"{self._file}: not a file of a test bed; `tools/testbed down` removes it") from None

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """The values, for the block to change while no other process does. After an error they stay as they were."""
        if self._file is None:
            values = self.read()
            yield values
            self._values = values
            return
        try:
            lock = self._file.with_suffix(".lock").open("w", encoding="utf-8")
        except OSError:
            raise BedError("the test bed no longer exists") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            values = self.read()
            yield values
            write_json(self._file, values)
