#!/usr/bin/env python3
"""Send malformed requests to every route of a cloud and an edge, and look at every answer and at their memory.

Each server is a process of its own. A request is a valid one with something broken (`malformed_requests.py`). A
refusal must be a 4xx with a reason in JSON, in one line; where the end of the request cannot be known, the server may
close the connection instead. Then come slow clients, which must be disconnected, and decompression bombs, which must
be refused before they are decompressed. Exits with 1 at any 5xx, an invalid answer, a dead server or a leak of memory.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import re
import resource
import sys
import tempfile
import time
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from common.processes import start
from malformed_requests import Hostile, Request, Sample, largest, png_bomb
from raw_http import RawConnection, exchange, headers_of
from rich.console import Console
from rich.table import Table
from valid_requests import samples

if TYPE_CHECKING:
    import subprocess

QUIET = ("hydra.job_logging.loggers.midcut.level=ERROR", "cuts.verify=false", "model=mnist")
CONNECTIONS = 4
# The C library keeps what was freed for each thread, up to the largest body times the threads. It is told to give it
# back at once, so that what grows here is what a server itself keeps.
AT_ONCE = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "131072"}
SLOW_S = 4.0  # how long the servers wait for a head or a body here
WARM_UP = 2000  # malformed requests before memory is first looked at


@dataclass
class Seen:
    """What a route answered."""

    refused: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    took_s: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="refused ones, per route")
    parser.add_argument("--route", action="append", help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grow", type=float, default=32.0, help="MB that a server's memory may grow by, per route")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    routes = samples()
    unknown = set(options.route or ()) - set(routes)
    if unknown:
        parser.error(f"no route is named {', '.join(unknown)}; there are: {', '.join(routes)}")
    figures: dict[str, Any] = {}
    for name in options.route or routes:
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = attack(name, routes[name], options, Path(folder) / "log")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    report(figures)
    return 1 if any(one["wrong"] for one in figures.values()) else 0


def attack(name: str, known: list[Sample], options: argparse.Namespace, log: Path) -> dict[str, Any]:
    """One route of a fresh server."""
    verb, _, _ = name.partition(" ")
    process, url = start(verb, log, *QUIET, *knobs(verb))
    port = int(url.rsplit(":", 1)[1])
    try:
        seen = asyncio.run(fuzz(process, port, known, options))
        seen.wrong += asyncio.run(slow_clients(port, known[0]))
        seen.wrong += asyncio.run(bombs(process.pid, port, known[0]))
        if process.poll() is not None:
            seen.wrong.append(f"the server ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()
    grew = max(seen.rss_mb[1:]) - seen.rss_mb[0]
    if grew > options.grow:
        seen.wrong.append(f"memory grew by {grew:.1f} MB")
    if "Traceback" in log.read_text():
        seen.wrong.append("a traceback in the log: " + log.read_text()[-1500:])
    return {
        "refused": seen.refused,
        "statuses": dict(sorted(seen.statuses.items())),
        "kinds": dict(seen.kinds),
        "rss_mb": [round(one, 1) for one in seen.rss_mb],
        "per_s": round(sum(seen.statuses.values()) / seen.took_s),
        "wrong": seen.wrong[:20],
    }


def knobs(verb: str) -> tuple[str, ...]:
    if verb == "cloud":
        return ("server.port=0", f"server.body_timeout_s={SLOW_S}", f"server.idle_timeout_s={SLOW_S}")
    times = (f"input.body_timeout_s={SLOW_S}", f"input.idle_timeout_s={SLOW_S}")
    return ("telemetry=[]", "engine.fallback=edge", "input.port=0", "cloud_url=http://127.0.0.1:9", *times)


async def fuzz(process: subprocess.Popen[str], port: int, known: list[Sample], options: argparse.Namespace) -> Seen:
    """Malformed requests over a few connections until enough were refused."""
    seen, hostile = Seen(), Hostile(known, options.seed)
    for sample in known:  # what is valid is answered, or nothing that follows means anything
        status, answer = await exchange(port, Request("valid", sample.path, headers_of(sample), sample.body))
        if status != 200:
            seen.wrong.append(f"a valid request was answered {status}: {answer[:200]!r}")
    seen.wrong += await largest_bodies(port, known)
    began = time.perf_counter()
    warm_up = min(WARM_UP, options.requests // 5)
    for goal in (warm_up, *(warm_up + (options.requests - warm_up) * part // 4 for part in (1, 2, 3, 4))):
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(worker(process, port, hostile, seen, goal))
        seen.rss_mb.append(rss_mb(process.pid))
    seen.took_s = time.perf_counter() - began
    return seen


async def largest_bodies(port: int, known: list[Sample]) -> list[str]:
    """As much as the server takes, on several connections at once."""
    _, told = await exchange(port, Request("huge", known[0].path, headers_of(known[0], **{"Content-Length": "9" * 15})))
    limit = int((re.search(rb"limit of (\d+) bytes", told) or [0, 0])[1])
    if not limit:
        return [f"no limit is told: {told[:200]!r}"]
    made = [request for sample in known[:1] if (request := largest(sample, limit)) is not None]
    answers = await asyncio.gather(*(exchange(port, request) for request in made for _ in range(2 * CONNECTIONS)))
    return [f"the largest body was answered {status}" for status, _ in answers if not 400 <= status < 500]


async def worker(process: subprocess.Popen[str], port: int, hostile: Hostile, seen: Seen, goal: int) -> None:
    connection = RawConnection(port)
    while seen.refused < goal and process.poll() is None and len(seen.wrong) < 20:
        request = hostile.request()
        status, answer = await connection.exchange(request)
        seen.statuses[str(status or "closed")] += 1
        if (why := verdict(request, status, answer)) is None:
            seen.refused += status >= 400
            seen.kinds[request.kind] += status >= 400
        else:
            seen.wrong.append(f"{request.kind}: {why}: {request.encoded()[:300]!r}")
    connection.close()


def verdict(request: Request, status: int, answer: bytes) -> str | None:
    """Why an answer is none that a malformed request may get; None where it may."""
    if status == 200:
        return None  # what was broken broke nothing
    if status == 0:
        return None if not request.framed else "closed without an answer"
    if not 400 <= status < 500:
        return f"answered {status} {answer[:200]!r}"
    if request.method == "HEAD":
        return None
    try:
        reason = json.loads(answer)["error"]
    except (ValueError, KeyError, TypeError):
        return f"{status} without a reason in JSON: {answer[:200]!r}"
    return None if isinstance(reason, str) and reason and "\n" not in reason else f"{status}: {reason!r}"


async def slow_clients(port: int, sample: Sample) -> list[str]:
    """Two hundred clients that stop in the middle: all are hung up on, and others are answered meanwhile."""
    whole = Request("slow", sample.path, headers_of(sample), sample.body).encoded()
    body_at = whole.index(b"\r\n\r\n") + 4
    stops = (0, 5, body_at - 3, body_at, body_at + len(sample.body) // 2)
    ends = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
    for number, (_, writer) in enumerate(ends):
        writer.write(whole[: stops[number % len(stops)]])
    status, _ = await exchange(port, Request("valid", sample.path, headers_of(sample), sample.body))
    wrong = [] if status == 200 else [f"beside slow clients a valid request was answered {status}"]
    try:
        async with asyncio.timeout(SLOW_S * 5):
            answers = await asyncio.gather(*(_until_closed(reader) for reader, _ in ends))
        odd = Counter(answer[9:12] for answer in answers) - Counter({b"": 10**6, b"408": 10**6, b"400": 10**6})
        wrong += [f"slow clients got {dict(odd)}"] if odd else []
    except TimeoutError:
        wrong.append("slow clients were not hung up on")
    for _, writer in ends:
        writer.transport.abort()
    return wrong


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    with suppress(ConnectionError):
        return await reader.read()
    return b""


async def bombs(pid: int, port: int, sample: Sample) -> list[str]:
    """Small bodies that would unfold to much: refused, and not unfolded."""
    before = rss_mb(pid)
    wrong = []
    for kind, headers, body in (
        ("gzip", {"Content-Encoding": "gzip"}, gzip.compress(bytes(50_000_000))),
        ("deflate", {"Content-Encoding": "deflate"}, zlib.compress(bytes(50_000_000))),
        ("PNG", {"Content-Type": "image/png"}, png_bomb(40_000)),
    ):
        request = Request(kind, sample.path, headers_of(sample, **headers, **{"Content-Length": str(len(body))}), body)
        status, answer = await exchange(port, request)
        if not 400 <= status < 500:
            wrong.append(f"a bomb ({kind}, {len(body)} bytes) was answered {status} {answer[:100]!r}")
    grew = rss_mb(pid) - before
    return [*wrong, *([f"bombs grew memory by {grew:.0f} MB"] if grew > 50 else [])]


def rss_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6
    return float("nan")


def report(figures: dict[str, Any]) -> None:
    table = Table("route", "refused", "answers by status", "RSS, MB", "per s", "wrong", title="fuzz")
    for name, one in figures.items():
        statuses = ", ".join(f"{status} {count}" for status, count in one["statuses"].items())
        memory = " ".join(f"{value:.0f}" for value in one["rss_mb"])
        table.add_row(name, str(one["refused"]), statuses, memory, str(one["per_s"]), str(len(one["wrong"])))
    Console(width=max(Console().width, 140)).print(table)
    for name, one in figures.items():
        for line in one["wrong"]:
            print(f"{name}: {line}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.update(AT_ONCE)
    sys.exit(main())
