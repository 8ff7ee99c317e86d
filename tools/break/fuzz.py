#!/usr/bin/env python3
"""Send malformed requests to every route of a cloud and an edge, and check every answer and the servers' memory.

Each server is a process of its own. A request is a valid one with something broken (`malformed_requests.py`). A
refusal must be a 4xx with a reason in JSON, in one line; where the end of the request cannot be known, the server may
close the connection instead. Then come slow clients, which must be disconnected, decompression bombs, which must be
refused before they are decompressed, pictures that must not keep the server busy, requests in which a bit was flipped,
and readers that take no answer. Exits with 1 at any 5xx, an invalid answer, a dead server or a leak of memory.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import random
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
from typing import TYPE_CHECKING
from urllib.parse import unquote

import torch
from common.processes import MIDCUT, start_ready
from hostile_pictures import hostile_pictures, png
from malformed_requests import Request, RequestBreaker, Sample, largest
from raw_http import RawConnection, exchange, headers_of
from rich.console import Console
from rich.table import Table
from strangers import read_slowly
from valid_requests import samples

from midcut.wire import oip

if TYPE_CHECKING:
    import subprocess

QUIET = ("hydra.job_logging.loggers.midcut.level=ERROR", "cuts.verify=false", "model=mnist")
CONNECTIONS = 4
# By default, malloc keeps freed memory per thread: up to the largest body times the threads. With these settings it
# returns memory at once, so that growth measured here is a leak of the server.
MALLOC_SETTINGS = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "131072"}
SLOW_S = 4.0  # how long the servers wait for headers or a body
SHOWN_BYTES = 20_000  # of a request that got no valid answer
PICTURE_S = 20.0  # how long a server may take for a hostile picture; it takes a few at most
FLIPS = 20  # of one bit, in each valid request
WARM_UP = 2000  # malformed requests before memory is first measured


@dataclass
class RouteResult:
    """The answers of a route.

    Attributes:
        statuses: number of answers by HTTP status.
        kinds: number of refusals by what was broken in the request.
        wrong: what a server must not do but did.
        rss_mb: memory of the server, after the warm-up and then four times.
        per_s: answers per second.
    """

    refused: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    rss_mb: list[float] = field(default_factory=list)
    per_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="refused requests, per route")
    parser.add_argument("--route", action="append", help="only this route (may be given several times)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grow", type=float, default=32.0, help="MB that a server's memory may grow by, per route")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    routes = samples()
    unknown = set(options.route or ()) - set(routes)
    if unknown:
        parser.error(f"no route is named {', '.join(unknown)}; there are: {', '.join(routes)}")
    results = {}
    for name in options.route or routes:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = attack(name, routes[name], options, Path(folder) / "log")
    if options.json:
        figures = {name: vars(result) for name, result in results.items()}
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    report(results)
    return 1 if any(result.wrong for result in results.values()) else 0


def attack(name: str, samples: list[Sample], options: argparse.Namespace, log: Path) -> RouteResult:
    """Start a server, fuzz one route, and check the server's log and memory."""
    verb, _, _ = name.partition(" ")
    process, ready = start_ready([*MIDCUT, verb, *QUIET, *overrides(verb)], log)
    port = int(ready[1].rsplit(":", 1)[1])
    try:
        result = asyncio.run(fuzz(process, port, samples, options))
        result.wrong += asyncio.run(check_slow_clients(port, samples[0]))
        result.wrong += asyncio.run(check_bombs(process.pid, port, samples[0]))
        result.wrong += asyncio.run(check_pictures(port, samples[0]))
        result.wrong += asyncio.run(check_damage(port, samples, options.seed))
        result.wrong += asyncio.run(check_slow_readers(process.pid, port, samples[0]))
        if process.poll() is not None:
            result.wrong.append(f"the server ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()
    growth_mb = max(result.rss_mb[1:]) - result.rss_mb[0]
    if growth_mb > options.grow:
        result.wrong.append(f"memory grew by {growth_mb:.1f} MB")
    if "Traceback" in log.read_text():
        result.wrong.append("a traceback in the log: " + log.read_text()[-1500:])
    return result


def overrides(verb: str) -> tuple[str, ...]:
    if verb == "cloud":
        return ("server.port=0", f"server.body_timeout_s={SLOW_S}", f"server.idle_timeout_s={SLOW_S}")
    times = (f"input.body_timeout_s={SLOW_S}", f"input.idle_timeout_s={SLOW_S}")
    return ("telemetry=[]", "engine.fallback=edge", "input.port=0", "cloud_url=http://127.0.0.1:9", *times)


async def fuzz(
    process: subprocess.Popen[str], port: int, samples: list[Sample], options: argparse.Namespace
) -> RouteResult:
    """Send malformed requests over a few connections until enough were refused."""
    result, breaker = RouteResult(), RequestBreaker(samples, options.seed)
    for sample in samples:  # refusals mean nothing unless the unbroken requests are answered
        status, answer = await exchange(port, Request("valid", sample.path, headers_of(sample), sample.body))
        if status != 200:
            result.wrong.append(f"a valid request was answered {status}: {answer[:200]!r}")
    result.wrong += await send_largest_bodies(port, samples)
    began = time.perf_counter()
    warm_up = min(WARM_UP, options.requests // 5)
    for goal in (warm_up, *(warm_up + (options.requests - warm_up) * part // 4 for part in (1, 2, 3, 4))):
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(send_malformed(process, port, breaker, result, goal))
        result.rss_mb.append(rss_mb(process.pid))
    result.per_s = result.statuses.total() / (time.perf_counter() - began)
    return result


async def send_largest_bodies(port: int, samples: list[Sample]) -> list[str]:
    """Send the largest body that the server accepts on several connections at once; returns what went wrong."""
    sample = samples[0]
    huge = Request("huge", sample.path, headers_of(sample, **{"Content-Length": "9" * 15}))
    _, refusal = await exchange(port, huge)
    limit = int((re.search(rb"limit of (\d+) bytes", refusal) or [0, 0])[1])
    if not limit:
        return [f"the refusal of a huge body does not name the limit: {refusal[:200]!r}"]
    request = largest(sample, limit)
    if request is None:
        return []
    answers = await asyncio.gather(*(exchange(port, request) for _ in range(2 * CONNECTIONS)))
    return [f"the largest body was answered {status}" for status, _ in answers if not 400 <= status < 500]


async def send_malformed(
    process: subprocess.Popen[str], port: int, breaker: RequestBreaker, result: RouteResult, goal: int
) -> None:
    """Send malformed requests on one connection until `goal` were refused on all connections together."""
    connection = RawConnection(port)
    while result.refused < goal and process.poll() is None and len(result.wrong) < 20:
        request, began = breaker.request(), time.perf_counter()
        status, answer = await connection.exchange(request)
        result.statuses[str(status or "closed")] += 1
        if (fault := find_fault(request, status, answer)) is None:
            result.refused += status >= 400
            result.kinds[request.kind] += status >= 400
        else:
            took_s = time.perf_counter() - began
            result.wrong.append(f"{request.kind}: {fault} after {took_s:.2f} s: {request.encoded()[:SHOWN_BYTES]!r}")
    connection.close()


def find_fault(request: Request, status: int, answer: bytes) -> str | None:
    """Why a malformed request must not get this answer; None where it may."""
    if status == 200:
        return None  # the change left the request valid
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


async def check_slow_clients(port: int, sample: Sample) -> list[str]:
    """Two hundred clients that stop sending must be disconnected, and others answered meanwhile; returns faults."""
    whole = Request("slow", sample.path, headers_of(sample), sample.body).encoded()
    body_at = whole.index(b"\r\n\r\n") + 4
    stops = (0, 5, body_at - 3, body_at, body_at + len(sample.body) // 2)
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
    for number, (_, writer) in enumerate(connections):
        writer.write(whole[: stops[number % len(stops)]])
    status, _ = await exchange(port, Request("valid", sample.path, headers_of(sample), sample.body))
    wrong = [] if status == 200 else [f"beside slow clients a valid request was answered {status}"]
    try:
        async with asyncio.timeout(SLOW_S * 20):
            answers = await asyncio.gather(*(_read_until_closed(reader) for reader, _ in connections))
        unexpected = Counter(answer[9:12] for answer in answers) - Counter({b"": 10**6, b"408": 10**6, b"400": 10**6})
        wrong += [f"slow clients got {dict(unexpected)}"] if unexpected else []
    except TimeoutError:
        wrong.append("slow clients were not disconnected")
    for _, writer in connections:
        writer.transport.abort()
    return wrong


async def _read_until_closed(reader: asyncio.StreamReader) -> bytes:
    with suppress(ConnectionError):
        return await reader.read()
    return b""


async def check_bombs(pid: int, port: int, sample: Sample) -> list[str]:
    """Small bodies that decompress to large ones must be refused and not decompressed; returns faults."""
    before = rss_mb(pid)
    wrong = []
    for kind, headers, body in (
        ("gzip", {"Content-Encoding": "gzip"}, gzip.compress(bytes(50_000_000))),
        ("deflate", {"Content-Encoding": "deflate"}, zlib.compress(bytes(50_000_000))),
        ("PNG", {"Content-Type": "image/png"}, png(40_000, 40_000, bits=1, rows=20_000)),
    ):
        request = Request(kind, sample.path, headers_of(sample, **headers, **{"Content-Length": str(len(body))}), body)
        status, answer = await exchange(port, request)
        if not 400 <= status < 500:
            wrong.append(f"a bomb ({kind}, {len(body)} bytes) was answered {status} {answer[:100]!r}")
    growth_mb = rss_mb(pid) - before
    return [*wrong, *([f"bombs grew memory by {growth_mb:.0f} MB"] if growth_mb > 50 else [])]


async def check_pictures(port: int, sample: Sample) -> list[str]:
    """Pictures that are work for a decoder must be answered or refused soon, whatever the route; returns faults."""
    wrong = []
    for name, file in hostile_pictures().items():
        headers = headers_of(sample, **{"Content-Type": "image/png", "Content-Length": str(len(file))})
        began = time.perf_counter()
        status, answer = await exchange(port, Request(name, sample.path, headers, file))
        if status != 200 and not 400 <= status < 500:
            wrong.append(f"a picture ({name}, {len(file)} bytes) was answered {status} {answer[:100]!r}")
        if (took_s := time.perf_counter() - began) > PICTURE_S:
            wrong.append(f"a picture ({name}, {len(file)} bytes) took {took_s:.1f} s")
    return wrong


async def check_damage(port: int, samples: list[Sample], seed: int) -> list[str]:
    """A request that a bit was flipped in on its way must be refused, by its checksum; returns faults."""
    wrong, rng = [], random.Random(seed)
    for sample in samples:
        named = re.match("/v2/models/([^/]+)/", sample.path)
        checksum = oip.RequestChecksum(unquote(named[1]) if named else "", sample.headers.get(oip.HEADER_LENGTH, ""))
        checksum.add(sample.body)
        headers = headers_of(sample, **{oip.CHECKSUM_HEADER: checksum.text})
        for flipped in (False, *[True] * FLIPS):
            body = bytearray(sample.body)
            if flipped:
                body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
            status, answer = await exchange(port, Request("damaged", sample.path, headers, bytes(body)))
            if (status != 400 or b"damaged" not in answer) if flipped else status != 200:
                wrong.append(f"{'damaged' if flipped else 'whole'}: answered {status} {answer[:100]!r}")
    return wrong


async def check_slow_readers(pid: int, port: int, sample: Sample) -> list[str]:
    """Clients that ask for much and take nothing must not take memory, nor the server from others; returns faults."""
    before = rss_mb(pid)
    readers = asyncio.create_task(asyncio.to_thread(read_slowly, port, SLOW_S))
    wrong = []
    while not readers.done():
        status, answer = await exchange(port, Request("valid", sample.path, headers_of(sample), sample.body))
        if status != 200:
            wrong.append(f"beside slow readers a valid request was answered {status} {answer[:100]!r}")
        await asyncio.sleep(0.1)
    growth_mb = rss_mb(pid) - before
    return [*wrong, *([f"slow readers grew memory by {growth_mb:.0f} MB"] if growth_mb > 50 else [])]


def rss_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6
    return float("nan")


def report(results: dict[str, RouteResult]) -> None:
    table = Table("route", "refused", "answers by status", "RSS, MB", "per s", "wrong", title="fuzz")
    for name, result in results.items():
        statuses = ", ".join(f"{status} {count}" for status, count in sorted(result.statuses.items()))
        memory = " ".join(f"{value:.0f}" for value in result.rss_mb)
        table.add_row(name, str(result.refused), statuses, memory, f"{result.per_s:.0f}", str(len(result.wrong)))
    Console(width=max(Console().width, 140)).print(table)
    for name, result in results.items():
        for fault in result.wrong[:20]:
            print(f"{name}: {fault}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.update(MALLOC_SETTINGS)
    sys.exit(main())
