"""Files that other processes read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, at once: a reader sees the old file or the new one, never half of it."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(json.dumps(value), encoding="utf-8")
    draft.replace(path)
