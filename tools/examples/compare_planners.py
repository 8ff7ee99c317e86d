#!/usr/bin/env python3
"""Compares planners on the same 200 samples of a link, at weights from fast to cheap, and draws the trade-off.

usage: python tools/examples/compare_planners.py [FILE.png]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import midcut

PLANNERS = ("algorithm1", "weighted_sum", "knee")


def main() -> None:
    """Simulate, print the range of latencies, write the table and the figure."""
    picture = Path(sys.argv[1] if len(sys.argv) > 1 else "planners.png")
    result = midcut.simulate(
        "model=alexnet", f"strategy=[{','.join(PLANNERS)}]", "scenario=poisson", "scenario.samples=200", "w=0:1:0.1"
    )
    rows = [row for row in result.rows if row["strategy"] in PLANNERS]
    for name in PLANNERS:
        own = [row for row in rows if row["strategy"] == name]
        latency_ms = [row["latency_s"] * 1e3 for row in own]
        print(f"{name:13} {len(own):2} weights, mean latency {min(latency_ms):.0f} to {max(latency_ms):.0f} ms")
    with picture.with_suffix(".csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    draw(rows, picture)
    print(f"in {picture.parent}: {picture.with_suffix('.csv').name}, {picture.name}")


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Mean cost over mean latency, one line a planner."""
    import matplotlib.pyplot as plt  # noqa: PLC0415 - of the extra `report`

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, marker in zip(PLANNERS, "osx", strict=True):
        own = [row for row in rows if row["strategy"] == name]
        axes.plot(
            [row["latency_s"] * 1e3 for row in own],
            [row["cost_usd"] * 1e6 for row in own],
            marker=marker,
            markersize=4,
            linewidth=1,
            label=name,
        )
    axes.set(xlabel="mean latency, ms", ylabel="mean cost, µ$", title="AlexNet, weights 0 (right) to 1 (left)")
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    main()
