#!/usr/bin/env python3
"""Latency of a split inference over loopback, relative to the unsplit model, measured in one run.

The cloud is a process of its own, this process is the edge; one thread each. After a scan of every
legal cut, the unsplit model, edge-only, cloud-only and the fastest cut that really splits take turns, and
with them the floor: head and tail of that cut in two processes on the same loopback with bare blocking sockets,
bytes in, bytes out, no HTTP, no checks, no event loop. Every output is compared with the unsplit model's, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bench.bare_sockets import Floor, bare_tail
from common.engines import compose_edge, engine, load
from common.processes import server
from rich.console import Console
from rich.table import Table

from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.serving import event_loop

if TYPE_CHECKING:
    from common.engines import FixedPlan

    from midcut.edge.engine import EdgeEngine
    from midcut.graph import Partition
    from midcut.types import LoadedModel

SCAN_ROUNDS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="alexnet,resnet18", help="comma list of model components")
    parser.add_argument("--rounds", type=int, default=100, help="turns of each variant")
    parser.add_argument("--cut", type=int, help="take this cut instead of the fastest one; no scan")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.models.split(",")
    with (
        tempfile.TemporaryDirectory() as folder,
        server("cloud", Path(folder) / "cloud.log", f"model=[{options.models}]", "server.port=0") as url,
    ):
        found = [event_loop.run(measure(name, url, options)) for name in names]
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    wrong = sum(one["wrong"] for one in found)
    return 1 if wrong else 0


async def measure(name: str, url: str, options: argparse.Namespace) -> dict[str, Any]:
    config = compose_edge(f"model={name}", f"cloud_url={url}")
    model = load(config)
    cut = partition(model, CutSettings())
    edge, held = engine(config, cut)
    await edge.start()
    try:
        return await _measure(model, cut, edge, held, options)
    finally:
        await edge.close()


async def _measure(
    model: LoadedModel, cut: Partition, edge: EdgeEngine, held: FixedPlan, options: argparse.Namespace
) -> dict[str, Any]:
    with torch.inference_mode():
        expected = model.module(*model.example)
    wrong = 0

    async def once(at: int) -> float:
        nonlocal wrong
        held.hold(at)
        result = await edge.infer(model.example)
        fits = result.finished_by == ("edge" if at == cut.table.last else "cloud")
        wrong += not (fits and torch.equal(result.output, expected))
        return result.latency_s

    splits = [options.cut] if options.cut else [at for at in cut.legal if 0 < at < cut.table.last]
    scan = {at: float(np.median([await once(at) for _ in range(SCAN_ROUNDS)])) for at in splits}
    best = min(scan, key=scan.__getitem__)
    floor = f"floor of cut {best}"
    variants = {"edge only": cut.table.last, "cloud only": 0, f"cut {best}": best}
    seconds: dict[str, list[float]] = {"unsplit": [], **{name: [] for name in variants}, floor: []}
    with bare_tail(model.name, best) as address:
        bare = Floor(cut, best, address)
        for round_ in range(options.rounds + 3):
            taken = {"unsplit": unsplit(model), **{name: await once(at) for name, at in variants.items()}}
            taken[floor], output = bare.once(model.example)
            wrong += not torch.equal(output, expected)
            if round_ >= 3:  # the first ones warm up
                for name, one in taken.items():
                    seconds[name].append(one)
    base = np.array(seconds["unsplit"])
    return {
        "model": model.name,
        "best_cut_after": cut.table.nodes[best - 1].name,
        "rounds": options.rounds,
        "wrong": wrong,
        "median_s": {name: float(np.median(values)) for name, values in seconds.items()},
        "ratio": {name: _spread(np.array(values) / base) for name, values in seconds.items()},
    }


def unsplit(model: LoadedModel) -> float:
    with torch.inference_mode():
        started = time.perf_counter()
        model.module(*model.example)
        return time.perf_counter() - started


def _spread(ratios: Any) -> list[float]:
    """First quartile, median, third quartile of the ratios within one round."""
    return [float(value) for value in np.quantile(ratios, (0.25, 0.5, 0.75))]


def report(found: list[dict[str, Any]]) -> None:
    table = Table(title="latency over loopback, relative to the unsplit model in the same run")
    for column in ("model", "variant", "median ms", "ratio (median)", "ratio (quartiles)"):
        table.add_column(column, justify="left" if column in ("model", "variant") else "right")
    for one in found:
        for name, (low, middle, high) in one["ratio"].items():
            after = f" (after {one['best_cut_after']})" if "cut " in name else ""
            milliseconds = f"{one['median_s'][name] * 1e3:.2f}"
            table.add_row(one["model"], name + after, milliseconds, f"{middle:.3f}", f"{low:.3f} to {high:.3f}")
    console = Console(width=110)
    console.print(table)
    console.print(
        "; ".join(f"{one['model']}: {one['rounds']} rounds, {one['wrong']} outputs not bit-identical" for one in found)
    )


if __name__ == "__main__":
    sys.exit(main())
