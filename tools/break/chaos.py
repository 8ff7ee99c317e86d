#!/usr/bin/env python3
"""Break everything between an edge and its clouds while it answers, and check every answer.

Clouds are processes, each behind a proxy that breaks connections (`midcut.testing.faults`). They are killed
(SIGKILL) and started again, frozen (SIGSTOP) and thawed, made to answer garbage, cut off in the middle of a body,
reset, slowed down and sliced; bits are flipped both ways, open connections are forgotten by the network, and answers
are replaced by refusals, oversized ones and false times. Strangers send pictures that keep a decoder busy, and take no
answers. With `--two-addresses` the clouds' name has an address that never answers, before the right one. All that at
random moments of a stream of small inferences at random cuts. Every output is compared with the unsplit model's, bit
for bit. Exits with 1 if an answer is missing or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch
from common.engines import FixedPlan, load
from common.processes import free_port
from lies import FalseRefusal, ForgottenWay, Liar, Oversized
from rich.console import Console
from rich.table import Table
from strangers import TWO_ADDRESSES, hostile_files, read_slowly, send_picture, two_addresses

from midcut import cli
from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.edge.assembly import assemble_fixed
from midcut.graph import partition
from midcut.proxies.faults import FaultProxy, Stream
from midcut.proxies.toxics import Bandwidth, BitFlips, Garbage, Latency, LimitData, ResetPeer, Slicer, Timeout
from midcut.tensors import largest_error
from midcut_executors.comparing import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.edge.engine import EdgeEngine
    from midcut.proxies.toxics import Toxic
    from midcut.types import LoadedModel

START_S = 240.0
# How many faults of the other kinds there are for each kill.
PER_KILL = {
    "freeze": 0.5,
    "garbage": 1.0,
    "cut mid-body": 1.0,
    "reset": 0.5,
    "slow": 0.5,
    "swallow": 0.3,
    "slice": 0.3,
    "flip upward": 1.0,
    "flip downward": 1.0,
    "forgotten way": 0.3,
    "false refusal": 0.5,
    "oversized": 0.5,
    "lying": 0.5,
    "hostile picture": 0.5,
    "slow readers": 0.3,
}


@dataclass
class Outcome:
    """The answers of the stream.

    Attributes:
        wrong: answers that are not the unsplit model's.
        lost: for each request without an answer, the reason.
        latencies: of answers, seconds.
        finished_by: number of answers by who finished them.
        fallbacks: number of fallbacks by reason.
        faults: number of faults by kind.
    """

    wrong: int = 0
    lost: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    finished_by: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mnist", help="a model component")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--only", help="comma list of the faults that happen, each as often as --kills says")
    parser.add_argument(
        "--rate", type=float, default=40.0, help="inferences per second, sent whether or not earlier ones are answered"
    )
    parser.add_argument("--clouds", type=int, default=2)
    parser.add_argument("--deadline", type=float, default=0.25, help="seconds; 0 is none")
    parser.add_argument("--codec", default="raw", help="raw, or base64 for the paper's interface")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--two-addresses", action="store_true", help="each cloud has a silent address, too")
    parser.add_argument("--executor", default="native", help="of the edge; answers of another one may differ by 1e-3")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    if unknown := set((options.only or "kill").split(",")) - {"kill", *PER_KILL}:
        parser.error(f"no fault is named {', '.join(unknown)}; there are: kill, {', '.join(PER_KILL)}")
    torch.set_num_threads(1)
    hostile_files()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    # Clouds are forked from a process that has imported everything; otherwise 100 starts would take minutes.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["midcut.cli.verbs.cloud", "midcut_models.mnist", "midcut_executors.native"])
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        clouds = [Cloud(context, options.model, Path(folder) / f"cloud{index}.log") for index in range(options.clouds)]
        for cloud in clouds:
            cloud.start()
            stack.callback(cloud.kill)
            cloud.wait_ready()
            cloud.proxy = stack.enter_context(FaultProxy(f"127.0.0.1:{cloud.port}", seed=options.seed))
            for stream_ in Stream:
                cloud.proxy.add(cloud.way, stream_)
        if options.two_addresses:
            stack.enter_context(two_addresses([int(cloud.proxy.url.rsplit(":", 1)[1]) for cloud in clouds]))
        outcome = asyncio.run(stream(options, clouds))
    figures = summary(options, outcome)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    report(figures)
    return 0 if figures["answers"] == options.requests and not figures["wrong"] else 1


class Cloud:
    """A `midcut cloud` that can be killed, frozen and started again at the same port."""

    proxy: FaultProxy

    def __init__(self, context: Any, model: str, log: Path, *overrides: str) -> None:
        self.port = free_port()
        self.way = ForgottenWay()
        self.model = model
        self._context, self._log = context, log
        self._arguments = ["midcut", "cloud", f"model={model}", "cuts.verify=false", f"server.port={self.port}"]
        self._arguments += overrides
        self._process: Any = None
        self._starts = 0
        self._lock = threading.Lock()  # one fault at a time

    def start(self) -> None:
        self._process = self._context.Process(target=serve, args=(self._arguments, str(self._log)), daemon=True)
        self._process.start()
        self._starts += 1

    def wait_ready(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.is_alive():
            with suppress(OSError):
                if self._log.read_text().count(" ready on ") >= self._starts:
                    return
            time.sleep(0.05)
        sys.exit(f"tools/break/chaos.py: the cloud did not start: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        self._process.kill()
        self._process.join(60)

    def restart(self, down_s: float) -> None:
        with self._lock:
            self.kill()
            time.sleep(down_s)
            self.start()

    def freeze(self, duration_s: float) -> None:
        with self._lock, suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGSTOP)
            time.sleep(duration_s)
            os.kill(self._process.pid, signal.SIGCONT)


def serve(arguments: list[str], log: str) -> None:
    """Run `midcut cloud` in a forked process."""
    os.setpgrp()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = arguments
    cli.main()


async def stream(options: argparse.Namespace, clouds: list[Cloud]) -> Outcome:
    """Send inferences at the given rate while faults come and go."""
    outcome, rng = Outcome(), random.Random(options.seed)
    name = TWO_ADDRESSES if options.two_addresses else "127.0.0.1"
    urls = ",".join(cloud.proxy.url.replace("127.0.0.1", name) for cloud in clouds)
    engine_overrides = ("engine.retry_after_s=0.1", f"engine.deadline_s={options.deadline or 'null'}")
    edge = (
        f"model={options.model}",
        f"cloud_url=[{urls}]",
        f"codec={options.codec}",
        *engine_overrides,
        f"executor={options.executor}",
    )
    config = compose("edge", edge)
    model = load(config)
    parts = partition(model, CutSettings())
    plan = FixedPlan(parts.legal[0])
    engine = assemble_fixed(config, parts, plan)
    tolerance = 0.0 if options.executor == "native" else TOLERANCE
    faults = draw_faults(options, rng)
    await engine.start()
    running, inferences = set(), []
    began = time.perf_counter()
    try:
        for number in range(options.requests):
            await asyncio.sleep(max(began + number / options.rate - time.perf_counter(), 0.0))
            for name in faults.get(number, ()):
                outcome.faults[name] += 1
                fault = asyncio.create_task(asyncio.to_thread(inflict, name, rng.choice(clouds), rng.random()))
                running.add(fault)
                fault.add_done_callback(running.discard)
            plan.set(rng.choice(parts.legal[:-1]), options.codec)
            inferences.append(asyncio.create_task(infer(engine, model, number, outcome, tolerance)))
        await asyncio.wait(inferences, timeout=600.0)
        outcome.lost += ["no answer within a minute"] * sum(not task.done() for task in inferences)
    finally:
        await asyncio.gather(*running, return_exceptions=True)
        await engine.close()
    return outcome


def draw_faults(options: argparse.Namespace, rng: random.Random) -> dict[int, list[str]]:
    """Number of a request -> kinds of the faults that begin when it is sent."""
    shares = {"kill": 1.0} | PER_KILL
    if options.only:
        shares = dict.fromkeys(options.only.split(","), 1.0)
    names: list[str] = []
    for name, share in shares.items():
        names += [name] * round(options.kills * share)
    faults: dict[int, list[str]] = {}
    for name in names:
        faults.setdefault(rng.randrange(options.requests), []).append(name)
    return faults


def inflict(name: str, cloud: Cloud, severity: float) -> None:
    """Let one fault happen to a cloud; `severity`, from 0 to 1, sets how long and how bad it is."""
    duration_s = 0.1 + 0.9 * severity
    if name == "kill":
        cloud.restart(0.5 * severity)
    elif name == "freeze":
        cloud.freeze(duration_s)
    elif name == "forgotten way":
        cloud.way.era.number += 1
    elif name == "hostile picture":
        send_picture(cloud.port, cloud.model, severity)
    elif name == "slow readers":
        read_slowly(cloud.port, duration_s)
    else:
        direction = Stream.upstream if name == "flip upward" else Stream.downstream
        with cloud.proxy.under(make_toxic(name, severity), direction):
            time.sleep(duration_s)


def make_toxic(name: str, severity: float) -> Toxic:
    """The proxy's fault. An answer has headers of about 450 bytes, and the 40 bytes of the tensor come last."""
    makers: dict[str, Callable[[], Toxic]] = {
        "garbage": lambda: Garbage(after_bytes=int(700 * severity)),
        "cut mid-body": lambda: LimitData(limit_bytes=int(700 * severity)),
        "reset": lambda: ResetPeer(timeout_ms=20 * severity),
        "slow": lambda: (
            Latency(latency_ms=300 * severity, jitter_ms=100 * severity) if severity < 0.5 else Bandwidth(2.0)
        ),
        "swallow": Timeout,
        "flip upward": lambda: BitFlips(every_bytes=int(500 + 20_000 * severity)),
        "flip downward": lambda: BitFlips(every_bytes=int(200 + 3000 * severity)),
        "false refusal": FalseRefusal,
        "oversized": Oversized,
        "lying": Liar,
        "slice": lambda: Slicer(average_bytes=7, variation_bytes=5, delay_us=100),
    }
    return makers[name]()


async def infer(engine: EdgeEngine, model: LoadedModel, number: int, outcome: Outcome, tolerance: float) -> None:
    """Run one inference and record whether its output is right."""
    shape = model.example[0].shape
    inputs = torch.from_numpy(np.random.default_rng(number).random(shape, dtype=np.float32))
    with torch.inference_mode():
        expected = model.module(inputs)
    began = time.perf_counter()
    try:
        result = await engine.infer([inputs])
    except Exception as error:  # noqa: BLE001 - an engine must not raise, whatever broke
        outcome.lost.append(f"{type(error).__name__}: {error}")
        return
    outcome.latencies.append(time.perf_counter() - began)
    outcome.wrong += not largest_error([result.output], [expected]) <= tolerance
    outcome.finished_by[result.finished_by] += 1
    if result.fallback:
        outcome.fallbacks[fallback_kind(result.fallback)] += 1


def fallback_kind(fallback: str) -> str:
    """The kind of a fallback, from the words of its message."""
    kinds = {
        "next try in": "circuit breaker open",
        "is trying it again": "circuit breaker open",
        "s later": "too close to the deadline",
        "no answer": "time-out",
        "connection to": "connection broke",
        "cannot reach": "connection refused",
        "speak HTTP": "answer was no HTTP",
        "says": "refused",
    }
    return next((kind for words, kind in kinds.items() if words in fallback), "unusable answer")


def summary(options: argparse.Namespace, outcome: Outcome) -> dict[str, Any]:
    p50, p99 = np.quantile(outcome.latencies, (0.5, 0.99))
    return {
        "requests": options.requests,
        "answers": len(outcome.latencies),
        "lost": len(outcome.lost),
        "lost because": dict(Counter(outcome.lost)),
        "wrong": outcome.wrong,
        "finished by": dict(outcome.finished_by),
        "fallbacks": dict(outcome.fallbacks),
        "faults": dict(outcome.faults),
        "latency_s": {"median": float(p50), "p99": float(p99), "worst": max(outcome.latencies)},
    }


def report(figures: dict[str, Any]) -> None:
    table = Table(title="chaos: every answer against the unsplit model", show_header=False, title_justify="left")
    latency = {what: f"{seconds * 1e3:.1f} ms" for what, seconds in figures["latency_s"].items()}
    for name, value in (figures | {"latency_s": latency}).items():
        text = ", ".join(f"{what} {count}" for what, count in value.items()) if isinstance(value, dict) else value
        table.add_row(name.removesuffix("_s"), str(text))
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
