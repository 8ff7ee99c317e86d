#!/usr/bin/env python3
"""Compare the placement that midcut picks with a bare server that takes the JPEG and runs the whole model.

Photographs are posted as JPEG in turn: to the bare server through the link; to an edge, whose cloud is behind the same
link; and to an edge with the default settings, which sends float32 tensors from PyTorch, or of another checkout
(`--other DIR`, with its own .venv). Cloud and bare server run ONNX Runtime on one thread. The link is EMULATED
(`midcut.proxies.link`), and so is the edge's clock, which stretches the network's runs, not decoding or coding.
The edge with the default settings keeps its full clock. Ratios are within a turn; quartiles over the turns.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from common.figures import quartiles
from common.processes import MIDCUT, READY, running, server
from PIL import Image

from midcut.proxies.link import ShapedLink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PING_MS = 20.0
FULL_MHZ = 1000.0
PLAIN = ("cuts.verify=false", "hydra.run.dir=run")
EXACT = "codec=[file,webp,zstd,raw]"
LOSSY = (
    "codec=[file,webp,zstd,raw,int8-zstd]",
    "accuracy_floor=0.99",
    "codec.int8-zstd.int8.agreement=0.99",
)


def main() -> int:
    options = arguments()
    lines = []
    for name in options.models.split(","):
        for kbps in options.links_kbps:
            for clock in options.clocks:
                with ExitStack() as stack:
                    lines.append(measure(name, kbps, clock, options, stack))
                print(json.dumps(lines[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="alexnet,efficientnet_lite0,mobilenet_v2", help="default: %(default)s")
    parser.add_argument("--links-kbps", type=int, nargs="+", default=[2_000, 10_000, 50_000])
    parser.add_argument("--clocks", type=float, nargs="+", default=[1.0, 0.4], help="shares of the edge's full clock")
    parser.add_argument("--rounds", type=int, default=6, help="turns of all photographs")
    parser.add_argument("--warmup", type=int, default=4, help="turns that are not counted")
    parser.add_argument("--other", type=Path, help="another checkout, in place of this one with float32 tensors")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def measure(name: str, kbps: int, clock: float, options: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    """All figures of one model, link and clock."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    midcut_cloud = ("cloud", folder / "cloud.log", f"model={name}", "server.port=0", *PLAIN)
    cloud = stack.enter_context(server(*midcut_cloud, "executor=onnxruntime", "codec=[webp,zstd,int8]"))
    bare_command = [sys.executable, str(Path(__file__).parent / "bare_pictures.py"), name]
    bare = stack.enter_context(running(bare_command, folder / "bare.log", READY))[1]
    edges = {}
    for label, codecs in {"exact": (EXACT,), "floor 0.99": LOSSY}.items():
        through = link(stack, cloud, kbps)
        edges[label] = edge(stack, folder, MIDCUT, name, through, kbps, (*codecs, *clocked(folder, label, clock)))
    before = [str(options.other.resolve() / ".venv/bin/midcut")] if options.other else MIDCUT
    old_cloud_command = [*before, "cloud", f"model={name}", "server.port=0", *PLAIN]
    old_cloud = stack.enter_context(running(old_cloud_command, folder / "old-cloud.log", READY))[1]
    edges["before"] = edge(stack, folder, before, name, link(stack, old_cloud, kbps), kbps, ())
    asks = {label: poster(url, "/v1/infer") for label, url in edges.items()}
    asks["bare"] = poster(link(stack, bare, kbps), "/infer")
    return summary(asks, options) | {"model": name, "kbps": kbps, "clock": clock}


def link(stack: ExitStack, url: str, kbps: int) -> str:
    """An emulated link to a server; each has its own, as they take turns."""
    state = {"bandwidth_kbps": float(kbps), "ping_ms": PING_MS}
    return stack.enter_context(ShapedLink(url.removeprefix("http://"), lambda: state)).url


def edge(
    stack: ExitStack, folder: Path, command: Sequence[str], name: str, cloud: str, kbps: int, knobs: Sequence[str]
) -> str:
    """The address of an edge, whose telemetry knows the link."""
    telemetry = (
        "telemetry=constant",
        f"telemetry.constant.bandwidth_kbps={kbps}",
        f"telemetry.constant.ping_ms={PING_MS}",
        f"telemetry.constant.clock_mhz={FULL_MHZ}",
    )
    overrides = (f"model={name}", f"cloud_url={cloud}", "input.port=0", "planner.w=0", *telemetry, *PLAIN, *knobs)
    return stack.enter_context(running([*command, "edge", *overrides], folder / "edge.log", READY))[1]


def clocked(folder: Path, label: str, clock: float) -> tuple[str, ...]:
    """The executor of an edge at a share of its full clock."""
    if clock == 1.0:
        return ("executor=onnxruntime",)
    trace = folder / "clock.csv"
    trace.write_text(f"time_s,clock_mhz\n0,{FULL_MHZ * clock}\n1,{FULL_MHZ * clock}\n")
    emulated = (
        f"executor.trace={trace} executor.max_clock_mhz={FULL_MHZ} executor.runtime=onnxruntime executor.loop=true"
    )
    return ("executor=emulated_clock", f"executor.root={folder / label.replace(' ', '')}", *emulated.split())


def poster(url: str, path: str) -> Callable[[bytes], tuple[float, dict[str, Any]]]:
    """Posts a JPEG over one connection; returns seconds and the answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)

    def post(jpeg: bytes) -> tuple[float, dict[str, Any]]:
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


def summary(asks: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Medians, ratios within a turn, and where the answers were computed."""
    seconds: dict[str, list[float]] = {label: [] for label in asks}
    picked: dict[str, dict[str, int]] = {label: {} for label in asks}
    for turn in range(options.warmup + options.rounds):
        for jpeg in photographs():
            for label, ask in asks.items():
                took_s, answer = ask(jpeg)
                if turn < options.warmup:
                    continue
                seconds[label].append(took_s)
                if answer:
                    placement = f"{answer['cut']} {answer.get('codec', 'raw')} {answer['finished_by']}"
                    picked[label][placement] = picked[label].get(placement, 0) + 1
    found: dict[str, Any] = {"ms": {label: round(float(np.median(taken)) * 1e3, 1) for label, taken in seconds.items()}}
    for label in ("exact", "floor 0.99"):
        for base in ("bare", "before"):
            ratios = np.array(seconds[label]) / np.array(seconds[base])
            found[f"{label} / {base}"] = f"{quartiles(ratios):.2f}"
    return found | {"picked": picked}


if __name__ == "__main__":
    sys.exit(main())
