#!/usr/bin/env python3
"""Frames of a camera answered a second, and dropped, with 1 and with 4 of them in work over an EMULATED slow link.

The camera is a video played at its own speed (`input.realtime=true`), or a stream that runs already (`--url rtsp://...`).
The cloud is a process behind an emulated link; the edge is `midcut edge input=video` at one cut, whose labels go to an
MQTT broker where `--mqtt-port` names one. Streams with both concurrencies are measured in turn.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import numpy as np
from common.figures import quartiles
from common.linked import add_cut, add_link, add_model, cloud_behind_link, cut_settings
from common.options import at_least
from common.processes import MIDCUT, running
from rich.console import Console

CONCURRENCIES = (1, 4)


def make_video(path: Path, frames: int, rate_hz: int) -> None:
    """Write a video of noise that changes with each frame, 320 x 240."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=rate_hz)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
        for _ in range(frames):
            picture = np.repeat(np.repeat(noise.integers(0, 256, (24, 32, 3), np.uint8), 10, 0), 10, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a stream that runs already; none plays a video made here")
    add_model(parser)
    add_cut(parser)
    parser.add_argument(
        "--frames", type=at_least(1), default=100, help="of the video, or to answer (default: %(default)s)"
    )
    parser.add_argument("--rate-hz", type=at_least(1), default=20, help="of the video (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=at_least(1), default=3, help="streams of each kind in turn (default: %(default)s)"
    )
    add_link(parser)
    parser.add_argument("--mqtt-port", type=int, help="of a broker on this machine, for the labels")
    options = parser.parse_args()
    console = Console(width=120, highlight=False)
    summaries: dict[int, list[dict[str, Any]]] = {concurrency: [] for concurrency in CONCURRENCIES}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(cloud_behind_link(options, folder / "cloud.log"))
        if options.url is None:
            make_video(folder / "camera.mkv", options.frames, options.rate_hz)
        edge = (
            *(*MIDCUT, "edge", f"model={options.model}", "executor=native", "telemetry=constant", "input=video"),
            *(f"input.url={options.url or folder / 'camera.mkv'}", "input.realtime=true", f"hydra.run.dir={folder}"),
            *(*cut_settings(options), f"cloud_url={url}"),
            *(() if options.url is None else (f"input.limit={options.frames}",)),
            *(() if options.mqtt_port is None else ("output=mqtt", f"output.mqtt.port={options.mqtt_port}")),
        )
        for _ in range(options.rounds):
            for concurrency, done in summaries.items():
                command = (*edge, f"input.concurrency={concurrency}")
                with running(command, folder / "edge.log", r"(summary\.json)"):
                    pass
                done.append(json.loads((folder / "summary.json").read_text()))
    rates = {of: [each["requests"] / each["wall_s"] for each in done] for of, done in summaries.items()}
    for concurrency, done in summaries.items():
        shares = [each["dropped"] / (each["requests"] + each["dropped"]) for each in done]
        finished = sum(each["finished_by"].get("cloud", 0) for each in done) / sum(each["requests"] for each in done)
        console.print(
            f"input.concurrency={concurrency}: {quartiles(rates[concurrency]):.2f} frames/s answered, "
            f"{np.median(shares):.0%} of the frames dropped, {finished:.0%} finished by the cloud"
        )
    ratios = [four / one for one, four in zip(*rates.values(), strict=True)]
    console.print(f"{CONCURRENCIES[1]} in work answer {quartiles(ratios):.2f} times as many as {CONCURRENCIES[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
