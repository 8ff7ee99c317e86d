#!/usr/bin/env python3
"""The bandwidth that an edge measures on its own requests, relative to the link's, by the link's rate and by body.

A test bed (root; Linux): cloud and edge are processes in two network namespaces, and the kernel's token bucket (`tc
tbf`), or another link of the bed, shapes the packets between them. For each rate and body a new edge engine sends
requests of that size only; after each, the bandwidth is read as planning reads it, from `telemetry=[tcp_ping,
passive_bandwidth]` with their default settings. Where requests show no bandwidth, planning takes the next source.

A link's rate counts frames of 1514 bytes, which carry 1448 of TCP's: the true bandwidth is 0.956 of it. A token bucket
lets the first 3200 bytes through at once, so that a body of 17 kB takes a sixth less than its bytes at that rate.
`overhead` is what exchanges took beside their bytes on the link, its round trip and the cloud's own seconds: HTTP at
both ends, and waiting for a core.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bed import Bed, BedOptions
from bed.links import FRAME_BYTES, PAYLOAD_SHARE, SEGMENT_BYTES
from bed.shaped import BURST_BYTES
from bench.bandwidth_edge import model_settings
from common.figures import Quartiles, quartiles, text_table
from common.options import at_least, over_zero, several
from common.processes import MIDCUT, READY, running, start_ready, stop
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT = 8700
TELEMETRY = "telemetry=[tcp_ping,passive_bandwidth]"
TOOLS = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kbps", type=several(8), default=[1000, 4000, 20_000], help="rates of the link, comma list")
    parser.add_argument(
        "--bytes", type=several(1000), default=[17_000, 37_000, 130_000, 600_000], help="of bodies, comma list"
    )
    parser.add_argument("--ping-ms", type=several(0), default=[0], help="of the link, comma list; not with tbf")
    parser.add_argument("--link", default="tbf", help="of the bed: tbf, netem, tun or auto (default: %(default)s)")
    parser.add_argument("--congestion", default="reno", help="TCP's congestion control (default: %(default)s)")
    parser.add_argument("--rate-hz", type=over_zero, default=2.0, help="requests a second (default: %(default)s)")
    parser.add_argument("--seconds", type=over_zero, default=8.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--least", type=at_least(2), default=6, help="requests of each measurement at least")
    parser.add_argument("--edge", nargs="*", default=[], help="further settings of `midcut edge`")
    parser.add_argument("--json", type=Path, help="also write the figures to this file, with every exchange")
    options = parser.parse_args()
    rows = list(measure(options))
    report(rows, options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of every rate, ping and body."""
    sizes = [size // 4 * 4 for size in options.bytes]
    model = model_settings(sizes)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TOOLS), os.environ.get("PYTHONPATH", "")])
    bed_options = BedOptions(link=options.link, clock="cooperative", congestion_control=options.congestion, trim=False)
    with Bed(bed_options) as bed, tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        cloud = [*MIDCUT, "cloud", *model, f"server.host={bed.cloud.address}", f"server.port={PORT}"]
        url = f"http://{bed.cloud.address}:{PORT}"
        settings = (*model, f"cloud_url={url}", TELEMETRY, "executor=native", "transport.timeout_s=60", *options.edge)
        program = [sys.executable, str(TOOLS / "bench/bandwidth_edge.py"), *settings]
        with running(cloud, log, READY, popen=bed.cloud.popen):
            edge, _ = start_ready(program, log, "^ready", popen=partial(bed.edge.popen, stdin=subprocess.PIPE))
            try:
                for kbps in options.kbps:
                    for ping_ms in options.ping_ms:
                        bed.link.set(bandwidth_kbps=float(kbps), ping_ms=float(ping_ms))
                        for size in sizes:
                            yield measure_one(edge, kbps, ping_ms, size, bed.link.kind, options)
            finally:
                stop(edge)


def measure_one(
    edge: subprocess.Popen[str], kbps: int, ping_ms: int, size: int, kind: str, options: argparse.Namespace
) -> dict[str, Any]:
    """The figures of one rate, ping and body."""
    order = {"body_bytes": size, "seconds": options.seconds, "least": options.least, "rate_hz": options.rate_hz}
    assert edge.stdin is not None  # noqa: S101 - both are piped
    assert edge.stdout is not None  # noqa: S101
    edge.stdin.write(json.dumps(order) + "\n")
    edge.stdin.flush()
    if not (line := edge.stdout.readline()):
        raise SystemExit("the edge ended")
    found = json.loads(line)
    readings = [reading for reading in found["readings_kbps"] if reading is not None]
    true_kbps = kbps * PAYLOAD_SHARE
    ratios = [reading / true_kbps for reading in readings]
    return {
        "link_kbps": kbps,
        "ping_ms": ping_ms,
        "body_bytes": size,
        "true_kbps": true_kbps,
        "requests": len(found["exchanges"]),
        "readings": len(readings),
        "ratio": quartiles(ratios) if ratios else None,
        "overhead_ms": [round(1e3 * overhead_s(exchange, kbps, ping_ms, kind), 3) for exchange in found["exchanges"]],
        **found,
    }


def wire_s(sent_bytes: int, kbps: int, kind: str) -> float:
    """Seconds that a request is on the link: its frames at the link's rate, but for what tbf lets through at once."""
    frame_bytes = sent_bytes + math.ceil(sent_bytes / SEGMENT_BYTES) * (FRAME_BYTES - SEGMENT_BYTES)
    return max(frame_bytes - (BURST_BYTES if kind == "tbf" else 0), 0) * 8 / (kbps * 1e3)


def overhead_s(exchange: dict[str, Any], kbps: int, ping_ms: int, kind: str) -> float:
    """What an exchange took beside the link, the ping and the cloud."""
    on_link_s = ping_ms / 1e3 + wire_s(exchange["sent_bytes"], kbps, kind)
    return float(exchange["wall_s"] - exchange["server_s"] - on_link_s)


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the figures as a table."""
    table = text_table(
        f"bandwidth measured on requests / true, {options.link}, {options.rate_hz:g} requests a second",
        ("Mbit/s", "ping ms", "body kB", "requests", "readings", "measured / true", "overhead ms"),
        left=(),
    )
    for row in rows:
        table.add_row(
            f"{row['link_kbps'] / 1e3:g}", str(row["ping_ms"]), f"{row['body_bytes'] / 1e3:g}", str(row["requests"]),
            str(row["readings"]), "" if row["ratio"] is None else f"{Quartiles(*row['ratio']):.3f}",
            f"{quartiles(row['overhead_ms'][1:]):.2f}",
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
