"""The fields of an observation: those of midcut itself, and those that plugins add. Light: no numpy."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ObservationField:
    """One quantity that telemetry measures, traces record and predictors read.

    Attributes:
        name: with its unit, e.g. `power_w`; an identifier.
        unit: for people, e.g. `W`.
        positive: whether 0 is not a value it can have; no field can be negative.
        summary: one line on what it is.

    Raises:
        ValueError: `name` is no identifier.
    """

    name: str
    unit: str
    positive: bool = False
    summary: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"observation field {self.name!r}: use letters, digits and underscores only")

    @property
    def bound(self) -> str:
        """What its values must be, in words."""
        return "over 0" if self.positive else "0 or more"

    def allows(self, value: float) -> bool:
        """Whether it can have this finite value."""
        return value > 0.0 or (value == 0.0 and not self.positive)


_FIELDS = {
    field.name: field
    for field in (
        ObservationField("clock_mhz", "MHz", positive=True, summary="clock of the edge server"),
        ObservationField("bandwidth_kbps", "kbit/s", summary="bandwidth from edge to cloud; 0 is an outage"),
        ObservationField("ping_ms", "ms", summary="round trip between edge and cloud"),
    )
}


def known_fields() -> Mapping[str, ObservationField]:
    """Name -> field: the three of midcut first, then those of the loaded plugins."""
    return MappingProxyType(_FIELDS)


def add_field(field: ObservationField) -> bool:
    """Make a field known; False if another one has its name. Only the loading of plugins calls this."""
    return _FIELDS.setdefault(field.name, field) == field
