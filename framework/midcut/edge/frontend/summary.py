"""Summary of a stream: figures for a file, a table for the terminal."""

from __future__ import annotations

import math
import random
from array import array
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from msgspec import UNSET
from rich.table import Table

from midcut.results.gains import MeanGains
from midcut.results.stream import Cost, Latency, PredictionError, Summary

if TYPE_CHECKING:
    from midcut.edge.dwelling import PlanningCounts
    from midcut.edge.frontend.stream import StreamOutcome
    from midcut.results.stream import Record


class StreamTotals:
    """What a summary needs of a stream's records, in bounded memory: a camera has no end.

    Attributes:
        answered: how many records were added.
    """

    def __init__(self) -> None:
        self.answered = 0
        self.switches = self.fallbacks = self.graded = self.right = 0
        self.cuts: Counter[tuple[int, ...]] = Counter()
        self.finished_by: Counter[str] = Counter()
        self.latency_s, self.cost_usd = Distribution(), Distribution()
        self.latency_error, self.cost_error = Distribution(), Distribution()
        self.gains = MeanGains()
        self._last_cuts: tuple[int, ...] | None = None

    def add(self, record: Record) -> None:
        """Count one request."""
        cuts = (record.cut,) if record.second_cut is UNSET else (record.cut, record.second_cut)
        self.switches += self._last_cuts not in (None, cuts)
        self._last_cuts = cuts
        self.answered += 1
        self.cuts[cuts] += 1
        self.finished_by[record.finished_by] += 1
        self.fallbacks += bool(record.fallback)
        if record.right is not UNSET:
            self.graded += 1
            self.right += record.right
        self.latency_s.add(record.latency_s)
        if record.cost_usd is not None:
            self.cost_usd.add(record.cost_usd)
        if record.predicted:
            self._compare(record)

    def _compare(self, record: Record) -> None:
        self.gains.add(record.predicted, record.alternatives)
        if record.fallback:
            return
        for errors, name in ((self.latency_error, "latency_s"), (self.cost_error, "cost_usd")):
            measured = getattr(record, name)
            if measured is not None and measured > 0.0:
                errors.add(abs(record.predicted[name] - measured) / measured)


class Distribution:
    """Numbers whose sum, largest one and quantiles are wanted.

    Quantiles are exact up to `_KEPT` numbers, and then those of a uniform random sample of as many (Vitter 1985,
    algorithm R).

    Attributes:
        total: the sum.
        largest: -inf without any.
    """

    def __init__(self) -> None:
        self.total, self.largest = 0.0, -math.inf
        self._count = 0
        self._kept = array("d")
        self._random = random.Random(0)

    def add(self, value: float) -> None:
        """Add a number."""
        self.total += value
        self.largest = max(self.largest, value)
        self._count += 1
        if self._count <= _KEPT:
            self._kept.append(value)
        elif (at := self._random.randrange(self._count)) < _KEPT:
            self._kept[at] = value

    def quantile(self, share: float) -> float | None:
        """The quantile of a share, 0 to 1; None without any number."""
        return float(np.quantile(self._kept, share)) if self._kept else None


_KEPT: Final = 100_000


def summarise(
    model: str,
    outcome: StreamOutcome,
    planning: PlanningCounts,
    calibration: dict[str, Any] | None = None,
    cloud_never_reached: str = "",
) -> Summary:
    """Describe a stream by its totals and averages.

    Args:
        model: name of the model.
        outcome: the outcome of the stream.
        planning: counts of what planning did during the stream.
        calibration: its state at the end; None if it is disabled.
        cloud_never_reached: why no cloud answered; `""` if one did.
    """
    totals = outcome.totals
    latency_s, cost_usd = totals.latency_s, totals.cost_usd
    return Summary(
        model=model,
        requests=totals.answered,
        skipped=outcome.skipped,
        stopped_early=outcome.stopped,
        wall_s=outcome.wall_s,
        latency_s=Latency(
            latency_s.quantile(0.5), latency_s.quantile(0.95), latency_s.largest if totals.answered else None
        ),
        cost_usd=Cost(total=cost_usd.total, median=cost_usd.quantile(0.5)),
        cuts={",".join(map(str, each)): totals.cuts[each] for each in sorted(totals.cuts)},
        switches=totals.switches,
        finished_by=dict(totals.finished_by),
        fallbacks=totals.fallbacks,
        prediction_error=PredictionError(totals.latency_error.quantile(0.5), totals.cost_error.quantile(0.5)),
        right=totals.right if totals.graded else None,
        graded=totals.graded,
        accuracy=totals.right / totals.graded if totals.graded else None,
        cloud_never_reached=cloud_never_reached,
        dropped=outcome.dropped,
        # Forecasts of a cloud that was never there compare with nothing that could have been.
        gains={} if cloud_never_reached else totals.gains.gains(),
        planning=asdict(planning),
        calibration=UNSET if calibration is None else calibration,
    )


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
