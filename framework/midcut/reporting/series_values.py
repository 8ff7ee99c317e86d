"""Values of an evaluation's series, and where they stand on the x axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midcut.results.evaluation import Series
    from midcut.types import Floats


@dataclass(frozen=True)
class XAxis:
    """Where values stand on the x axis: categories are one apart, numbers stand where they are.

    Attributes:
        categories: from left to right; empty where x is a number.
    """

    categories: tuple[str, ...]

    def positions(self, series: Series) -> Floats:
        if self.categories:
            return np.array([self.categories.index(_category(x)) for x in series.x], dtype=np.float64)
        return to_floats(series.x)


def x_axis(series: Sequence[Series]) -> XAxis:
    """The axis that all series of a figure share: of categories where any x is a text."""
    if not any(isinstance(x, str) for each in series for x in each.x):
        return XAxis(())
    return XAxis(tuple(dict.fromkeys(_category(x) for each in series for x in each.x)))


def _category(x: float | str | None) -> str:
    return x if isinstance(x, str) else "–" if x is None else f"{x:g}"


def bar_distance(x: Floats) -> float:
    """The smallest distance between two bars of a series."""
    distances = np.diff(np.unique(x[np.isfinite(x)]))
    return float(distances.min()) if distances.size else 1.0


def to_floats(values: Iterable[Any]) -> Floats:
    """Values as an array; None becomes NaN."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def finite_values(series: Sequence[Series], *fields: str) -> Floats:
    """All finite numbers in these fields of the series."""
    columns = [getattr(each, field) for each in series for field in fields]
    values = to_floats(value for column in columns if column is not None for value in column)
    return values[np.isfinite(values)]
