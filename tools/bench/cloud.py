#!/usr/bin/env python3
"""What the cloud answers per second, against the same tail called in a bare loop, measured in one run.

1 to 64 clients ask for one model's tail (Open Inference Protocol, binary), with the cloud computing requests one by
one and together. In each round the bare loop and the cloud take turns; figures are medians over rounds, ratios are
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
from bench.deployments import behind, on_ray
from bench.load_generator import Load, ask_for
from common.engines import compose_edge, load
from common.processes import server
from rich.console import Console
from rich.table import Table

from midcut.config.settings import CloudSettings, CutSettings
from midcut.graph import partition
from midcut.graph.batcher import Batcher

if TYPE_CHECKING:
    from midcut.graph import Partition
    from midcut.types import LoadedModel

CLIENTS = (1, 4, 16, 64)
QUEUE = "cloud.queue=128"  # nobody of 64 clients is turned away


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="alexnet", help="a model component")
    parser.add_argument("--cut-after", default="features.12", help="the module the cut comes after")
    parser.add_argument("--batch", type=int, default=8, help="requests computed together, at most")
    parser.add_argument(
        "--delay",
        type=float,
        default=CloudSettings.batch_delay_s,
        help="seconds that a free worker waits for more, at most",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--through", default="direct,nginx,haproxy", help="comma list of direct, nginx, haproxy, ray")
    parser.add_argument("--ray", default=sys.executable, help="an interpreter that has midcut and ray[serve]")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load(compose_edge(f"model={options.model}"))
    cut = partition(model, CutSettings(verify=False))
    at = 1 + max(node for node, one in enumerate(cut.table.nodes) if one.module == options.cut_after)
    asked = ask_for(model, cut, at)
    found: dict[str, Any] = {"model": model.name, "cut": at, "request_bytes": len(asked.request)}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.through.split(","):
            log = Path(folder) / f"{name}.log"
            if name == "direct":
                found[name] = direct(options, model, cut, at, asked, log)
            else:
                found[name] = through(name, options, asked, log)
    report(found, options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def direct(
    options: argparse.Namespace, model: LoadedModel, cut: Partition, at: int, asked: Load, log: Path
) -> list[dict[str, Any]]:
    """Each number of clients, batching off and on, round by round."""
    batcher = Batcher(cut)
    rows: dict[tuple[int, int], list[dict[str, float]]] = {}
    with ExitStack() as stack:
        clouds = {
            together: stack.enter_context(
                server("cloud", log, f"model={model.name}", "server.port=0", *batching(together, options))
            )
            for together in (1, options.batch)
        }
        for round_ in range(options.rounds + 1):
            for together, url in clouds.items():
                for clients in CLIENTS:
                    bare = bare_rate(cut, at, batcher, model, min(together, clients), options.seconds / 4)
                    seen = asyncio.run(asked.run(url, clients, options.seconds))
                    if round_:  # the first one warms up
                        rows.setdefault((together, clients), []).append(seen.figures() | {"bare": bare})
    return [{"together": together, "clients": clients} | _medians(seen) for (together, clients), seen in rows.items()]


def batching(together: int, options: argparse.Namespace) -> tuple[str, ...]:
    return QUEUE, f"cloud.batch_requests={together}", f"cloud.batch_delay_s={options.delay}"


def bare_rate(cut: Partition, at: int, batcher: Batcher, model: LoadedModel, together: int, seconds: float) -> float:
    """Requests per second of a loop around the tail of `together` requests, without a cloud."""
    values = cut.head(at, model.example)
    batch = batcher.stack(at, [values] * together)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        cut.tail(at, batch)
        done += together
    return done / (time.perf_counter() - began)


def through(name: str, options: argparse.Namespace, asked: Load, log: Path) -> list[dict[str, Any]]:
    """16 clients, requests computed together; behind a balancer also with one of two clouds killed halfway."""
    knobs = (f"model={options.model}", *batching(options.batch, options))
    rows = []
    if name == "ray":
        with on_ray(options.ray, log, knobs) as url:
            asyncio.run(asked.run(url, 16, options.seconds))
            seen = [asyncio.run(asked.run(url, 16, options.seconds)).figures() for _ in range(options.rounds)]
        return [{"what": "Ray Serve, 1 replica"} | _medians(seen)]
    with behind(name, log, knobs) as (url, clouds):
        asyncio.run(asked.run(url, 16, options.seconds))
        seen = [asyncio.run(asked.run(url, 16, options.seconds)).figures() for _ in range(options.rounds)]
        rows.append({"what": f"{name}, 2 clouds"} | _medians(seen))
        killed = asyncio.run(asked.run(url, 16, 3 * options.seconds, halfway=clouds[0].kill)).figures()
        rows.append({"what": f"{name}, one of 2 clouds killed halfway"} | _medians([killed]))
    return rows


def _medians(seen: list[dict[str, float]]) -> dict[str, Any]:
    figures: dict[str, Any] = {name: statistics.median(one[name] for one in seen) for name in seen[0]}
    figures |= {name: sum(int(one[name]) for one in seen) for name in ("answers", "failed", "wrong")}
    if "bare" in seen[0]:
        ratios = sorted(one["rate"] / one["bare"] for one in seen)
        figures["ratio"] = [ratios[0], statistics.median(ratios), ratios[-1]]
    return figures


def report(found: dict[str, Any], options: argparse.Namespace) -> None:
    console = Console(width=120)
    console.print(
        f"{found['model']}, tail from cut {found['cut']}, {found['request_bytes']} bytes a request; "
        f"{options.rounds} rounds of {options.seconds:g} s"
    )
    if "direct" in found:
        table = Table(title="one cloud, one worker, against the same tail in a bare loop")
        for column in ("together, at most", "clients", "requests/s", "bare loop", "ratio (least to most)", "p50 ms",
                       "p99 ms", "failed", "wrong"):  # fmt: skip
            table.add_column(column, justify="right")
        for row in found["direct"]:
            low, middle, high = row["ratio"]
            table.add_row(
                str(row["together"]), str(row["clients"]), f"{row['rate']:.0f}", f"{row['bare']:.0f}",
                f"{middle:.2f} ({low:.2f} to {high:.2f})", f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}",
                str(row["failed"]), str(row["wrong"]),
            )  # fmt: skip
        console.print(table)
    others = [row for name in found for row in (found[name] if name in ("nginx", "haproxy", "ray") else ())]
    if others:
        table = Table(title=f"16 clients, {options.batch} requests together at most")
        for column in ("through", "requests/s", "p50 ms", "p99 ms", "answers", "failed", "wrong"):
            table.add_column(column, justify="left" if column == "through" else "right")
        for row in others:
            table.add_row(
                row["what"], f"{row['rate']:.0f}", f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}",
                str(row["answers"]), str(row["failed"]), str(row["wrong"]),
            )  # fmt: skip
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
