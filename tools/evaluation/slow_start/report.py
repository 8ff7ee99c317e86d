"""The rows of `slow_start` as an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.results.evaluation import Cell

WAYS: Final = ("always", "never")
_DRAWN: Final = ("after a pause", "at once", "predicted, always", "predicted, never")
NOTES = (
    (
        "A kept-alive connection that is idle for two seconds starts slowly again where "
        "net.ipv4.tcp_slow_start_after_idle is 1, as Linux has it unless told otherwise. Measured: what the "
        "exchange took beside the cloud's computation, after a pause of two seconds and at once after that. "
        "Predicted from what telemetry showed, without live calibration, with `predictor.link.slow_start` always "
        "and never; error = predicted / measured - 1, of medians. Live: what the running edge had forecast for "
        "those requests, by `slow_start=auto` and with live calibration."
    ),
)
_COLUMNS = (
    "link", "cut", "payload [kB]", "after a pause [ms]", "at once [ms]", "predicted, always [ms]",
    "predicted, never [ms]", "error after a pause, always [%]", "error after a pause, never [%]",
    "error at once, always [%]", "error at once, never [%]", "live error after a pause [%]", "live error at once [%]",
)  # fmt: skip


def evaluation(rows: Sequence[Mapping[str, Any]], bed: dict[str, Any]) -> Evaluation:
    """Tables, figure and values, whole or stopped."""
    cells: list[list[Cell]] = []
    errors: dict[str, list[float]] = {}
    for said in (row for row in rows if row["kind"] == "predicted"):
        took = {kind: median_s(rows, said["link"], said["asked"], kind) for kind in ("paused", "warm")}
        row: list[Cell] = [said["link"], said["asked"], said["payload_bytes"] / 1e3]
        row += [took[kind] * 1e3 for kind in took] + [said[way] * 1e3 for way in WAYS]
        for kind, seconds in took.items():
            for way in WAYS:
                error = said[way] / seconds - 1.0
                row.append(error * 100)
                if np.isfinite(error):
                    errors.setdefault(f"{kind}_{way}", []).append(abs(error))
        for kind, seconds in took.items():
            error = median_s(rows, said["link"], said["asked"], kind, "predicted_link_s") / seconds - 1.0
            row.append(error * 100)
            if np.isfinite(error):
                errors.setdefault(f"{kind}_live", []).append(abs(error))
        cells.append(row)
    values: dict[str, float | None] = {
        f"median_error_{name}": float(np.median(found)) for name, found in errors.items()
    }
    names = [f"{row[0]}, {row[2]:.0f} kB" for row in cells]
    drawn: dict[str, list[Any]] = {name: [row[at] for row in cells] for at, name in enumerate(_DRAWN, start=3)}
    series = [
        Series(name, names, y, kind="points" if name.startswith("predicted") else "bars") for name, y in drawn.items()
    ]
    return Evaluation(
        title="TCP after a pause",
        notes=NOTES,
        bed=bed,
        tables=[Table("The link's seconds, medians", _COLUMNS, cells)],
        figures=[Figure("slow-start", "What a pause of two seconds costs", Axis(""), Axis("link [ms]"), series)],
        values=values | {"lost": sum("lost" in row for row in rows)},
    )


def median_s(rows: Sequence[Mapping[str, Any]], link: str, cut: int, kind: str, what: str = "link_s") -> float:
    """Median of measured seconds; NaN where there are none."""
    taken = [
        row[what]
        for row in rows
        if (row["kind"], row["link"], row["asked"]) == (kind, link, cut)
        and "lost" not in row
        and not row.get("fallback")
        and row.get(what) is not None
    ]
    return float(np.median(taken)) if taken else float("nan")
