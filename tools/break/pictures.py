#!/usr/bin/env python3
"""Send hostile pictures to a cloud's door for pictures, many at once, and measure its memory.

They come as BYTES of the Open Inference Protocol, and as what the codecs webp, png and jpeg make of a tensor: bombs
(few bytes that promise many pixels), truncated ones, what is none, and those of `hostile_pictures.py`. The cloud is a
process of its own. A refusal must be a 4xx, or a 503 where others are decoded, with a reason in one line; a legal
one is answered. Exits with 1 at any other answer, a dead cloud, or more memory than `--budget-mb` beyond what it had
before.
"""

from __future__ import annotations

import argparse
import http.client
import json
import struct
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from common.figures import text_table
from common.processes import MIDCUT, READY, start_ready, stop
from hostile_pictures import hostile_pictures, png, saved
from PIL import Image
from rich.console import Console

from midcut.types import Encoded
from midcut.wire import oip

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 224
SHAPE = (1, 3, SIDE, SIDE)


class Kind(NamedTuple):
    """One kind of request: what is sent, with which codec (None: as BYTES), and the statuses that are right."""

    data: bytes
    right: tuple[int, ...]
    codec: str | None = None


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        overrides = (f"model={options.model}", "server.port=0", "cuts.verify=false", "codec=[webp,png,jpeg]")
        command = [*MIDCUT, "cloud", *overrides, "cloud.queue=256", "hydra.job_logging.loggers.midcut.level=ERROR"]
        process, match = start_ready(command, Path(folder) / "cloud.log", READY)
        try:
            return attack(urlsplit(match[1]).netloc, process.pid, options)
        finally:
            stop(process)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobilenet_v2", help="takes RGB of 224 x 224 pixels (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=16, help="requests of one kind at once (default: %(default)s)")
    # The budget of pixels allows one picture of 50 megapixels at a time; WebP's decoder takes four times its 200 MB.
    parser.add_argument("--budget-mb", type=float, default=1000.0, help="memory that may be added (%(default)s)")
    return parser.parse_args()


def attack(address: str, pid: int, options: argparse.Namespace) -> int:
    """Send all kinds, print a table, and return the exit status."""
    table = text_table(
        f"{options.at_once} at once of each kind, cloud of {options.model}",
        ("kind", "kB", "answers", "s", "peak MB beyond the start", "reason"),
        left=("kind", "answers", "reason"),
    )
    failed = []
    post(address, request_of(kinds()["a legal photograph"], options.model))  # warms up
    start_mb = memory_mb(pid)
    for name, kind in kinds().items():
        body = request_of(kind, options.model)
        began = time.perf_counter()
        with Watching(pid) as peak, ThreadPoolExecutor(options.at_once) as pool:
            answers = list(pool.map(lambda _, body=body: post(address, body), range(options.at_once)))
        statuses = sorted({status for status, _ in answers})
        beyond_mb = peak() - start_mb
        wrong = [status for status in statuses if status not in kind.right]
        if wrong or beyond_mb > options.budget_mb or any("\n" in reason for _, reason in answers):
            failed.append(name)
        counts = ", ".join(f"{sum(status == s for s, _ in answers)} x {status}" for status in statuses)
        seconds = f"{time.perf_counter() - began:.1f}"
        reason = next((reason for status, reason in answers if status != 200), "")
        table.add_row(name, f"{len(kind.data) / 1e3:.1f}", counts, seconds, f"{beyond_mb:.0f}", reason[:90])
    alive = post(address, request_of(kinds()["a legal photograph"], options.model))[0] == 200
    console = Console(width=200)
    console.print(table)
    console.print(f"start {start_mb:.0f} MB, end {memory_mb(pid):.0f} MB; answers afterwards: {alive}", highlight=False)
    if failed or not alive:
        console.print(f"FAILED: {', '.join(failed) or 'the cloud no longer answers'}")
    return int(bool(failed) or not alive)


def kinds() -> dict[str, Kind]:
    """All kinds of requests by name."""
    ramp = np.add.outer(np.arange(480), np.arange(640)).astype(np.uint8)
    photo = Image.fromarray(np.stack([ramp, ramp.T.reshape(480, 640), ramp[::-1]], -1))
    jpeg = saved("JPEG", photo)
    refused, busy = (400, 413, 415), (200, 503)
    found = {
        "a legal photograph": Kind(jpeg, (200,)),
        "50 megapixels, PNG": Kind(saved("PNG", Image.new("RGB", (7000, 7000), "red")), busy),
        "50 megapixels with alpha, PNG": Kind(saved("PNG", Image.new("RGBA", (7000, 7000), (9, 9, 9, 99))), busy),
        "40 megapixels of 16 bits, PNG": Kind(saved("PNG", Image.new("I;16", (6300, 6300), 999)), busy),
        "49 megapixels, WebP": Kind(saved("WEBP", Image.new("RGB", (7000, 7000), "red")), busy),
        "49 megapixels, progressive JPEG": Kind(saved("JPEG", Image.new("RGB", (7000, 7000)), progressive=True), busy),
        "81 megapixels, PNG": Kind(saved("PNG", Image.new("1", (9000, 9000))), refused),
        "2.5 gigapixels, PNG": Kind(png(50_000, 50_000, rows=0), refused),
        "4 gigapixels, GIF": Kind(b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\0\0" + bytes(6), refused),
        "half a JPEG": Kind(jpeg[: len(jpeg) // 2], refused),
        "half a WebP": Kind(saved("WEBP", photo)[:2000], refused),
        "a PNG without pixels": Kind(png(500, 500, rows=0), refused),
        "nothing": Kind(b"", refused),
        "no picture": Kind(bytes(range(256)) * 8, refused),
    }
    found |= {f"hostile: {name}": Kind(file, (*busy, 400)) for name, file in hostile_pictures().items()}
    for codec, file_format in (("webp", "WEBP"), ("png", "PNG"), ("jpeg", "JPEG")):
        bomb = saved(file_format, Image.new("RGB", (9000, 9000) if file_format != "WEBP" else (8000, 8000)))
        found[f"a bomb as codec {codec}"] = Kind(coded(bomb), refused, codec)
        found[f"half a file as codec {codec}"] = Kind(
            coded(saved(file_format, photo.resize((SIDE, SIDE)))[:900]), refused, codec
        )
    return found


def coded(file: bytes) -> bytes:
    """A file as the codecs of pictures frame it: its length, the kinds of the channels, their values, and the file."""
    values = np.arange(2, dtype="<f4").tobytes()
    return struct.pack("<I", len(file)) + bytes([1, 1, 1]) + values * 3 + file


def request_of(kind: Kind, model: str) -> tuple[str, bytes, int]:
    """Path, body and length of its JSON header."""
    name = "0"
    if kind.codec is None:
        header, pieces = oip.file_header(name, memoryview(kind.data))
    else:
        header, pieces = oip.encoded_header(name, "float32", SHAPE, Encoded((kind.data,)))
    parameters = oip.encode_header(oip.infer_header([header], "r", None, codec=kind.codec or oip.RAW))
    return oip.infer_path(model), parameters + b"".join(pieces), len(parameters)


def post(address: str, request: tuple[str, bytes, int]) -> tuple[int, str]:
    """The status of an answer, and its reason."""
    path, body, length = request
    connection = http.client.HTTPConnection(address, timeout=300)
    try:
        connection.request("POST", path, body, {oip.HEADER_LENGTH: str(length), "Content-Type": oip.BINARY_TYPE})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    return response.status, "" if response.status == 200 else str(json.loads(answer).get("error", answer))


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1e3


class Watching:
    """Watches a process's resident memory as long as the block; yields a function that returns the peak in MB."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak_mb, self._over = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Callable[[], float]:
        self._thread.start()
        return lambda: self._peak_mb

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self._peak_mb = max(self._peak_mb, memory_mb(self._pid))


if __name__ == "__main__":
    sys.exit(main())
