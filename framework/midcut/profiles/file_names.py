"""Names of files that begin with the name of a model, which may hold anything."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_OTHER: Final = re.compile(r"[^A-Za-z0-9_+-]")
_KEPT: Final = 40


def file_name(model: str) -> str:
    """The name of a model where a file may have it; else its plain letters, and a hash that keeps it apart."""
    if _PLAIN.fullmatch(model):
        return model
    digest = hashlib.sha256(model.encode(errors="surrogatepass")).hexdigest()[:8]
    plain = _OTHER.sub("_", model[:_KEPT]).lstrip("+-") or "_"
    return f"{plain}-{digest}"
