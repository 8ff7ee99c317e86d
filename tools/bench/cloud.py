#!/usr/bin/env python3
"""Requests per second of the cloud, against the same tail called in a bare loop, measured in one run.

1 to 64 clients request one model's tail (Open Inference Protocol, binary), with the cloud computing requests one by
one and in batches. In each round the bare loop and the cloud take turns; figures are medians over rounds, ratios are
taken within a round. Then two clouds behind nginx and HAProxy, one of them killed under load; and Ray Serve, where
`--ray PYTHON` names an interpreter that has it. Every answer is compared with the unsplit model's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from bench.deployments import behind_balancer, on_ray
from bench.load_generator import LoadGenerator, example_load
from common.engines import load
from common.figures import text_table
from common.options import at_least, over_zero
from common.processes import server
from rich.console import Console

from midcut.config.composition import compose
from midcut.config.settings import CloudSettings, CutSettings
from midcut.graph import partition
from midcut.graph.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.graph import Partition
    from midcut.types import LoadedModel

CLIENTS = (1, 4, 16, 64)
QUEUE = "cloud.queue=128"  # long enough that none of 64 clients is refused


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="alexnet", help="a model component")
    parser.add_argument("--cut-after", default="features.12", help="the module the cut comes after")
    parser.add_argument("--batch", type=at_least(1), default=8, help="largest batch, in requests")
    parser.add_argument(
        "--delay",
        type=float,
        default=CloudSettings.batch_delay_s,
        help="seconds that a free worker waits at most for more requests",
    )
    parser.add_argument("--rounds", type=at_least(1), default=5)
    parser.add_argument("--seconds", type=over_zero, default=2.0, help="of each measurement")
    parser.add_argument("--through", default="direct,nginx,haproxy", help="comma list of direct, nginx, haproxy, ray")
    parser.add_argument("--ray", default=sys.executable, help="an interpreter that has midcut and ray[serve]")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load(compose("edge", [f"model={options.model}"]))
    parts = partition(model, CutSettings(verify=False))
    cut = 1 + max(index for index, node in enumerate(parts.table.nodes) if node.module == options.cut_after)
    generator = example_load(model, parts, cut)
    figures: dict[str, Any] = {"model": model.name, "cut": cut, "request_bytes": len(generator.request)}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.through.split(","):
            log = Path(folder) / f"{name}.log"
            if name == "direct":
                figures[name] = measure_direct(options, model, parts, cut, generator, log)
            else:
                figures[name] = measure_through(name, options, generator, log)
    report(figures, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def measure_direct(
    options: argparse.Namespace, model: LoadedModel, parts: Partition, cut: int, generator: LoadGenerator, log: Path
) -> list[dict[str, Any]]:
    """Figures of each number of clients, batching off and on."""
    batcher = Batcher(parts)
    rows: dict[tuple[int, int], list[dict[str, float]]] = {}
    with ExitStack() as stack:
        clouds = {
            batch: stack.enter_context(
                server("cloud", log, f"model={model.name}", "server.port=0", *batching(batch, options))
            )
            for batch in (1, options.batch)
        }
        for round_ in range(options.rounds + 1):
            for batch, url in clouds.items():
                for clients in CLIENTS:
                    bare = bare_rate(parts, cut, batcher, model, min(batch, clients), options.seconds / 4)
                    result = asyncio.run(generator.run(url, clients, options.seconds))
                    if round_:  # the first one warms up
                        rows.setdefault((batch, clients), []).append(result.figures() | {"bare": bare})
    return [{"together": batch, "clients": clients} | _medians(rounds) for (batch, clients), rounds in rows.items()]


def batching(batch: int, options: argparse.Namespace) -> tuple[str, ...]:
    return QUEUE, f"cloud.batch_requests={batch}", f"cloud.batch_delay_s={options.delay}"


def bare_rate(parts: Partition, cut: int, batcher: Batcher, model: LoadedModel, batch: int, seconds: float) -> float:
    """Requests per second of a loop around the tail of a batch, without a cloud."""
    values = parts.head(cut, model.example)
    batched = batcher.stack(cut, [values] * batch)
    requests, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        parts.tail(cut, batched)
        requests += batch
    return requests / (time.perf_counter() - began)


def measure_through(
    name: str, options: argparse.Namespace, generator: LoadGenerator, log: Path
) -> list[dict[str, Any]]:
    """Figures of 16 clients with batching; behind a balancer also with one of two clouds killed halfway."""
    overrides = (f"model={options.model}", *batching(options.batch, options))

    def figures(url: str, seconds: float, halfway: Callable[[], object] | None = None) -> dict[str, float]:
        return asyncio.run(generator.run(url, 16, seconds, halfway)).figures()

    def rounds(url: str) -> list[dict[str, float]]:
        return [figures(url, options.seconds) for _ in range(options.rounds + 1)][1:]  # the first one warms up

    if name == "ray":
        with on_ray(options.ray, log, overrides) as url:
            return [{"what": "Ray Serve, 1 replica"} | _medians(rounds(url))]
    with behind_balancer(name, log, overrides) as (url, clouds):
        return [
            {"what": f"{name}, 2 clouds"} | _medians(rounds(url)),
            {"what": f"{name}, one of 2 clouds killed halfway"}
            | _medians([figures(url, 3 * options.seconds, clouds[0].kill)]),
        ]


def _medians(rounds: list[dict[str, float]]) -> dict[str, Any]:
    figures: dict[str, Any] = {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}
    figures |= {name: sum(int(row[name]) for row in rounds) for name in ("answers", "failed", "wrong")}
    if "bare" in rounds[0]:
        ratios = sorted(row["rate"] / row["bare"] for row in rounds)
        figures["ratio"] = [ratios[0], statistics.median(ratios), ratios[-1]]
    return figures


def report(figures: dict[str, Any], options: argparse.Namespace) -> None:
    console = Console(width=120)
    console.print(
        f"{figures['model']}, tail from cut {figures['cut']}, {figures['request_bytes']} bytes a request; "
        f"{options.rounds} rounds of {options.seconds:g} s"
    )
    if "direct" in figures:
        table = text_table(
            "one cloud, one worker, against the same tail in a bare loop",
            ("largest batch", "clients", "requests/s", "bare loop", "ratio (least to most)", "p50 ms", "p99 ms",
             "failed", "wrong"), left=(),
        )  # fmt: skip
        for row in figures["direct"]:
            least, median, most = row["ratio"]
            table.add_row(
                str(row["together"]), str(row["clients"]), f"{row['rate']:.0f}", f"{row['bare']:.0f}",
                f"{median:.2f} ({least:.2f} to {most:.2f})", f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}",
                str(row["failed"]), str(row["wrong"]),
            )  # fmt: skip
        console.print(table)
    others = [row for name in ("nginx", "haproxy", "ray") for row in figures.get(name, ())]
    if others:
        title = f"16 clients, batches of at most {options.batch} requests"
        columns = ("through", "requests/s", "p50 ms", "p99 ms", "answers", "failed", "wrong")
        table = text_table(title, columns, left=("through",))
        for row in others:
            table.add_row(
                row["what"], f"{row['rate']:.0f}", f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}",
                str(row["answers"]), str(row["failed"]), str(row["wrong"]),
            )  # fmt: skip
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
