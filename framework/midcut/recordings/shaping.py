"""What an imported trace is made ready with: its end, means over bins of equal length, and columns that it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from midcut.errors import ConfigError
from midcut.traces import Trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.types import Floats

MAX_BINS = 10_000_000
_SAME_S: Final = 2e-6  # times of a recording are rounded to a millionth of a second


def end_at(trace: Trace, end_s: float) -> Trace:
    """The trace with a period of `end_s`, where that is after its last row.

    A trace's last row lasts as long as the one before it (`Trace.period_s`). So one that does not becomes two rows of
    the same values, of half its length each.
    """
    last_s = float(trace.time_s[-1])
    if end_s - last_s <= _SAME_S or abs(end_s - trace.period_s) <= _SAME_S:
        return trace
    times = np.append(trace.time_s, round((last_s + end_s) / 2, 9))
    return Trace(times, {name: np.append(values, values[-1]) for name, values in trace.fields.items()})


def average_in_bins(trace: Trace, bin_s: float) -> Trace:
    """The means of a step function over bins of equal length, so that what a link carries in all stays the same.

    The last bin ends with the trace; where that makes it shorter, it becomes two rows (see `end_at`).

    Args:
        trace: its last row lasts as long as the one before it (`Trace.period_s`).
        bin_s: length of a bin, seconds.

    Raises:
        ConfigError: the bins are too many, or have no length.
    """
    trace = trace.rebased()
    if not 0.0 < bin_s < np.inf:
        raise ConfigError(f"the length of a bin must be finite and over 0 s, got {bin_s:g}")
    if trace.period_s / bin_s > MAX_BINS:
        raise ConfigError(f"bins of {bin_s:g} s make more than {MAX_BINS:,} of {trace.period_s:g} s; take longer ones")
    count = max(1, int(np.ceil(trace.period_s / bin_s - 1e-9)))
    edges = np.arange(count + 1, dtype=np.float64) * bin_s
    binned = Trace(edges[:-1], {name: _bin_means(trace, values, edges) for name, values in trace.fields.items()})
    return end_at(binned, trace.period_s)


def _bin_means(trace: Trace, values: Floats, edges: Floats) -> Floats:
    knots = np.append(trace.time_s, trace.period_s)
    integral = np.concatenate(([0.0], np.cumsum(values * np.diff(knots))))
    ends = np.minimum(edges, trace.period_s)
    means: Floats = np.maximum(np.diff(np.interp(ends, knots, integral)) / np.diff(ends), 0.0)
    return means


def fill_columns(trace: Trace, fill: Mapping[str, float]) -> Trace:
    """Add constant columns where the trace has none of that name."""
    added = {name: np.full(len(trace.time_s), float(value)) for name, value in fill.items() if name not in trace.fields}
    return Trace(trace.time_s, {**trace.fields, **added}) if added else trace
