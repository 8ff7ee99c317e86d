"""A file with a JSON object a line, to which a measurement adds as it goes: a kill loses no more than one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file, none where there is no file; a last one that was cut short is left out."""
    return [json.loads(line) for line in _whole(path)]


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Write one more, onto the disk."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def drop_unfinished(path: Path) -> None:
    """Take away a last line that was cut short, so that more can follow."""
    if path.exists():
        path.write_text("".join(_whole(path)))


def _whole(path: Path) -> list[str]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith("\n")]
