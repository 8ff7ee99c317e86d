#!/usr/bin/env python3
"""Requests a second when head, transfer and tail of successive requests overlap, beside one request after the other.

The cloud is a process of its own, behind an EMULATED link of 10 Mbit/s; the edge is this process, and each head is
stretched as if the edge were slower. For the cuts of AlexNet with the shortest periods it prints the throughput with 1
and with 4 requests in flight, and 1 / period: the period is the largest of head, bits over bandwidth, and tail, as
measured one after the other in the same run. Every output is compared with the unsplit model's, bit for bit.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from common.engines import FixedPlan, load
from common.figures import text_table
from common.linked import add_link, add_model, add_slower, cloud_behind_link
from common.options import at_least, over_zero
from rich.console import Console

from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.edge.assembly import assemble_fixed
from midcut.graph import partition
from midcut.graph.segments import Segments
from midcut.serving import event_loop
from midcut.testing import TorchExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midcut.edge.engine import EdgeEngine
    from midcut.types import InferenceResult, LoadedModel

DEPTH = 4
CUTS = 3


class Stretched(TorchExecutor):
    """An executor that takes `factor` times as long."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def run(self, segment: Callable[[], Sequence[torch.Tensor | int]]) -> tuple[Sequence[torch.Tensor | int], float]:
        started = time.perf_counter()
        values = segment()
        time.sleep((time.perf_counter() - started) * (self._factor - 1.0))
        return values, time.perf_counter() - started

    def close(self) -> None:
        """Nothing to close."""


async def rate_hz(
    edge: EdgeEngine, model: LoadedModel, requests: int, depth: int
) -> tuple[float, list[InferenceResult]]:
    """Answered requests a second with `depth` of them in flight."""
    slots = asyncio.Semaphore(depth)

    async def infer() -> InferenceResult:
        async with slots:
            return await edge.infer(model.example)

    started = time.perf_counter()
    results = await asyncio.gather(*(infer() for _ in range(requests)))
    return requests / (time.perf_counter() - started), results


async def measure(url: str, options: argparse.Namespace) -> int:
    overrides = ("executor=native", "transport.timeout_s=60")
    config = compose("edge", [f"model={options.model}", f"cloud_url={url}", *overrides])
    model = load(config)
    parts = partition(model, CutSettings())
    plan = FixedPlan(parts.table.last)
    edge = assemble_fixed(config, parts, plan)
    edge._local._segments = Segments(Stretched(options.slower))  # noqa: SLF001 - the tool's own edge
    with torch.inference_mode():
        expected = model.module(*model.example)
    title = (
        f"{options.model} at {options.kbps / 1e3:g} Mbit/s (emulated), edge {options.slower:g} times slower; requests/s"
    )
    table = text_table(
        title,
        (
            "cut",
            "head ms",
            "sending ms",
            "tail ms",
            "1 / period",
            "1 in flight",
            f"{DEPTH} in flight",
            "of 1 / period",
            "times",
        ),
        left=("cut",),
    )
    wrong = 0
    await edge.start()
    try:
        for cut in await _shortest_periods(edge, model, plan, options):
            plan.set(cut)
            _, alone = await rate_hz(edge, model, 3, 1)
            sending_s = parts.table.cuts[cut].payload_bytes * 8 / (options.kbps * 1e3)
            edge_s, cloud_s = (float(np.median([getattr(r, name) for r in alone])) for name in ("edge_s", "cloud_s"))
            rates: dict[int, list[float]] = {}
            for depth in (1, DEPTH, 1, DEPTH):
                rate, results = await rate_hz(edge, model, options.requests, depth)
                rates.setdefault(depth, []).append(rate)
                wrong += sum(not torch.equal(r.output, expected) or r.finished_by != "cloud" for r in results)
            one, many = (float(np.mean(rates[depth])) for depth in (1, DEPTH))
            period_s = max(edge_s, sending_s, cloud_s)
            parts_ms = (f"{seconds * 1e3:.1f}" for seconds in (edge_s, sending_s, cloud_s))
            table.add_row(
                str(cut),
                *parts_ms,
                f"{1 / period_s:.2f}",
                f"{one:.2f}",
                f"{many:.2f}",
                f"{many * period_s:.1%}",
                f"{many / one:.2f}",
            )
    finally:
        await edge.close()
    console = Console(width=120)
    console.print(table)
    console.print(f"{wrong} outputs not bit-identical or not from the cloud")
    return wrong


async def _shortest_periods(
    edge: EdgeEngine, model: LoadedModel, plan: FixedPlan, options: argparse.Namespace
) -> list[int]:
    table, periods = edge.partition.table, {}
    for cut in (cut for cut in edge.partition.legal if 0 < cut < table.last):
        sending_s = table.cuts[cut].payload_bytes * 8 / (options.kbps * 1e3)
        if sending_s > options.longest_s:
            continue
        plan.set(cut)
        result = await edge.infer(model.example)
        periods[cut] = max(result.edge_s, sending_s, result.cloud_s)
    return sorted(periods, key=lambda cut: periods[cut])[:CUTS]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser)
    parser.add_argument("--requests", type=at_least(1), default=30, help="requests of each turn (default: %(default)s)")
    add_link(parser)
    add_slower(parser, 8.0)
    parser.add_argument(
        "--longest-s", type=over_zero, default=0.6, help="leaves out larger payloads (default: %(default)s)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, cloud_behind_link(options, Path(folder) / "cloud.log") as url:
        return 1 if event_loop.run(measure(url, options)) else 0


if __name__ == "__main__":
    sys.exit(main())
