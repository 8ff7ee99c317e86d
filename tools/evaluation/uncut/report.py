"""The rows of `uncut` as an evaluation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from common.figures import quartiles

from evaluation.rows import count_lost
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.rows import Row
    from midcut.results.evaluation import Cell

KINDS: Final = ("picked", "edge", "cloud")
NOTES = (
    (
        "Requests at the cut in use (w = 0), with the whole model at the edge and with the whole model in the cloud, "
        "in turn, at 10 Mbit/s and a ping of 20 ms. Ratio: the picked cut's latency over that of the better of the two "
        "others in the same round; better is the one with the lower median over all rounds."
    ),
)
_COLUMNS = (
    "model", "clock [MHz]", "cuts picked (requests)", "picked [ms]", "whole at the edge [ms]",
    "whole in the cloud [ms]", "ratio to the better", "first quartile", "third quartile", "rounds",
)  # fmt: skip


def evaluation(rows: Sequence[Row], bed: dict[str, Any]) -> Evaluation:
    """Table, figure and values, finished or stopped."""
    cells: list[list[Cell]] = []
    values: dict[str, float | None] = {"lost": count_lost(rows)}
    names: list[str] = []
    drawn: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for model, clock_mhz in dict.fromkeys((row["model"], row["clock_mhz"]) for row in rows):
        own = [row for row in rows if (row["model"], row["clock_mhz"]) == (model, clock_mhz)]
        latency_s = rounds(own)
        if not len(latency_s):
            continue
        median_ms = np.median(latency_s, axis=0) * 1e3
        low, ratio, high = quartiles(latency_s[:, 0] / latency_s[:, 1 + int(median_ms[1:].argmin())])
        cuts = Counter(row["cut"] for row in own if row["kind"] == "picked" and "lost" not in row)
        picked = ", ".join(f"{cut} ({count})" for cut, count in sorted(cuts.items()))
        cells.append([model, clock_mhz, picked, *median_ms.tolist(), ratio, low, high, len(latency_s)])
        values[f"{model}_{clock_mhz:g}_ratio"] = ratio
        names.append(f"{model}, {clock_mhz:g} MHz")
        for kind, milliseconds in zip(KINDS, median_ms.tolist(), strict=True):
            drawn[kind].append(milliseconds)
    titles = {"picked": "picked cut", "edge": "whole at the edge", "cloud": "whole in the cloud"}
    series = [Series(titles[kind], names, y, kind="bars") for kind, y in drawn.items()]
    return Evaluation(
        title="The picked cut against no cut",
        notes=NOTES,
        bed=bed,
        tables=[Table("Medians", _COLUMNS, cells)],
        figures=[Figure("uncut", "The picked cut against no cut", Axis(""), Axis("latency [ms]"), series)],
        values=values,
    )


def rounds(rows: Sequence[Row]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds of each round in which nothing was lost: (rounds, 3), in the order of `KINDS`."""
    by_round: dict[int, dict[str, float]] = {}
    for row in rows:
        if "lost" not in row and not row.get("fallback"):
            by_round.setdefault(row["round"], {})[row["kind"]] = row["latency_s"]
    whole = [[found[kind] for kind in KINDS] for found in by_round.values() if len(found) == len(KINDS)]
    return np.array(whole, dtype=np.float64).reshape(-1, len(KINDS))
