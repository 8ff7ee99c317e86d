"""Measured values summarised, and printed as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from midcut.types import Floats


class Quartiles(NamedTuple):
    """First quartile, median and third quartile. Formatted, `f"{quartiles:.2f}"`, it is `1.02 (0.98-1.05)`."""

    low: float
    median: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}}-{self.high:{spec}})"


def quartiles(values: Sequence[float] | Floats) -> Quartiles:
    return Quartiles(*np.percentile(values, (25, 50, 75)).tolist())


def text_table(title: str, columns: Iterable[str], left: Collection[str]) -> Table:
    """A table whose columns are numbers, aligned right, except those named in `left`."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right")
    return table
