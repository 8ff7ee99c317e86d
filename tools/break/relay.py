#!/usr/bin/env python3
"""Three tiers in three processes over EMULATED links: exact at pairs of cuts, and while relay and cloud are killed.

This process is the device; relay and cloud are processes of their own, each behind an emulated link. First, for each
model, inferences at random pairs of cuts (k1, k2), without faults. Then a stream of small inferences while relay and
cloud are killed (SIGKILL) in turn and started again. Every output is compared with the unsplit model's, bit for bit.
Exits with 1 if an answer is missing or wrong, or if one of the first part did not come from where it should.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch
from chaos import Cloud
from common.engines import FixedPlan, load
from rich.console import Console

from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.edge.assembly import assemble_fixed
from midcut.graph import partition
from midcut.proxies.link import ShapedLink
from midcut.types import Placement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midcut.edge.engine import EdgeEngine
    from midcut.graph import Partition
    from midcut.types import LoadedModel

FIRST = {"bandwidth_kbps": 100_000.0, "ping_ms": 2.0}
SECOND = {"bandwidth_kbps": 50_000.0, "ping_ms": 10.0}
MOST_S = 1800.0
RELAY = ("upstream.retry_after_s=0.1", "telemetry=constant")


@contextmanager
def route(context: Any, model: str, folder: Path) -> Iterator[tuple[Cloud, Cloud, str]]:
    """A cloud, a relay before it, and the address of the emulated link to the relay."""
    with ExitStack() as stack:
        cloud = Cloud(context, model, folder / f"{model}-cloud.log")
        second = stack.enter_context(ShapedLink(f"127.0.0.1:{cloud.port}", lambda: SECOND))
        upstream = f"upstream_url=http://{second.address}"
        relay = Cloud(context, model, folder / f"{model}-relay.log", upstream, *RELAY)
        for process in (cloud, relay):
            process.start()
            stack.callback(process.kill)
            process.wait_ready()
        first = stack.enter_context(ShapedLink(f"127.0.0.1:{relay.port}", lambda: FIRST))
        yield cloud, relay, f"http://{first.address}"


def device(model: str, url: str) -> tuple[EdgeEngine, LoadedModel, Partition, FixedPlan]:
    config = compose("edge", [f"model={model}", f"cloud_url={url}", "engine.retry_after_s=0.1", "executor=native"])
    loaded = load(config)
    parts = partition(loaded, CutSettings())
    plan = FixedPlan(parts.table.last)
    return assemble_fixed(config, parts, plan), loaded, parts, plan


async def infer(engine: EdgeEngine, model: LoadedModel, number: int) -> tuple[bool, str, str]:
    """Whether an output is the unsplit model's, who finished it, and the fallback."""
    shape = model.example[0].shape
    inputs = torch.from_numpy(np.random.default_rng(number).random(shape, dtype=np.float32))
    with torch.inference_mode():
        expected = model.module(inputs)
    result = await engine.infer([inputs])
    return torch.equal(result.output, expected), result.finished_by, result.fallback


async def pairs(model: str, url: str, count: int, rng: random.Random) -> tuple[int, Counter[str]]:
    """Inferences at `count` pairs of cuts; how many were not exact or fell back, and who finished them."""
    engine, loaded, parts, plan = device(model, url)
    bad, finished = 0, Counter[str]()
    await engine.start()
    try:
        for number in range(count):
            first, second = sorted(rng.sample(parts.legal[:-1], 2)) if number else (parts.legal[1], parts.legal[1])
            plan.set(first, onward=Placement(second))
            exact, by, fallback = await infer(engine, loaded, number)
            bad += not exact or bool(fallback) or by != "cloud"
            finished[by] += 1
    finally:
        await engine.close()
    return bad, finished


async def stream(url: str, processes: tuple[Cloud, Cloud], options: argparse.Namespace) -> dict[str, Any]:
    """A stream of inferences while relay and cloud are killed in turn, each once the other is ready again.

    It goes on beyond `options.requests` until every kill has been, so that a slow machine kills as often.
    """
    engine, loaded, parts, plan = device(options.model, url)
    rng, finished, lost, wrong = random.Random(options.seed), Counter[str](), Counter[str](), 0
    sent = answered = 0

    async def one(number: int) -> None:
        nonlocal wrong, answered
        try:
            exact, by, fallback = await infer(engine, loaded, number)
        except Exception as error:  # noqa: BLE001 - an engine must not raise, whatever broke
            lost[f"{type(error).__name__}: {error}"] += 1
            return
        answered += 1
        wrong += not exact
        finished[f"{by}{' in its place' if fallback else ''}"] += 1

    async def kill_in_turn() -> None:
        for index in range(options.kills):
            before, victim = answered, processes[index % 2]
            while answered - before < options.requests / (options.kills + 1):  # noqa: ASYNC110 - a count
                await asyncio.sleep(0.02)
            await asyncio.to_thread(victim.restart, 0.3)
            await asyncio.to_thread(victim.wait_ready)

    await engine.start()
    began = time.perf_counter()
    try:
        async with asyncio.timeout(MOST_S), asyncio.TaskGroup() as tasks:
            kills = tasks.create_task(kill_in_turn())
            while sent < options.requests or not kills.done():
                await asyncio.sleep(max(began + sent / options.rate - time.perf_counter(), 0.0))
                first, second = sorted(rng.choices(parts.legal[:-1], k=2))
                plan.set(first, onward=Placement(second))
                tasks.create_task(one(sent))
                sent += 1
    finally:
        await engine.close()
    return {"requests": sent, "lost": sum(lost.values()), "wrong": wrong, "kills": options.kills,
            "finished by": dict(finished), "lost because": dict(lost)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="alexnet,mobilenet_v2", help="of the first part (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of cuts of each (default: %(default)s)")
    parser.add_argument("--model", default="mnist", help="of the stream (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=1000, help="of the stream (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=8, help="of relay and cloud in turn (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=20.0, help="inferences a second (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["midcut.cli.verbs.cloud", "midcut_models.mnist", "midcut_executors.native"])
    console, rng, bad = Console(width=120, highlight=False), random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        for model in filter(None, options.models.split(",")):
            with route(context, model, Path(folder)) as (_, _, url):
                wrong, finished = asyncio.run(pairs(model, url, options.pairs, rng))
            bad += wrong
            console.print(f"{model}: {options.pairs} pairs of cuts, {wrong} not exact; finished by {dict(finished)}")
        if options.requests:
            with route(context, options.model, Path(folder)) as (cloud, relay, url):
                figures = asyncio.run(stream(url, (relay, cloud), options))
            bad += figures["lost"] + figures["wrong"]
            console.print(f"{options.model}: {figures}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
