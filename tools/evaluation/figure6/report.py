"""Figure 6's four ratios out of measured samples, beside the printed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evaluation.rows import is_measured
from evaluation.trace.strategies import relative
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.results.evaluation import Cell
    from midcut.types import Floats

FAST, HALF, CHEAP = 0.0, 0.5, 1.0
WEIGHTS: Final = (FAST, HALF, CHEAP)
PUBLISHED: Final = (
    ("Figure 6a: cost against latency-optimal", "cost_usd", FAST, -65.53),
    ("Figure 6a: cost against cost-optimal", "cost_usd", CHEAP, 41.76),
    ("Figure 6b: latency against cost-optimal", "latency_s", CHEAP, -70.47),
    ("Figure 6b: latency against latency-optimal", "latency_s", FAST, 29.09),
)
NOTES = (
    (
        "Bandwidth, clock and round trip are the samples of `midcut simulate experiment=figure6` (Poisson and "
        "normal, families printed in the paper, parameters fitted by us), played on the test bed. At each sample "
        "Algorithm 1 picks at w = 0 (latency-optimal), 0.5 and 1 (cost-optimal), once from midcut's own forecasts "
        "and once from the paper's equations; the picks are measured in turn by forced requests, three runs, the "
        "median counts. Cost: the rented edge, by measured seconds."
    ),
    (
        "The four ratios are ratios of means over the samples, as the published ones; intervals draw samples "
        "again. The published ones were measured on other hardware, another network and another AlexNet: what "
        "should be alike is who pays for what, not the second digit."
    ),
)


def medians(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], dict[str, float]]:
    """(sample, cut) -> median latency and cost of its runs."""
    taken: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        if is_measured(row):
            taken.setdefault((row["sample"], row["asked"]), []).append(row)
    return {
        place: {name: float(np.median([row[name] for row in runs])) for name in ("latency_s", "cost_usd")}
        for place, runs in taken.items()
    }


def chosen(rows: Sequence[Mapping[str, Any]], policy: str) -> dict[tuple[str, float], Floats]:
    """(metric, w) -> what the policy's picks measured, sample by sample; samples not measured in full are left out."""
    found = medians(rows)
    picked = [
        {w: (row["sample"], row["picks"][policy][f"{w:g}"]) for w in WEIGHTS} for row in rows if row["kind"] == "picks"
    ]
    whole = [places for places in picked if all(place in found for place in places.values())]
    return {
        (metric, w): np.array([found[places[w]][metric] for places in whole])
        for metric in ("latency_s", "cost_usd")
        for w in WEIGHTS
    }


_COLUMNS = ("what", "policy", "published [%]", "measured [%]", "low [%]", "high [%]", "samples")


def evaluation(rows: Sequence[Mapping[str, Any]], bed: dict[str, Any], wanted: int) -> Evaluation:
    """Tables, figures and values of `figure6`, whole or stopped."""
    cells: list[list[Cell]] = []
    means: list[list[Cell]] = []
    series: list[Series] = []
    values: dict[str, float | None] = {"samples": wanted, "lost": sum("lost" in row for row in rows)}
    names = [what for what, *_ in PUBLISHED]
    for policy in ("default", "paper"):
        measured = chosen(rows, policy)
        found = []
        for what, metric, against, published in PUBLISHED:
            three = relative(measured[metric, HALF], measured[metric, against])
            found.append([share * 100 for share in three])
            cells.append([what, policy, published, *found[-1], len(measured[metric, HALF])])
            against_what = "latency_optimal" if against == FAST else "cost_optimal"
            values[f"{policy}_{metric}_against_{against_what}_percent"] = found[-1][0]
        low, high = [row[1] for row in found], [row[2] for row in found]
        series.append(Series(policy, names, [row[0] for row in found], low, high, kind="bars"))
        for w in WEIGHTS:
            mean = [_mean(measured[metric, w]) for metric in ("latency_s", "cost_usd")]
            means.append([policy, w, mean[0] * 1e3, mean[1] * 1e6, _used(rows, policy, w)])
    series.append(Series("published", names, [published for *_, published in PUBLISHED]))
    return Evaluation(
        title="Figure 6 on the test bed: AlexNet, rented edge",
        notes=NOTES,
        bed=bed,
        tables=[
            Table("w = 0.5 against both optima", _COLUMNS, cells),
            Table(
                "Measured means", ("policy", "w", "mean latency [ms]", "mean cost [µ$]", "cuts (samples)"), means
            ),
        ],
        figures=[
            Figure(
                "figure6", "w = 0.5 against the latency-optimal and the cost-optimal picks", Axis(""),
                Axis("difference [%]"), series,
            )
        ],
        values=values,
    )  # fmt: skip


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _used(rows: Sequence[Mapping[str, Any]], policy: str, w: float) -> str:
    cuts = [row["picks"][policy][f"{w:g}"] for row in rows if row["kind"] == "picks"]
    return ", ".join(f"{cut} ({cuts.count(cut)})" for cut in sorted(set(cuts)))
