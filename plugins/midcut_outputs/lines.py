"""Results as JSON lines, in a file or on stdout."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from midcut.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping


class JsonLines:
    """JSON lines at the end of a file; see `midcut.protocols.Output`."""

    def __init__(self, path: str) -> None:
        try:
            # Unbuffered: what a full disk did not take would be written again with the next line, or with the end.
            self._file = Path(path).expanduser().open("ab", buffering=0)
        except OSError as error:
            raise FileError(f"output.jsonl.path={path}: {error.strerror or error}") from None

    def write(self, result: Mapping[str, Any]) -> None:
        line = msgspec.json.encode(result) + b"\n"
        written = self._file.write(line)
        if written != len(line):
            with contextlib.suppress(OSError):  # not a regular file
                self._file.truncate(os.fstat(self._file.fileno()).st_size - (written or 0))
            raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes were written and taken back")

    def close(self) -> None:
        self._file.close()


class _Stdout:
    def write(self, result: Mapping[str, Any]) -> None:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        """Stdout stays open."""


def stdout() -> _Stdout:
    """JSON lines on stdout; see `midcut.protocols.Output`."""
    return _Stdout()
