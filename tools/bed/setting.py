"""What a bed is set to: in memory, or for a standing bed in a file that any number of processes read and change."""

from __future__ import annotations

import fcntl
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bed.errors import BedError
from bed.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Setting:
    """Values by name; those that nobody has set are missing.

    Args:
        file: where they are kept; None: here alone.

    Raises:
        BedError: on reading and changing, where the file's bed is gone, or the file is damaged.
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
            raise BedError(f"{self._file}: not a test bed's; `tools/testbed down` removes it") from None

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """The values, to be changed inside; nobody else changes them meanwhile, and after an error they stay."""
        if self._file is None:
            values = self.read()
            yield values
            self._values = values
            return
        try:
            lock = self._file.with_suffix(".lock").open("w", encoding="utf-8")
        except OSError:
            raise BedError("the test bed stands no more") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            values = self.read()
            yield values
            write_whole(self._file, values)
