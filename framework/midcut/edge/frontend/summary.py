"""What a stream amounts to: numbers for a file, a table for a person."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

if TYPE_CHECKING:
    from midcut.edge.frontend.stream import Streamed


def summarise(done: Streamed) -> dict[str, Any]:
    """Count and average a stream's records.

    Returns:
        JSON-able. Latencies in seconds, money in US dollars; `prediction_error` is the median of
        |predicted - measured| / measured over requests that went as predicted (no fallback), per part.
    """
    records = done.records
    cuts = Counter(record["cut"] for record in records)
    graded = [record["right"] for record in records if "right" in record]
    return {
        "requests": len(records),
        "skipped": done.skipped,
        "stopped_early": done.stopped,
        "wall_s": done.wall_s,
        "latency_s": _quantiles([record["latency_s"] for record in records]),
        "cost_usd": {
            "total": float(sum(record["cost_usd"] for record in records)),
            "median": _median([record["cost_usd"] for record in records]),
        },
        "cuts": {str(cut): cuts[cut] for cut in sorted(cuts)},
        "switches": sum(one["cut"] != other["cut"] for one, other in pairwise(records)),
        "finished_by": dict(Counter(record["finished_by"] for record in records)),
        "fallbacks": sum(bool(record["fallback"]) for record in records),
        "prediction_error": {name: _error(records, name) for name in ("latency_s", "cost_usd")},
        "right": sum(graded) if graded else None,
        "graded": len(graded),
        "accuracy": sum(graded) / len(graded) if graded else None,
    }


def as_table(summary: dict[str, Any], title: str) -> Table:
    """The summary for a terminal."""
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    for name, text in _rows(summary):
        table.add_row(name, text)
    return table


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    latency, cost, errors = summary["latency_s"], summary["cost_usd"], summary["prediction_error"]
    skipped = f", {summary['skipped']} unreadable images skipped" if summary["skipped"] else ""
    early = ", stopped early" if summary["stopped_early"] else ""
    rows = [("requests", f"{summary['requests']} in {summary['wall_s']:.1f} s{skipped}{early}")]
    if not summary["requests"]:
        return rows
    rows += [
        ("latency", f"median {latency['median'] * 1e3:.2f} ms, 95 % under {latency['p95'] * 1e3:.2f} ms"),
        ("cost", f"median {cost['median'] * 1e6:.4f} µ$, {cost['total'] * 1e6:.2f} µ$ in all"),
        ("cuts", ", ".join(f"{cut} ({count}x)" for cut, count in summary["cuts"].items())),
        ("switches", str(summary["switches"])),
        ("finished by", ", ".join(f"{who} {count}" for who, count in summary["finished_by"].items())),
        ("fallbacks", str(summary["fallbacks"])),
        ("predicted", ", ".join(f"{name}: {_percent(error)}" for name, error in errors.items())),
    ]
    if "planning" in summary:
        rows.append(("planning", _planned(summary["planning"])))
    if summary["graded"]:
        rows.append(("right", f"{summary['right']} of {summary['graded']} ({summary['accuracy']:.2%})"))
    return rows


def _planned(counts: dict[str, int]) -> str:
    said = {"switches": "switches", "held": "held by dwell", "fallbacks": "fallbacks", "unmet": "over the limit"}
    told = [f"{counts[name]} {words}" for name, words in said.items() if counts[name] or name == "switches"]
    return f"{counts['steps']} steps, {', '.join(told)}"


def _percent(error: float | None) -> str:
    return "no forecast" if error is None else f"off by {error:.1%} (median)"


def _quantiles(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"median": None, "p95": None, "max": None}
    return {"median": _median(values), "p95": float(np.quantile(values, 0.95)), "max": max(values)}


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _error(records: list[dict[str, Any]], name: str) -> float | None:
    return _median(
        [
            abs(record["predicted"][name] - record[name]) / record[name]
            for record in records
            if record["predicted"] and not record["fallback"] and record[name] > 0.0
        ]
    )
