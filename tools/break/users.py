#!/usr/bin/env python3
"""Several edges against one cloud whose price rises with its load: do they settle, or switch for ever?

The cloud and the edges are processes of their own. Each edge weighs delay and what it pays (`policy=gao`), and answers
the price that the others' choices make; its clock is EMULATED, so that the cloud is worth something. Images come to
each at a fixed rate. Two runs: edges that may switch in one of three planning steps, and edges that may in each. For
both it prints the cuts over time, and the switches a minute before and after the settling time. Exits with 1 if the
first run switches more than `--most` times a minute and edge afterwards, or if a request is lost. An edge that is
overloaded may refuse requests (503); they are counted as lost, but are no error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from common.figures import text_table
from common.linked import FULL_MHZ, add_model, add_slower
from common.processes import server
from rich.console import Console

from midcut.api.client import Client
from midcut.errors import WireError
from midcut.serving import event_loop
from midcut_models.mnist import DIGITS

POLL_S = 0.25


@dataclass
class Course:
    """What an edge did.

    Attributes:
        cuts: time since the start and the cut from then on.
        answered: number of requests.
        lost: reason -> number of requests without an answer.
    """

    cuts: list[tuple[float, int]] = field(default_factory=list)
    answered: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    def switches(self, start_s: float, stop_s: float) -> int:
        return sum(start_s <= at_s < stop_s for at_s, _ in self.cuts[1:])


async def send(client: Client, image: bytes, rate_hz: float, until_s: float, course: Course) -> None:
    """Requests at a fixed rate, sent whether or not earlier ones are answered."""

    async def one() -> None:
        try:
            await client.classify(image)
        except WireError as error:
            course.lost[str(error).partition(" answered ")[2] or str(error)] += 1
        else:
            course.answered += 1

    began, number = time.perf_counter(), 0
    async with asyncio.TaskGroup() as requests:
        while (now := time.perf_counter() - began) < until_s:
            requests.create_task(one())
            number += 1
            await asyncio.sleep(max(number / rate_hz - now, 0.0))


async def watch(client: Client, until_s: float, course: Course) -> None:
    began = time.perf_counter()
    while (now := time.perf_counter() - began) < until_s:
        cut = int((await client.health())["cut"])
        if not course.cuts or course.cuts[-1][1] != cut:
            course.cuts.append((now, cut))
        await asyncio.sleep(POLL_S)


async def play(urls: list[str], options: argparse.Namespace) -> list[Course]:
    courses = [Course() for _ in urls]
    image = (DIGITS / "0000.png").read_bytes()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        for url, course in zip(urls, courses, strict=True):
            client = await stack.enter_async_context(Client(url))
            tasks.create_task(send(client, image, options.rate, options.seconds, course))
            tasks.create_task(watch(client, options.seconds, course))
    return courses


def run(turn_share: float, folder: Path, options: argparse.Namespace) -> list[Course]:
    """Start a cloud and the edges, and send to all of them for `options.seconds`."""
    log, trace = folder / "processes.log", folder / "clock.json"
    trace.write_text(json.dumps([{"time_s": 0, "clock_mhz": FULL_MHZ / options.slower}]))
    model = f"model={options.model}"
    price = f"price.base_usd_per_hour={options.base:g}", f"price.slope_usd_per_hour={options.slope:g}"
    with ExitStack() as stack:
        cloud = stack.enter_context(server("cloud", log, model, "server.port=0", *price))
        urls, min_gain = [], options.min_gain if turn_share < 1.0 else 0.0
        inertia = f"engine.turn_share={turn_share}", f"engine.min_gain={min_gain}"
        for number in range(options.edges):
            root = folder / f"clock{number}"
            overrides = (
                *(model, f"cloud_url={cloud}", "input.port=0", "policy=gao", *inertia),
                *("edge_profile=auto", "cloud_profile=auto", f"objective.sharing.rate_hz={options.rate}"),
                *("executor=emulated_clock", f"executor.trace={trace}", f"executor.max_clock_mhz={FULL_MHZ}"),
                *(f"executor.root={root}", f"telemetry.cpufreq.root={root}", "telemetry.conditions.interval_s=1"),
            )
            urls.append(stack.enter_context(server("edge", log, *overrides, f"hydra.run.dir={folder}/edge{number}")))
        return event_loop.run(play(urls, options))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser)
    parser.add_argument("--edges", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--rate", type=float, default=1.0, help="images a second of each (default: %(default)s)")
    add_slower(parser, 3.0)
    parser.add_argument("--base", type=float, default=0.2, help="price of the idle cloud, $/h (default: %(default)s)")
    parser.add_argument("--slope", type=float, default=25.0, help="$/h for each busy second a second")
    parser.add_argument("--settle", type=float, default=60.0, help="seconds that may be unsettled")
    parser.add_argument("--seconds", type=float, default=180.0, help="of each run (default: %(default)s)")
    parser.add_argument("--most", type=float, default=1.0, help="switches a minute and edge after that")
    parser.add_argument("--min-gain", type=float, default=0.1, help="of runs with turns (default: %(default)s)")
    parser.add_argument("--turns", default="0.3,1", help="engine.turn_share of each run (default: %(default)s)")
    options = parser.parse_args()
    console = Console(width=120, highlight=False)
    columns = ("turn_share", "edge", "cuts over time", "switches before", "a minute after", "answered", "lost")
    table = text_table(f"{options.model}, {options.edges} edges", columns, left=("cuts over time",))
    bad, lost = 0, Counter[str]()
    for number, turn_share in enumerate(float(text) for text in options.turns.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            courses = run(turn_share, Path(folder), options)
        for edge, course in enumerate(courses):
            after = course.switches(options.settle, options.seconds) * 60.0 / (options.seconds - options.settle)
            lost += course.lost
            bad += any(not reason.startswith("503") for reason in course.lost) or (number == 0 and after > options.most)
            cuts = " ".join(f"{cut}@{at_s:.0f}s" for at_s, cut in course.cuts[:12])
            more = f" and {len(course.cuts) - 12} more" if len(course.cuts) > 12 else ""
            before = str(course.switches(0.0, options.settle))
            counts = str(course.answered), str(course.lost.total())
            table.add_row(f"{turn_share:g}", str(edge), cuts + more, before, f"{after:.2f}", *counts)
    console.print(table)
    for reason, count in lost.items():
        console.print(f"{count} lost: {reason}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
