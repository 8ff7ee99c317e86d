"""Reading and writing the JSON files: one line of error with the file and the path inside it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from midcut.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def read_json(path: Path, kind: type[T], what: str, hint: str, wrong: Callable[[T], str]) -> T:
    """Decode a typed JSON file and check its numbers.

    Args:
        path: the file.
        kind: the msgspec type it must have.
        what: how the error names it, e.g. `profile`.
        hint: how to get a right one.
        wrong: says what no right file has, or `""`.

    Raises:
        FileError: it is missing, unreadable, not JSON, not of this type, or wrong.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FileError(f"{what} {path}: {error.strerror or error}; {hint}") from None
    try:
        value = msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise FileError(f"{what} {path}: {error}; {hint}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{what} {path}: not JSON ({error}); {hint}") from None
    found = wrong(value)
    if found:
        raise FileError(f"{what} {path}: {found}; {hint}")
    return value


def write_json(path: Path, value: T, what: str, wrong: Callable[[T], str]) -> Path:
    """Write a file that `read_json` accepts, at once or not at all; missing folders are made.

    Raises:
        FileError: it is wrong, or it cannot be written.
    """
    found = wrong(value)
    if found:
        raise FileError(f"{what} for {path} not written: {found}")
    text = msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FileError(f"cannot write {path}: {error.strerror or error}") from None
        raise
    return path
