#!/usr/bin/env python3
"""Latency of a split inference over loopback, relative to the unsplit model, measured in one run.

The cloud is a process of its own, this process is the edge; one thread each. After a scan of every legal cut that one
tensor crosses, the unsplit model, edge-only, cloud-only and the fastest cut that really splits take turns, and with
them the least a split can take: head and tail of that cut in two processes on the same loopback with bare blocking
sockets, bytes in, bytes out, no HTTP, no checks, no event loop. Every output is compared with the unsplit model's, bit
for bit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bench.bare_sockets import BareClient, bare_server
from common.engines import FixedPlan, load
from common.figures import quartiles, text_table
from common.options import at_least
from common.processes import server
from rich.console import Console

from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.edge.assembly import assemble_fixed
from midcut.graph import partition
from midcut.serving import event_loop
from midcut.tensors import largest_error
from midcut_executors.comparing import TOLERANCE

if TYPE_CHECKING:
    from midcut.edge.engine import EdgeEngine
    from midcut.graph import Partition
    from midcut.types import LoadedModel

SCAN_ROUNDS = 3
WARM_UP_ROUNDS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="alexnet,resnet18", help="comma list of model components")
    parser.add_argument("--rounds", type=at_least(1), default=100, help="turns of each variant")
    parser.add_argument("--cut", type=int, help="take this cut instead of the fastest one; no scan")
    parser.add_argument("--executor", default="native", help="of the edge and the cloud")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "processes.log"
        with server("cloud", log, f"model=[{options.models}]", "server.port=0", f"executor={options.executor}") as url:
            figures = [event_loop.run(measure(name, url, log, options)) for name in options.models.split(",")]
    report(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if any(model["wrong"] for model in figures) else 0


async def measure(name: str, url: str, log: Path, options: argparse.Namespace) -> dict[str, Any]:
    config = compose("edge", [f"model={name}", f"cloud_url={url}", f"executor={options.executor}"])
    model = load(config)
    parts = partition(model, CutSettings())
    plan = FixedPlan(parts.table.last)
    edge = assemble_fixed(config, parts, plan)
    await edge.start()
    try:
        return await _measure(model, parts, edge, plan, log, options)
    finally:
        await edge.close()


async def _measure(
    model: LoadedModel, parts: Partition, edge: EdgeEngine, plan: FixedPlan, log: Path, options: argparse.Namespace
) -> dict[str, Any]:
    with torch.inference_mode():
        expected = model.module(*model.example)
    last, wrong = parts.table.last, 0
    tolerance = 0.0 if options.executor == "native" else TOLERANCE

    async def split_s(cut: int) -> float:
        nonlocal wrong
        edge._local._segments.prepare(parts, 0, cut)  # noqa: SLF001 - so that the plan is followed at once
        plan.set(cut)
        result = await edge.infer(model.example)
        as_planned = result.finished_by == ("edge" if cut == last else "cloud")
        wrong += not (as_planned and largest_error([result.output], [expected]) <= tolerance)
        return result.latency_s

    # Bare sockets carry one tensor; a cut that others cross has nothing to be compared with.
    single = [cut for cut in parts.legal if 0 < cut < last and parts.table.cuts[cut].single_tensor]
    cuts = [options.cut] if options.cut else single
    scan = {cut: float(np.median([await split_s(cut) for _ in range(SCAN_ROUNDS)])) for cut in cuts}
    best = min(scan, key=scan.__getitem__)
    if options.executor != "native":  # the cloud makes its tails ready in the background
        for _ in range(30):
            await asyncio.gather(split_s(best), split_s(0), asyncio.sleep(0.1))
    bare = f"bare sockets, cut {best}"
    variants = {"edge only": last, "cloud only": 0, f"cut {best}": best}
    seconds: dict[str, list[float]] = {"unsplit": [], **{name: [] for name in variants}, bare: []}
    with bare_server(model.name, best, log) as port:
        client = BareClient(parts, best, port)
        for number in range(options.rounds + WARM_UP_ROUNDS):
            turn = {"unsplit": unsplit_s(model), **{name: await split_s(cut) for name, cut in variants.items()}}
            turn[bare], output = client.infer(model.example)
            wrong += not torch.equal(output, expected)
            if number >= WARM_UP_ROUNDS:
                for name, latency_s in turn.items():
                    seconds[name].append(latency_s)
    base = np.array(seconds["unsplit"])
    return {
        "model": model.name,
        "best_cut_after": parts.table.nodes[best - 1].name,
        "rounds": options.rounds,
        "wrong": wrong,
        "median_s": {name: float(np.median(values)) for name, values in seconds.items()},
        "ratio": {name: quartiles(np.array(values) / base) for name, values in seconds.items()},
    }


def unsplit_s(model: LoadedModel) -> float:
    with torch.inference_mode():
        started = time.perf_counter()
        model.module(*model.example)
        return time.perf_counter() - started


def report(figures: list[dict[str, Any]]) -> None:
    title = "latency over loopback, relative to the unsplit model in the same run: median (quartiles)"
    table = text_table(title, ("model", "variant", "median ms", "ratio"), left=("model", "variant"))
    for model in figures:
        for name, ratio in model["ratio"].items():
            after = f" (after {model['best_cut_after']})" if "cut " in name else ""
            milliseconds = f"{model['median_s'][name] * 1e3:.2f}"
            table.add_row(model["model"], name + after, milliseconds, f"{ratio:.3f}")
    console = Console(width=110)
    console.print(table)
    for model in figures:
        console.print(f"{model['model']}: {model['rounds']} rounds, {model['wrong']} wrong outputs")


if __name__ == "__main__":
    sys.exit(main())
