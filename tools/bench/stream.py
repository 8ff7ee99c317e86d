#!/usr/bin/env python3
"""A folder streamed by this build and by an older one, in turn, over the same EMULATED link: images a second.

Each build has a cloud of its own behind an emulated link of 10 Mbit/s, and streams at one cut (`midcut edge
input=folder`), its clock emulated. The period is the largest of head, bits over bandwidth, and tail, as measured one
after the other by this build. An older build streams as its own default does; this one with `input.in_flight=4`, and
once more at a rate of 0.9 / period, where no request may wait for longer and longer. Prints the images a second of
both, their ratio, this build's share of 1 / period, and how much the last images of the paced stream waited. On a busy
machine head and tail take longer while they overlap: the share of what the longest part allowed then is told beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common.figures import quartiles
from common.linked import FULL_MHZ, add_cut, add_link, add_model, add_slower, cloud_behind_link, cut_settings
from common.options import at_least
from common.processes import MIDCUT, running
from rich.console import Console

from midcut_models.mnist import DIGITS

PARTS = ("head", "sending", "tail")
IN_FLIGHT = 4


@dataclass(frozen=True)
class Stream:
    """What a streamed folder measured."""

    summary: dict[str, Any]
    records: list[dict[str, Any]]

    @property
    def rate_hz(self) -> float:
        """Answers a second, from when as many were answered as are in flight: without filling the pipeline."""
        at_s = [record["at_s"] for record in self.records][IN_FLIGHT:]
        return float((len(at_s) - 1) / (at_s[-1] - at_s[0]))

    def part_s(self, name: str) -> float:
        return float(np.median([record[name] for record in self.records]))

    def busiest(self, sending_s: float) -> tuple[str, float]:
        """The part that took longest on average while the parts of successive images overlapped, and its seconds."""
        edge_s, cloud_s = (float(np.mean([record[name] for record in self.records])) for name in ("edge_s", "cloud_s"))
        return max(zip(PARTS, (edge_s, sending_s, cloud_s), strict=True), key=lambda part: part[1])


class Build:
    """A build with its cloud and an emulated link to that."""

    def __init__(self, python: str, folder: Path, options: argparse.Namespace, stack: ExitStack) -> None:
        self._command = [python, *MIDCUT[1:]]
        self._folder, self._options = folder, options
        self._url = stack.enter_context(cloud_behind_link(options, folder / "cloud.log", self._command))
        self._runs = 0

    def stream(self, *overrides: str) -> Stream:
        """Stream the digits to the end."""
        options, run = self._options, self._folder / f"run{self._runs}"
        self._runs += 1
        clock = (f"executor.trace={self._folder / 'clock.json'}", f"executor.root={self._folder / 'clock'}")
        command = (
            *(*self._command, "edge", f"model={options.model}", "input=folder", f"input.path={DIGITS}"),
            *(f"input.limit={options.images}", "input.plot=false", f"cloud_url={self._url}", "telemetry=constant"),
            *(*cut_settings(options), "transport.timeout_s=60"),
            *("executor=emulated_clock", f"executor.max_clock_mhz={FULL_MHZ}", *clock, f"hydra.run.dir={run}"),
        )
        (self._folder / "clock.json").write_text(json.dumps([{"time_s": 0, "clock_mhz": FULL_MHZ / options.slower}]))
        with running((*command, *overrides), self._folder / "edge.log", r"(summary\.json)"):
            pass
        records = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
        return Stream(json.loads((run / "summary.json").read_text()), records)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--older", metavar="PYTHON", help="the older build's interpreter; none measures this one alone")
    add_model(parser)
    add_cut(parser)
    parser.add_argument(
        "--images", type=at_least(IN_FLIGHT + 2), default=60, help="of each stream (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=at_least(1), default=3, help="streams of each build in turn (default: %(default)s)"
    )
    add_link(parser)
    add_slower(parser, 2.0)
    options = parser.parse_args()
    console = Console(width=120, highlight=False)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        pythons = {"this": sys.executable} | ({"older": options.older} if options.older else {})
        builds = {}
        for which, python in pythons.items():
            folder = Path(name) / which
            folder.mkdir()
            builds[which] = Build(python, folder, options, stack)
        alone: list[Stream] = []
        streams: dict[str, list[Stream]] = {which: [] for which in builds}
        for _ in range(options.rounds):
            alone.append(builds["this"].stream("input.in_flight=1"))
            for which, build in builds.items():
                streams[which].append(build.stream(*(("input.in_flight=4",) if which == "this" else ())))
        edge_s, cloud_s = (float(np.median([each.part_s(name) for each in alone])) for name in ("edge_s", "cloud_s"))
        parts_s = edge_s, alone[0].part_s("sent_bytes") * 8 / (options.kbps * 1e3), cloud_s
        period_s = max(parts_s)
        paced = builds["this"].stream(f"input.rate_hz={0.9 / period_s}")
    text = ", ".join(f"{part} {seconds * 1e3:.1f} ms" for part, seconds in zip(PARTS, parts_s, strict=True))
    console.print(
        f"{options.model}, cut {options.cut}, one after the other: {text}; 1 / period {1 / period_s:.2f} a second"
    )
    rates = {which: [stream.rate_hz for stream in done] for which, done in streams.items()}
    for which, done in rates.items():
        console.print(
            f"{which} build: {quartiles(done):.2f} images/s, {quartiles(done).median * period_s:.2f} of 1 / period"
        )
    for stream in streams["this"]:
        part, seconds = stream.busiest(parts_s[1])
        share = stream.rate_hz * seconds
        console.print(f"  {part} took {seconds * 1e3:.1f} ms while they overlapped: {share:.2f} of what that allows")
    if "older" in rates:
        ratios = [new / old for new, old in zip(rates["this"], rates["older"], strict=True)]
        console.print(f"this build answers {quartiles(ratios):.2f} times as many as the older one")
    waits = [record["latency_s"] for record in paced.records]
    thirds = [float(np.median(third)) for third in np.array_split(waits, 3)]
    shown = ", ".join(f"{latency_s * 1e3:.0f} ms" for latency_s in thirds)
    part, seconds = paced.busiest(parts_s[1])
    share = paced.rate_hz * period_s
    console.print(
        f"at 0.9 / period: {share:.2f} of 1 / period, {part} took {seconds * 1e3:.1f} ms; "
        f"median latency of each third {shown}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
