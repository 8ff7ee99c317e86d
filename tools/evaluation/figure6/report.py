"""Figure 6's four ratios from measured samples, beside the published ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evaluation.rows import count_lost, is_measured
from evaluation.statistics import relative_difference
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.rows import Row
    from midcut.results.evaluation import Cell
    from midcut.types import Floats

FAST, HALF, CHEAP = 0.0, 0.5, 1.0
WEIGHTS: Final = (FAST, HALF, CHEAP)
METRICS: Final = ("latency_s", "cost_usd")
PUBLISHED: Final = (
    ("Figure 6a: cost against latency-optimal", "cost_usd", FAST, -65.53),
    ("Figure 6a: cost against cost-optimal", "cost_usd", CHEAP, 41.76),
    ("Figure 6b: latency against cost-optimal", "latency_s", CHEAP, -70.47),
    ("Figure 6b: latency against latency-optimal", "latency_s", FAST, 29.09),
)
NOTES = (
    (
        "Bandwidth, clock and round trip are the samples of `midcut simulate experiment=figure6` (Poisson and "
        "normal, families as printed in the paper, parameters fitted by us), played on the test bed. At each sample "
        "Algorithm 1 picks at w = 0 (latency-optimal), 0.5 and 1 (cost-optimal), once from midcut's own forecasts "
        "and once from the paper's equations; the picks are measured in turn by forced requests, three runs, the "
        "median counts. Cost: the rented edge, by measured seconds."
    ),
    (
        "The four ratios are ratios of means over the samples, like the published ones; intervals resample "
        "the samples. The published ones were measured on other hardware, another network and another AlexNet: what "
        "should agree is which policy is faster and which is cheaper, not the second digit."
    ),
)


def median_by_pick(rows: Sequence[Row]) -> dict[tuple[int, int], dict[str, float]]:
    """(sample, cut) -> median latency and cost of its runs."""
    runs: dict[tuple[int, int], list[Row]] = {}
    for row in filter(is_measured, rows):
        runs.setdefault((row["sample"], row["asked"]), []).append(row)
    return {
        place: {metric: float(np.median([row[metric] for row in some])) for metric in METRICS}
        for place, some in runs.items()
    }


def measured_picks(rows: Sequence[Row], policy: str) -> dict[tuple[str, float], Floats]:
    """(metric, w) -> the policy's picks as measured, a value per sample; samples not measured in full are left out."""
    medians = median_by_pick(rows)
    whole = [places for places in _picks(rows, policy) if all(place in medians for place in places.values())]
    return {
        (metric, w): np.array([medians[places[w]][metric] for places in whole]) for metric in METRICS for w in WEIGHTS
    }


def _picks(rows: Sequence[Row], policy: str) -> list[dict[float, tuple[int, int]]]:
    """For each sample: w -> (sample, the cut that was picked)."""
    samples = [(row["sample"], row["picks"][policy]) for row in rows if row["kind"] == "picks"]
    return [{w: (number, cuts[f"{w:g}"]) for w in WEIGHTS} for number, cuts in samples]


_COLUMNS = ("what", "policy", "published [%]", "measured [%]", "low [%]", "high [%]", "samples")


def evaluation(rows: Sequence[Row], bed: dict[str, Any], samples: int) -> Evaluation:
    """Tables, figures and values of `figure6`, finished or stopped."""
    ratios: list[list[Cell]] = []
    means: list[list[Cell]] = []
    series: list[Series] = []
    values: dict[str, float | None] = {"samples": samples, "lost": count_lost(rows)}
    names = [name for name, *_ in PUBLISHED]
    for policy in ("default", "paper"):
        measured = measured_picks(rows, policy)
        intervals = []
        for name, metric, w, published in PUBLISHED:
            interval = [100 * share for share in relative_difference(measured[metric, HALF], measured[metric, w])]
            intervals.append(interval)
            ratios.append([name, policy, published, *interval, len(measured[metric, HALF])])
            other = "latency_optimal" if w == FAST else "cost_optimal"
            values[f"{policy}_{metric}_against_{other}_percent"] = interval[0]
        y, low, high = zip(*intervals, strict=True)
        series.append(Series(policy, names, y, low, high, kind="bars"))
        for w in WEIGHTS:
            latency_s, cost_usd = (
                float(measured[metric, w].mean()) if len(measured[metric, w]) else np.nan for metric in METRICS
            )
            means.append([policy, w, latency_s * 1e3, cost_usd * 1e6, _cut_counts(rows, policy, w)])
    series.append(Series("published", names, [published for *_, published in PUBLISHED]))
    return Evaluation(
        title="Figure 6 on the test bed: AlexNet, rented edge",
        notes=NOTES,
        bed=bed,
        tables=[
            Table("w = 0.5 against both optima", _COLUMNS, ratios),
            Table("Measured means", ("policy", "w", "mean latency [ms]", "mean cost [µ$]", "cuts (samples)"), means),
        ],
        figures=[
            Figure(
                "figure6",
                "w = 0.5 against the latency-optimal and the cost-optimal picks",
                Axis(""),
                Axis("difference [%]"),
                series,
            )
        ],
        values=values,
    )


def _cut_counts(rows: Sequence[Row], policy: str, w: float) -> str:
    """Each cut that was picked, with the number of samples."""
    cuts = [places[w][1] for places in _picks(rows, policy)]
    return ", ".join(f"{cut} ({cuts.count(cut)})" for cut in sorted(set(cuts)))
