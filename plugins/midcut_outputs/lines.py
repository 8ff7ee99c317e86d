"""Results as JSON lines, in a file or on stdout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from midcut.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping


class JsonLines:
    """JSON lines at the end of a file; see `midcut.protocols.Output`."""

    def __init__(self, path: str) -> None:
        try:
            self._file: TextIO = Path(path).expanduser().open("a", encoding="utf-8")
        except OSError as error:
            raise FileError(f"output.jsonl.path={path}: {error.strerror or error}") from None

    def write(self, result: Mapping[str, Any]) -> None:
        self._file.write(msgspec.json.encode(result).decode() + "\n")
        self._file.flush()

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
