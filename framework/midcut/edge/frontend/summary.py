"""Summary of a stream: figures for a file, a table for the terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import UNSET
from rich.table import Table

from midcut.results.gains import mean_gains
from midcut.results.stream import Cost, Latency, PredictionError, Summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.edge.dwelling import PlanningCounts
    from midcut.edge.frontend.stream import StreamOutcome


def summarise(
    model: str,
    outcome: StreamOutcome,
    planning: PlanningCounts,
    calibration: dict[str, Any] | None = None,
    cloud_never_reached: str = "",
) -> Summary:
    """Count and average a stream's records.

    Args:
        model: name of the model.
        outcome: the outcome of the stream.
        planning: counts of what planning did during the stream.
        calibration: its state at the end; None if it is disabled.
        cloud_never_reached: why no cloud answered; `""` if one did.
    """
    records = outcome.records
    cuts = Counter(_cuts_of(record) for record in records)
    graded = [record["right"] for record in records if "right" in record]
    costs_usd = [record["cost_usd"] for record in records]
    # Forecasts of a cloud that was never there compare with nothing that could have been.
    forecast = [] if cloud_never_reached else [record for record in records if record["predicted"]]
    return Summary(
        model=model,
        requests=len(records),
        skipped=outcome.skipped,
        stopped_early=outcome.stopped,
        wall_s=outcome.wall_s,
        latency_s=_quantiles([record["latency_s"] for record in records]),
        cost_usd=Cost(total=float(sum(costs_usd)), median=_median(costs_usd)),
        cuts={",".join(map(str, each)): cuts[each] for each in sorted(cuts)},
        switches=sum(_cuts_of(before) != _cuts_of(after) for before, after in pairwise(records)),
        finished_by=dict(Counter(record["finished_by"] for record in records)),
        fallbacks=sum(bool(record["fallback"]) for record in records),
        prediction_error=PredictionError(_median_error(records, "latency_s"), _median_error(records, "cost_usd")),
        right=sum(graded) if graded else None,
        graded=len(graded),
        accuracy=sum(graded) / len(graded) if graded else None,
        cloud_never_reached=cloud_never_reached,
        dropped=outcome.dropped,
        gains=mean_gains([(record["predicted"], record.get("alternatives", {})) for record in forecast]),
        planning=asdict(planning),
        calibration=UNSET if calibration is None else calibration,
    )


def _cuts_of(record: Mapping[str, Any]) -> tuple[int, ...]:
    """The cut of a request, and where a relay stopped the second one."""
    return (record["cut"],) if "second_cut" not in record else (record["cut"], record["second_cut"])


def summary_table(summary: Summary, title: str) -> Table:
    """The summary for a terminal."""
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    for name, text in _table_rows(summary):
        table.add_row(name, text)
    return table


def _table_rows(summary: Summary) -> list[tuple[str, str]]:
    latency, cost, error = summary.latency_s, summary.cost_usd, summary.prediction_error
    skipped = f", {summary.skipped} unreadable images skipped" if summary.skipped else ""
    skipped += f", {summary.dropped} late frames dropped" if summary.dropped else ""
    early = ", stopped early" if summary.stopped_early else ""
    rows = [("requests", f"{summary.requests} in {summary.wall_s:.1f} s{skipped}{early}")]
    if latency.median is None or latency.p95 is None or cost.median is None or cost.total is None:
        return rows
    rows += [
        ("latency", f"median {latency.median * 1e3:.2f} ms, 95 % under {latency.p95 * 1e3:.2f} ms"),
        ("cost", f"median {cost.median * 1e6:.4f} µ$, {cost.total * 1e6:.2f} µ$ in total"),
        ("cuts", ", ".join(f"{cut} ({count}x)" for cut, count in summary.cuts.items())),
        ("switches", str(summary.switches)),
        ("finished by", ", ".join(f"{side} {count}" for side, count in summary.finished_by.items())),
        ("fallbacks", str(summary.fallbacks)),
        ("prediction error", f"latency {_error_text(error.latency_s)}, cost {_error_text(error.cost_usd)}"),
        *(("", f"{gain} than {name}, by the forecasts in use") for name, gain in summary.gains.items()),
        ("planning", _planning_text(summary.planning)),
    ]
    if summary.cloud_never_reached:
        rows.append(("cloud", f"NEVER REACHED: {summary.cloud_never_reached}"))
    if summary.accuracy is not None:
        rows.append(("right", f"{summary.right} of {summary.graded} ({summary.accuracy:.2%})"))
    return rows


def _planning_text(counts: dict[str, int]) -> str:
    words = {
        "switches": "switches",
        "held": "switches held back",
        "fallbacks": "fallbacks",
        "unmet": "steps with the limit not met",
    }
    parts = [f"{counts[name]} {text}" for name, text in words.items() if counts[name] or name == "switches"]
    return f"{counts['steps']} steps, {', '.join(parts)}"


def _error_text(error: float | None) -> str:
    return "unknown" if error is None else f"{error:.1%} (median)"


def _quantiles(values: list[float]) -> Latency:
    if not values:
        return Latency(None, None, None)
    return Latency(_median(values), float(np.quantile(values, 0.95)), max(values))


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _median_error(records: list[dict[str, Any]], name: str) -> float | None:
    return _median(
        [
            abs(record["predicted"][name] - record[name]) / record[name]
            for record in records
            if record["predicted"] and not record["fallback"] and record[name] > 0.0
        ]
    )
