#!/usr/bin/env python3
"""Compare the placements that midcut picks with a bare server that takes the JPEG and runs the whole model.

    python tools/bench/placements.py --json placements.json
    python tools/bench/placements.py --other ../older --json placements.json       # another checkout, with its .venv

Photographs are posted as JPEG in turn: to the bare server through the link, and at each clock to edges whose cloud is
behind such a link: with exact codecs, with `accuracy_floor=0.99`, and to `before`, an edge in PyTorch with the other
defaults of `--other`, or of this checkout. Cloud, bare server and the other edges run ONNX Runtime; everything computes
on one thread. Each model is profiled first, at full clock. The link is a proxy (`midcut.proxies.link`), or with `--bed`
a link of packets, whose rate counts headers too. The clock of the edges is EMULATED: it stretches the network's runs,
not decoding or coding. Ratios are within a turn; quartiles over the turns. int8-zstd is taken to agree in 0.99 of all
cases, which is not measured here, but by `midcut profile agreement=FOLDER`.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from common.figures import quartiles, text_table
from common.options import at_least, over_zero
from common.places import place
from common.processes import MIDCUT, ONE_THREAD, READY, running
from PIL import Image
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from common.places import Place
    from common.processes import Popen

PING_MS = 20.0
FULL_MHZ = 1000.0
PLAIN = ("cuts.verify=false", "hydra.run.dir=run")
CODECS = {
    "exact": ("codec=[file,webp,zstd,raw]",),
    "floor 0.99": (
        "codec=[file,webp,zstd,raw,int8-zstd]",
        "accuracy_floor=0.99",
        "codec.int8-zstd.int8.agreement=0.99",
    ),
}
BARE, BEFORE = "bare", "before"


@dataclass
class Taken:
    """What one receiver of the photographs took.

    Attributes:
        seconds: of each answer, in the order of the turns.
        placements: cut, codec and who finished -> number of answers.
    """

    seconds: list[float] = field(default_factory=list)
    placements: dict[str, int] = field(default_factory=dict)

    @property
    def picked(self) -> str:
        """The most frequent placement."""
        return max(self.placements, key=lambda text: self.placements[text], default="")


def main() -> int:
    options = arguments()
    began = perf_counter()
    lines: list[dict[str, Any]] = []
    with place(FULL_MHZ, PING_MS, on_bed=options.bed) as where:
        for name in options.models.split(","):
            with ExitStack() as stack:
                for line in measure_model(name, options, where, stack):
                    lines.append(line)
                    print(json.dumps(line), flush=True)
            if options.json:
                options.json.write_text(json.dumps(lines, indent=1) + "\n")
        report(lines, where.note, perf_counter() - began)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="alexnet,efficientnet_lite0,mobilenet_v2", help="default: %(default)s")
    parser.add_argument("--links-kbps", type=at_least(1), nargs="+", default=[2_000, 10_000, 50_000])
    parser.add_argument(
        "--clocks", type=over_zero, nargs="+", default=[1.0, 0.4], help="shares of the edge's full clock"
    )
    parser.add_argument("--rounds", type=at_least(1), default=2, help="turns of all photographs")
    parser.add_argument("--warmup", type=at_least(0), default=2, help="turns that are not counted")
    parser.add_argument("--other", type=Path, help="another checkout, as `before`")
    parser.add_argument("--bed", action="store_true", help="on a test bed: two hosts, real packets (root)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


@dataclass(frozen=True)
class Setup:
    """What all measurements of one model share.

    Attributes:
        urls: of the cloud, the bare server and the older cloud.
        before: the command of the older midcut.
        profiles, older_profiles: settings that name the profiles.
    """

    name: str
    folder: Path
    where: Place
    urls: dict[str, str]
    before: Sequence[str]
    profiles: Sequence[str]
    older_profiles: Sequence[str]


def measure_model(name: str, options: argparse.Namespace, where: Place, stack: ExitStack) -> Iterator[dict[str, Any]]:
    """All figures of one model: a line for each link and clock."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    before = [str(options.other.resolve() / ".venv/bin/midcut")] if options.other else MIDCUT
    profiles = profile(MIDCUT, name, folder / "now", "executor=onnxruntime")
    in_torch = () if options.other else ("executor=native",)  # an older midcut may know no other
    older_profiles = profile(before, name, folder / "older", *in_torch)
    served = (f"model={name}", f"server.host={where.cloud_host}", "server.port=0", *PLAIN)
    bare = (str(Path(__file__).parent / "bare_pictures.py"), "--host", where.cloud_host, name)
    commands = {
        "cloud": [*MIDCUT, "cloud", *served, "executor=onnxruntime"],
        BARE: [sys.executable, *bare],
        BEFORE: [*before, "cloud", *served, *in_torch],
    }
    urls = start_all(stack, folder, commands, where.cloud_popen)
    setup = Setup(name, folder, where, urls, before, profiles, older_profiles)
    for kbps in options.links_kbps:
        yield from measure_link(setup, kbps, options)


def measure_link(setup: Setup, kbps: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The figures of one model on one link: a line for each clock."""
    where = setup.where
    with ExitStack() as stack:
        commands, clocks = {}, {}
        for label, clock in itertools.product((*CODECS, BEFORE), options.clocks):
            own = f"{label} {clock:g}"
            (folder := setup.folder / own.replace(" ", "-")).mkdir(exist_ok=True)
            older = label == BEFORE
            cloud = where.link(stack, setup.urls[BEFORE if older else "cloud"], kbps)
            command = edge(setup.before if older else MIDCUT, setup, cloud, kbps, clock)
            profiles = setup.older_profiles if older else setup.profiles
            runs = where.clock(folder, clock, None if older else "onnxruntime")
            commands[own], clocks[own] = [*command, *CODECS.get(label, ()), *profiles, *runs], clock
        urls = start_all(stack, setup.folder, commands, where.edge_popen)
        asks = {label: poster(where, url, "/v1/infer", clocks[label]) for label, url in urls.items()}
        asks[BARE] = poster(where, where.link(stack, setup.urls[BARE], kbps), "/infer", 1.0)
        taken = take_turns(asks, options)
    return [{"model": setup.name, "kbps": kbps, "clock": clock} | summary(taken, clock) for clock in options.clocks]


def start_all(stack: ExitStack, folder: Path, commands: dict[str, list[str]], popen: Popen) -> dict[str, str]:
    """Start servers, two at a time, as starting takes longer than answering; returns their addresses."""

    def started(item: tuple[str, list[str]]) -> str:
        label, command = item
        log = folder / f"{label.replace(' ', '-')}.log"
        return stack.enter_context(running(command, log, READY, popen=popen))[1]

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(commands, pool.map(started, commands.items()), strict=True))


def profile(command: Sequence[str], name: str, folder: Path, *overrides: str) -> list[str]:
    """Measure a model as edge and as cloud; returns the settings that name the profiles."""
    folder.mkdir()
    settings = []
    for role in ("edge", "cloud"):
        file = folder / f"{name}-{role}.json"
        short = ("repeats=5", "warmup=2", f"stated_clock_mhz={FULL_MHZ}", f"out={file}", *PLAIN, *overrides)
        done = subprocess.run(
            [*command, "profile", f"model={name}", f"role={role}", *short],
            cwd=folder,
            env=os.environ | ONE_THREAD,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} profile model={name}: {done.stderr[-1000:]}")
        settings.append(f"{role}_profile={file}")
    return settings


def edge(command: Sequence[str], setup: Setup, cloud: str, kbps: int, clock: float) -> list[str]:
    """The command of an edge whose telemetry knows link and clock."""
    telemetry = {"bandwidth_kbps": kbps * setup.where.payload_share, "ping_ms": PING_MS, "clock_mhz": FULL_MHZ * clock}
    known = (f"telemetry.constant.{name}={value}" for name, value in telemetry.items())
    served = (f"model={setup.name}", f"cloud_url={cloud}", "input.port=0", "planner.w=0", "telemetry=constant")
    return [*command, "edge", *served, *known, *PLAIN]


def poster(where: Place, url: str, path: str, clock: float) -> Callable[[bytes], tuple[float, dict[str, Any]]]:
    """Posts a JPEG over one connection to a server at a share of its clock; returns seconds and the answer."""
    connection = where.connect(url)

    def post(jpeg: bytes) -> tuple[float, dict[str, Any]]:
        where.set_clock(clock)
        began = perf_counter()
        connection.request("POST", path, jpeg, {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        body = response.read()
        seconds = perf_counter() - began
        if response.status != 200:
            raise SystemExit(f"{url}: {response.status} {body[:200]!r}")
        return seconds, json.loads(body) if path == "/v1/infer" else {}

    return post


def photographs() -> list[bytes]:
    """Four photographs as a camera's JPEG, of 35 to 72 kB."""
    from skimage import data  # noqa: PLC0415 - an extra

    files = []
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        out = io.BytesIO()
        Image.fromarray(getattr(data, name)()).save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    return files


def take_turns(asks: dict[str, Any], options: argparse.Namespace) -> dict[str, Taken]:
    """Post all photographs to everybody in turn."""
    taken = {label: Taken() for label in asks}
    for turn in range(options.warmup + options.rounds):
        for jpeg in photographs():
            for label, ask in asks.items():
                took_s, answer = ask(jpeg)
                if turn < options.warmup:
                    continue
                taken[label].seconds.append(took_s)
                if answer:
                    placement = f"{answer['cut']} {answer.get('codec', 'raw')} {answer['finished_by']}"
                    taken[label].placements[placement] = taken[label].placements.get(placement, 0) + 1
    return taken


def summary(taken: dict[str, Taken], clock: float) -> dict[str, Any]:
    """Medians, ratios within a turn, and where the answers were computed, at one clock."""
    found: dict[str, Any] = {
        f"{label} ms": round(float(np.median(taken[own].seconds)) * 1e3, 1)
        for label, own in ((BARE, BARE), (BEFORE, f"{BEFORE} {clock:g}"))
    }
    for label in CODECS:
        mine = taken[f"{label} {clock:g}"]
        found[f"{label} ms"] = round(float(np.median(mine.seconds)) * 1e3, 1)
        found[f"{label} picked"] = mine.picked
        for base, seconds in ((BARE, taken[BARE].seconds), (BEFORE, taken[f"{BEFORE} {clock:g}"].seconds)):
            found[f"{label} / {base}"] = f"{quartiles(np.array(mine.seconds) / np.array(seconds)):.2f}"
    found["before picked"] = taken[f"{BEFORE} {clock:g}"].picked
    return found | {"placements": {label: one.placements for label, one in taken.items()}}


def report(lines: Sequence[dict[str, Any]], note: str, took_s: float) -> None:
    """Print all figures as a table."""
    title = f"{note} Ping {PING_MS:g} ms; medians, ratios within a turn (quartiles); {took_s:.0f} s in all"
    columns = ["model", "Mbit/s", "clock", f"{BARE} ms", f"{BEFORE} ms"]
    for label in CODECS:
        columns += [f"{label} picked", f"{label} ms", f"{label} / {BARE}", f"{label} / {BEFORE}"]
    table = text_table(title, columns, left=("model", *(f"{label} picked" for label in CODECS)))
    table.box = None
    for line in lines:
        first = (line["model"], f"{line['kbps'] / 1e3:g}", f"{line['clock']:.0%}")
        table.add_row(*first, *(str(line[column]) for column in columns[3:]))
    Console(width=200).print(table)


if __name__ == "__main__":
    sys.exit(main())
