"""Reading and writing JSON files: an error is one line with the file and the path inside it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from midcut.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


def _no_fault(_: Any) -> str:
    return ""


def format_fault(value: Any) -> str:
    """What is wrong with the `format` of a file's content, `""` if nothing is or its type has none."""
    fields = msgspec.structs.fields(value) if isinstance(value, msgspec.Struct) else ()
    expected = next((field.default for field in fields if field.name == "format"), None)
    if expected is None or value.format == expected:
        return ""
    return f"$.format is {value.format!r}, this version reads {expected!r}"


def json_text(value: Any) -> bytes:
    """Encode the content of a JSON file: indented by one space, with a line feed at the end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def json_line(value: Any) -> bytes:
    """Encode one line of a file of JSON lines, with its line feed."""
    return msgspec.json.encode(value) + b"\n"


def read_json(path: Path, kind: type[T], what: str, hint: str, fault: Callable[[T], str] = _no_fault) -> T:
    """Decode a typed JSON file and check its numbers.

    Args:
        path: the file.
        kind: the msgspec type it must have.
        what: how the error names it, e.g. `profile`.
        hint: ends the error: how to get a valid file.
        fault: names what is wrong with a value, or returns `""`.

    Raises:
        FileError: it is missing, unreadable, not JSON, not of this type, or has a fault.
    """
    value = _decode(_read_bytes(path, what, hint), kind, f"{what} {path}", hint)
    if wrong := format_fault(value) or fault(value):
        raise FileError(f"{what} {path}: {wrong}; {hint}")
    return value


def read_lines(path: Path, kind: type[T], what: str, hint: str) -> list[T]:
    """Decode a file of typed JSON lines.

    Raises:
        FileError: as `read_json` does; the message has the number of the line.
    """
    lines = _read_bytes(path, what, hint).splitlines()
    return [_decode(line, kind, f"{what} {path}, line {count}", hint) for count, line in enumerate(lines, start=1)]


def write_json(path: Path, value: T, what: str, fault: Callable[[T], str] = _no_fault) -> Path:
    """Write a file that `read_json` accepts, whole or not at all; missing folders are created.

    Raises:
        FileError: it has a fault, or it cannot be written.
    """
    if wrong := format_fault(value) or fault(value):
        raise FileError(f"{what} for {path} not written: {wrong}")
    text = json_text(value)
    beside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(text)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def _read_bytes(path: Path, what: str, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{what} {path}: {error.strerror or error}; {hint}") from None


def _decode(text: bytes, kind: type[T], where: str, hint: str) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise FileError(f"{where}: {error}; {hint}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{where}: not JSON ({error}); {hint}") from None
