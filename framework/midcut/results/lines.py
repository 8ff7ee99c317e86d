"""Files of lines that never end in a part of a line, also where the disk is full."""

from __future__ import annotations

import contextlib
import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from midcut.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_RESERVED_BYTES = 64 * 1024


class LineFile:
    """Writes whole lines, each at once: after a crash or on a full disk the file ends with its last whole line.

    Args:
        append: keep what the file holds; otherwise it starts empty.

    Raises:
        FileError: it cannot be opened, and from `write`, a line could not be written.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        self._path = path
        try:
            self._file = path.open("ab" if append else "wb", buffering=0)
        except OSError as error:
            raise FileError(f"cannot write {path}: {error.strerror or error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, line: bytes) -> None:
        end = self._file.tell()
        left = memoryview(line)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
                self._file.seek(end)
            raise FileError(f"cannot write {self._path}: {error.strerror or error}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes that append to the file waiting."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._file.seek(0, os.SEEK_END)
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


@contextmanager
def reserved_space(folder: Path) -> Iterator[None]:
    """Occupy a little of the disk, so that there is space afterwards even if the disk is full by then."""
    reserve = folder / f".reserved-{os.getpid()}"
    with contextlib.suppress(OSError), reserve.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, _RESERVED_BYTES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            reserve.unlink(missing_ok=True)
