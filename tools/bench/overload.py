#!/usr/bin/env python3
"""What overload leaves of a server: right answers per second under far too many clients, relative to few clients.

A cloud and an edge (which computes all by itself) are each asked by few clients, whom they never refuse, and then by
many: impatient ones, who come back at once after a 503, and polite ones, who obey Retry-After (`asleep`: how many do at
a time). `work` is the server's processor time per right answer, relative to few clients: other work on the machine does
not change it much. Every answer is compared with the unsplit model's. Meanwhile another client asks for `/health` now
and then. With `--before PYTHON`, the servers of another checkout take turns with these.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import numpy as np
import torch
from bench.load_generator import LoadGenerator
from common.engines import load
from common.figures import text_table
from common.options import at_least, over_zero, several
from common.processes import READY, start_ready, stop
from rich.console import Console

from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.serving import event_loop
from midcut.types import TailRequest
from midcut.wire import oip
from midcut.wire.oip_tensors import encode_infer

if TYPE_CHECKING:
    from midcut.graph import Partition
    from midcut.types import LoadedModel

FEW: Final = 16
HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
HEALTH_EVERY_S: Final = 0.02


class Server(NamedTuple):
    """A running server."""

    url: str
    pid: int

    def cpu_s(self) -> float:
        """The processor time that it has taken."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mnist", help="a model component")
    parser.add_argument("--cut", type=int, default=3, help="the cut of the requests to the cloud")
    parser.add_argument("--clients", type=several(1), default="64,128", help="comma list of numbers")
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--seconds", type=over_zero, default=3.0, help="of each measurement")
    parser.add_argument("--json-requests", action="store_true", help="tensors as numbers in JSON instead of binary")
    parser.add_argument("--before", metavar="PYTHON", help="the interpreter of another checkout")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load(compose("edge", [f"model={options.model}"]))
    parts = partition(model, CutSettings(verify=False))
    cuts = {"cloud": options.cut, "edge": 0}
    loads = {verb: json_load(model) if options.json_requests else plain_load(model, parts, cuts[verb]) for verb in cuts}
    builds = {"now": sys.executable} | ({"before": options.before} if options.before else {})
    rows: dict[tuple[str, str, int, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = {}
        for build, python in builds.items():
            for verb in loads:
                command = [python, "-m", "midcut.cli", verb, f"model={model.name}", *overrides(verb)]
                process, match = start_ready(command, Path(folder) / f"{build}-{verb}", READY)
                stack.callback(stop, process)
                servers[build, verb] = Server(match[1], process.pid)
        for round_ in range(options.rounds + 1):
            for (build, verb), server in servers.items():
                seconds = options.seconds if round_ else max(options.seconds, 2.0)  # the first round warms up
                found = event_loop.run(measure(loads[verb], server, options, seconds))
                for case, figures in found.items() if round_ else ():
                    rows.setdefault((verb, build, *case), []).append(figures)
    table = [
        {"server": verb, "build": build, "clients": clients, "kind": kind, **medians(found)}
        for (verb, build, clients, kind), found in sorted(rows.items())
    ]
    report(table, options)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")
    return 1 if any(row["wrong"] for row in table) else 0


def overrides(verb: str) -> tuple[str, ...]:
    quiet = ("cuts.verify=false", "hydra.run.dir=.")
    if verb == "cloud":
        return (*quiet, "server.port=0")
    return (*quiet, "input.port=0", "telemetry=[]", "engine.fallback=edge", "cloud_url=http://127.0.0.1:9")


def plain_load(model: LoadedModel, parts: Partition, cut: int) -> LoadGenerator:
    """Requests at a cut that name no fingerprint, which another checkout's models may not have."""
    names = [spec.name for spec in parts.table.cuts[cut].values]
    request = TailRequest(model.name, cut, "", parts.head(cut, model.example), "bench", names=names)
    message = encode_infer(request, plain=True)
    path = oip.infer_path(quote(f"{model.name}@{cut}" if cut else model.name, safe=""))
    body = b"".join((message.header, *message.pieces))
    return LoadGenerator(path, body, len(message.header), unsplit(model))


def json_load(model: LoadedModel) -> LoadGenerator:
    """Requests for the whole model with its input as numbers in JSON."""
    (x,) = model.example
    tensor = {"name": "0", "shape": list(x.shape), "datatype": "FP32", "data": x.flatten().tolist()}
    body = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return LoadGenerator(oip.infer_path(model.name), body, len(body), unsplit(model))


def unsplit(model: LoadedModel) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with torch.inference_mode():
        return model.module(*model.example).flatten().numpy()  # type: ignore[no-any-return]


async def measure(
    generator: LoadGenerator, server: Server, options: argparse.Namespace, seconds: float
) -> dict[tuple[int, str], dict[str, float]]:
    """Figures of few clients, and of each number and kind of many, relative to those."""
    few = await measure_load(generator, server, FEW, seconds)
    found = {(FEW, "few"): few}
    for clients in options.clients:
        for kind in ("impatient", "polite"):
            load_ = replace(generator, patient=kind == "polite")
            found[clients, kind] = await measure_load(load_, server, clients, seconds)
    for figures in found.values():
        figures["share"] = figures["rate"] / few["rate"]
        figures["work"] = figures["cpu_ms"] / few["cpu_ms"]
    return found


async def measure_load(generator: LoadGenerator, server: Server, clients: int, seconds: float) -> dict[str, float]:
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    health = asyncio.create_task(health_seconds(host, int(port), time.perf_counter() + seconds))
    before_s = server.cpu_s()
    result = await generator.run(server.url, clients, seconds)
    if not result.latencies_s:
        raise SystemExit(f"{server.url} answers nothing right: {result.wrong} wrong, {result.failures.most_common(3)}")
    figures = result.figures()
    figures["cpu_ms"] = (server.cpu_s() - before_s) / figures["answers"] * 1e3
    answers = figures["answers"] + figures["failed"]
    figures["busy_share"] = result.busy / answers if answers else 0.0
    figures["failed"] -= result.busy
    figures["health_p99_ms"] = float(np.quantile(await health, 0.99)) * 1e3
    return figures


async def health_seconds(host: str, port: int, until: float) -> list[float]:
    """How long health checks take while others load the server."""
    reader, writer = await asyncio.open_connection(host, port)
    seconds = []
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(HEALTH)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(HEALTH_EVERY_S)
    writer.close()
    return seconds


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    middle = {name: statistics.median(row[name] for row in found) for name in found[0]}
    return middle | {name: sum(row[name] for row in found) for name in ("failed", "wrong")}


def report(table: list[dict[str, Any]], options: argparse.Namespace) -> None:
    columns = ("server", "build", "clients", "ok/s", "of few's", "work", "p50 ms", "p99 ms", "503", "asleep",
               "health p99", "failed", "wrong")  # fmt: skip
    title = f"{options.model} under overload: medians of {options.rounds} rounds of {options.seconds:g} s"
    text = text_table(title, columns, left=("server", "build", "clients"))
    for row in table:
        text.add_row(
            row["server"], row["build"], f"{row['clients']} {row['kind']}", f"{row['rate']:.0f}",
            f"{row['share']:.2f}", f"{row['work']:.2f}", f"{row['p50_ms']:.0f}", f"{row['p99_ms']:.0f}",
            f"{row['busy_share']:.0%}", f"{row['asleep']:.0f}", f"{row['health_p99_ms']:.0f}",
            f"{row['failed']:.0f}", f"{row['wrong']:.0f}",
        )  # fmt: skip
    Console(width=120).print(text)


if __name__ == "__main__":
    sys.exit(main())
