#!/usr/bin/env python3
"""Kill the cloud (SIGKILL) during a stream of images, start it again, and check every answer.

Cloud and edge are processes of their own; this one posts images to the edge and compares every output
with the unsplit model's, bit for bit. Exits with 1 if an answer is missing or wrong.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from common.engines import load
from common.figures import quartiles
from common.options import at_least, over_zero
from common.processes import MIDCUT, free_port, server, start_ready
from PIL import Image
from rich.console import Console
from rich.table import Table

from midcut import wire
from midcut.config.composition import compose
from midcut.serving.images import model_input

if TYPE_CHECKING:
    import subprocess

    from midcut.types import LoadedModel

KILL_AT, START_AT = 0.2, 0.4  # shares of the stream
EDGE = ("executor=native", "input.port=0")  # answers are compared bit by bit


@dataclass
class Outage:
    """Answers of the stream, and when the cloud was gone; times in seconds since its start.

    Attributes:
        latencies: seconds of each answer, by whether the cloud finished it.
        by_cloud_s: when answers came that the cloud finished.
    """

    answers: int = 0
    wrong: int = 0
    killed_s: float = 0.0
    ready_s: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=lambda: {"with the cloud": [], "without": []})
    finished_by: Counter[str] = field(default_factory=Counter)
    by_cloud_s: list[float] = field(default_factory=list)

    @property
    def recovered_s(self) -> float:
        """When the first answer after the outage came from the cloud."""
        return next((at for at in self.by_cloud_s if at >= self.ready_s > 0.0), float("nan"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="alexnet", help="a model component")
    parser.add_argument("--cut", type=int, default=3, help="the cut every request begins with")
    parser.add_argument("--requests", type=at_least(1), default=500)
    parser.add_argument("--rate", type=over_zero, default=10.0, help="images per second")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cloud_port = free_port()
    url = f"http://127.0.0.1:{cloud_port}"
    cloud_command = [*MIDCUT, "cloud", f"model={options.model}", f"server.port={cloud_port}"]
    model = load(compose("edge", [f"model={options.model}"]))
    # No telemetry: the edge stays at the one legal cut, which needs the cloud.
    cuts = (f"cuts.first_cut={options.cut}", f"cuts.last_cut={options.cut}", "telemetry=[]")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        cloud, _ = start_ready(cloud_command, log)
        try:
            with server("edge", log, f"model={options.model}", f"cloud_url={url}", *EDGE, *cuts) as edge:
                port = int(edge.rsplit(":", 1)[1])
                outage, cloud = stream(options, model, port, cloud, lambda: start_ready(cloud_command, log)[0])
        finally:
            cloud.kill()
    report(options, outage)
    return 0 if outage.answers == options.requests and not outage.wrong else 1


def stream(
    options: argparse.Namespace, model: LoadedModel, port: int, cloud: subprocess.Popen[str], restart: Any
) -> tuple[Outage, subprocess.Popen[str]]:
    """Post the images at their times; kill and restart on the way."""
    outage, restarted = Outage(), []
    began = time.perf_counter()

    def restart_cloud() -> None:
        restarted.append(restart())
        outage.ready_s = time.perf_counter() - began

    starter = threading.Thread(target=restart_cloud)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(options.requests):
        time.sleep(max(began + number / options.rate - time.perf_counter(), 0.0))
        if number == int(options.requests * KILL_AT):
            cloud.kill()
            cloud.wait()
            outage.killed_s = time.perf_counter() - began
        if number == int(options.requests * START_AT):
            starter.start()
        data = random_png(number)
        with torch.inference_mode():
            expected = model.module(model_input(model, data))
        sent = time.perf_counter()
        connection.request("POST", f"{wire.INFER_PATH}?values=1", body=data, headers={"Content-Type": "image/png"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        record(outage, answer, response.status, expected, time.perf_counter() - began, time.perf_counter() - sent)
    starter.join()
    return outage, restarted[0]


def record(outage: Outage, answer: Any, status: int, expected: torch.Tensor, at_s: float, latency_s: float) -> None:
    outage.answers += status == http.client.OK
    body = msgspec.json.encode({"values": answer.get("values", [])})
    values = wire.decode_values(wire.read_values(body).values)
    outage.wrong += not (len(values) == 1 and isinstance(values[0], torch.Tensor) and torch.equal(values[0], expected))
    outage.finished_by[answer.get("finished_by", "nobody")] += 1
    by_cloud = answer.get("finished_by") == "cloud"
    outage.latencies["with the cloud" if by_cloud else "without"].append(latency_s)
    if by_cloud:
        outage.by_cloud_s.append(at_s)


def random_png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def report(options: argparse.Namespace, outage: Outage) -> None:
    table = Table(title=f"{options.model} at cut {options.cut}: the cloud killed and started again", show_header=False)
    table.add_row("requests", str(options.requests))
    table.add_row("answers", str(outage.answers))
    table.add_row("wrong (not bit-identical to the unsplit model)", str(outage.wrong))
    table.add_row("finished by", ", ".join(f"{who} {count}" for who, count in outage.finished_by.items()))
    table.add_row("no cloud process", f"{outage.ready_s - outage.killed_s:.1f} s")
    table.add_row("until an answer came from the cloud again", f"{outage.recovered_s - outage.killed_s:.1f} s")
    for name, values in outage.latencies.items():
        if values:
            milliseconds = np.array(values) * 1e3
            text = f"{quartiles(milliseconds):.1f} ms, at most {milliseconds.max():.1f}"
            table.add_row(f"answer time {name}, median (quartiles)", text)
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
