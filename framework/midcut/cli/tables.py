"""Where verbs print their tables."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_WIDE = 500


def table_console() -> Console:
    """A console for stdout. In a pipe it is as wide as a table needs, so that no name is cut off.

    It takes text as it is: the brackets of a path are no markup.
    """
    wide = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return Console(width=_WIDE if wide else None, markup=False, emoji=False)
