"""The rows of `slow_start` as an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evaluation.rows import count_lost
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.rows import Row
    from midcut.results.evaluation import Cell

SETTINGS: Final = ("always", "never")
"""Of `predictor.link.slow_start`."""
NOTES = (
    (
        "A kept-alive connection that is idle for two seconds starts slowly again where "
        "net.ipv4.tcp_slow_start_after_idle is 1, the default of Linux. Measured: the duration of the exchange "
        "without the cloud's computation, after a pause of two seconds and at once after that. Predicted from the "
        "telemetry, without live calibration, with `predictor.link.slow_start` always and never; error = predicted / "
        "measured - 1, of medians. Live: the forecast of the running edge for those requests, with `slow_start=auto` "
        "and live calibration."
    ),
)
_MEASURED = {"paused": "after a pause", "warm": "at once"}
_COLUMNS = (
    "link", "cut", "payload [kB]", "after a pause [ms]", "at once [ms]", "predicted, always [ms]",
    "predicted, never [ms]", "error after a pause, always [%]", "error after a pause, never [%]",
    "error at once, always [%]", "error at once, never [%]", "live error after a pause [%]", "live error at once [%]",
)  # fmt: skip


def evaluation(rows: Sequence[Row], bed: dict[str, Any]) -> Evaluation:
    """Tables, figure and values, finished or stopped."""
    cells: list[list[Cell]] = []
    errors: dict[str, list[float]] = {}
    names: list[str] = []
    drawn: dict[str, list[float]] = {}
    for row in (row for row in rows if row["kind"] == "predicted"):
        link, cut, payload_kb = row["link"], row["asked"], row["payload_bytes"] / 1e3
        measured_s = {kind: median_s(rows, link, cut, kind) for kind in _MEASURED}
        live_s = {kind: median_s(rows, link, cut, kind, "predicted_link_s") for kind in _MEASURED}
        own = {f"{kind}_{name}": row[name] / measured_s[kind] - 1.0 for kind in _MEASURED for name in SETTINGS}
        own |= {f"{kind}_live": live_s[kind] / measured_s[kind] - 1.0 for kind in _MEASURED}
        for name, error in own.items():
            if np.isfinite(error):
                errors.setdefault(name, []).append(abs(error))
        link_ms = {title: measured_s[kind] * 1e3 for kind, title in _MEASURED.items()}
        link_ms |= {f"predicted, {name}": row[name] * 1e3 for name in SETTINGS}
        cells.append([link, cut, payload_kb, *link_ms.values(), *(100 * error for error in own.values())])
        names.append(f"{link}, {payload_kb:.0f} kB")
        for name, value in link_ms.items():
            drawn.setdefault(name, []).append(value)
    series = [
        Series(name, names, y, kind="points" if name.startswith("predicted") else "bars") for name, y in drawn.items()
    ]
    values: dict[str, float | None] = {f"median_error_{name}": float(np.median(some)) for name, some in errors.items()}
    return Evaluation(
        title="TCP after a pause",
        notes=NOTES,
        bed=bed,
        tables=[Table("Seconds on the link, medians", _COLUMNS, cells)],
        figures=[Figure("slow-start", "The cost of a pause of two seconds", Axis(""), Axis("link [ms]"), series)],
        values=values | {"lost": count_lost(rows)},
    )


def median_s(rows: Sequence[Row], link: str, cut: int, kind: str, field: str = "link_s") -> float:
    """Median of the field over requests of this kind; NaN where there are none."""
    seconds = [
        row[field]
        for row in rows
        if (row["kind"], row["link"], row["asked"]) == (kind, link, cut)
        and "lost" not in row
        and not row.get("fallback")
        and row.get(field) is not None
    ]
    return float(np.median(seconds)) if seconds else float("nan")
