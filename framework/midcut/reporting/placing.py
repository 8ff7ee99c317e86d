"""Numbers and places of an evaluation's series, as they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midcut.results.evaluation import Series
    from midcut.types import Floats


@dataclass(frozen=True)
class Places:
    """Where things stand on the axis of x: names one step apart, numbers as they are."""

    names: tuple[str, ...]

    def of(self, series: Series) -> Floats:
        if self.names:
            return np.array([self.names.index(_name(x)) for x in series.x], dtype=np.float64)
        return floats(series.x)


def places_of(series: Sequence[Series]) -> Places:
    if not any(isinstance(x, str) for one in series for x in one.x):
        return Places(())
    return Places(tuple(dict.fromkeys(_name(x) for one in series for x in one.x)))


def _name(x: float | str | None) -> str:
    return x if isinstance(x, str) else "–" if x is None else f"{x:g}"


def step(x: Floats) -> float:
    """The smallest distance between two bars of a series."""
    apart = np.diff(np.unique(x[np.isfinite(x)]))
    return float(apart.min()) if apart.size else 1.0


def floats(values: Iterable[Any]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def numbers(series: Sequence[Series], *names: str) -> Floats:
    """All finite numbers of these fields."""
    lists = [getattr(one, name) for one in series for name in names]
    found = floats(value for values in lists if values is not None for value in values)
    return found[np.isfinite(found)]
