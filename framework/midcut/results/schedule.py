"""`schedule.json`: several applications on three tiers, by each method. `midcut schedule` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from midcut.results.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

FILE = "schedule.json"
FORMAT = "midcut-schedule/1"


class ScheduledApplication(Struct, frozen=True):
    """One application.

    Attributes:
        model: name.
        deadline_s: null where it has none.
        layers: number of layers.
        device_s: seconds of all of it on the device.
    """

    model: str
    deadline_s: float | None
    layers: int
    device_s: float


class MethodResult(Struct, frozen=True):
    """What one method found, with one seed.

    Attributes:
        method: exhaustive, dp, greedy or pso_ga.
        seed: of pso_ga; null for the others.
        placements: for every application the tier of each layer: 0 device, 1 edge, 2 cloud.
        end_s: when every application is done.
        cost_usd: of all.
        late_s: by how much deadlines are missed, in all.
        gap: money over the reference's, minus 1; null where it or the reference misses a deadline, or is free.
        wall_s: seconds of the search.
    """

    method: str
    seed: int | None
    placements: tuple[tuple[int, ...], ...]
    end_s: tuple[float, ...]
    cost_usd: float
    late_s: float
    gap: float | None
    wall_s: float


class ScheduleResult(Struct, frozen=True):
    """A whole run.

    Attributes:
        reference: what gaps are relative to: `exhaustive` over all pairs of cuts, `dp`, the optimum of one application,
            or `bound`, each application's optimum alone, which no schedule can undercut.
        reference_usd: its money.
        reference_met: whether it meets all deadlines.
    """

    applications: tuple[ScheduledApplication, ...]
    reference: str
    reference_usd: float
    reference_met: bool
    results: tuple[MethodResult, ...]
    format: str = FORMAT


def write_schedule(path: Path, schedule: ScheduleResult) -> Path:
    """Write a schedule, whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    return write_json(path, schedule, "schedule")


def read_schedule(path: Path) -> ScheduleResult:
    """Read a schedule.

    Raises:
        FileError: missing, not JSON, or not this format; the message says where.
    """
    return read_json(path, ScheduleResult, "schedule", "`midcut schedule` writes one")
