"""How a column of a forecast is shown to people: its name, and the unit at the end of its name."""

from __future__ import annotations

from typing import Final, NamedTuple

_UNITS: Final = {"s": ("ms", 1e3), "j": ("mJ", 1e3), "usd": ("µ$", 1e6)}


class ShownColumn(NamedTuple):
    """A column for people.

    Attributes:
        name: without the unit.
        unit: that the values are shown in; `""` if the column's name has none that is known.
        factor: by which values are multiplied to be shown.
    """

    name: str
    unit: str
    factor: float


def shown_column(column: str) -> ShownColumn:
    """`energy_j` is energy in mJ; a column whose unit is not known is shown as it is."""
    name, _, unit = column.rpartition("_")
    if not name or unit not in _UNITS:
        return ShownColumn(column, "", 1.0)
    return ShownColumn(name.replace("_", " "), *_UNITS[unit])
