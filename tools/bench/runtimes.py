#!/usr/bin/env python3
"""Heads and tails in a foreign runtime: their time and their error, beside the whole model there and in PyTorch.

All times of a model are medians of rounds in which the variants take turns, in one process; processor time. Weights
are as loaded, but batch normalisation gets statistics from noise, and a last layer of zeros gets noise, so that
outputs depend on inputs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import torch
from common.engines import load
from common.figures import text_table
from common.meaning import give_meaning
from common.options import at_least
from common.photographs import crops
from rich.console import Console

from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.errors import ExecutorError
from midcut.graph import partition
from midcut.tensors import largest_error
from midcut_executors.choosing import by_name
from midcut_executors.config import Accuracy
from midcut_executors.native import Native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.graph import Partition
    from midcut.protocols import Executor, Segment

BATCHES = (1, 2, 8)
CALIBRATION = 40
LEVELS = {
    "onnxruntime": (Accuracy.bits, Accuracy.float32, Accuracy.fast),
    "openvino": (Accuracy.bits, Accuracy.float32, Accuracy.fast),
}


def runs_in_turn(segments: Sequence[Sequence[Segment]], inputs: Sequence[Any], rounds: int) -> list[float]:
    """Median seconds of processor time of each chain of segments: of one thread, and not of what else runs here."""
    seconds: list[list[float]] = [[] for _ in segments]
    for _ in range(rounds):
        for column, chain in zip(seconds, segments, strict=True):
            values, started = inputs, time.process_time()
            for segment in chain:
                values, _ = segment.run(values)
            column.append(time.process_time() - started)
    return [statistics.median(column) for column in seconds]


def errors(parts: Partition, chain: Sequence[Segment], whole: Segment) -> tuple[bool, float]:
    """Whether a chain has the bits of the whole in the same runtime, and its largest error against PyTorch."""
    exact, worst = True, 0.0
    for batch in BATCHES:
        generator = torch.Generator().manual_seed(batch)
        specs = parts.table.cuts[0].values
        inputs = [torch.randn((batch, *spec.shape[1:]), generator=generator) for spec in specs]
        values: Sequence[Any] = inputs
        for segment in chain:
            values, _ = segment.run(values)
        exact = exact and largest_error(values, whole.run(inputs)[0]) == 0.0
        worst = max(worst, largest_error(values, parts.run(0, parts.table.last, inputs)))
    return exact, worst


def resident_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(name: str, executor: Executor, options: argparse.Namespace) -> tuple[str, ...]:
    model = load(compose("edge", [f"model={name}"]))
    give_meaning(model, passes=3)
    parts = partition(model, CutSettings())
    last, inputs = parts.table.last, model.example
    whole = executor.prepare(parts, 0, last)
    eager = Native().prepare(parts, 0, last)
    step = max(1, len(parts.legal) // options.cuts)
    ratios, equal, worst, ready_s, refused = [], 0, 0.0, [], []
    for cut in parts.legal[1:-1:step]:
        try:
            chain = []
            for ends in ((0, cut), (cut, last)):
                started = time.perf_counter()
                chain.append(executor.prepare(parts, *ends))
                ready_s.append(time.perf_counter() - started)
        except ExecutorError as error:
            refused.append(str(error))
            continue
        exact, error_here = errors(parts, chain, whole)
        equal, worst = equal + exact, max(worst, error_here)
        cut_s, whole_s = runs_in_turn((chain, (whole,)), inputs, options.rounds)
        ratios.append(cut_s / whole_s)
    whole_s, eager_s = runs_in_turn(((whole,), (eager,)), inputs, options.rounds * 3)
    for reason in sorted(set(refused)):
        print(f"{name}: {refused.count(reason)} cuts refused: {reason}", file=sys.stderr)
    return (
        name,
        f"{whole_s / eager_s:.2f}",
        f"{statistics.median(ratios):.2f} ({max(ratios):.2f})",
        f"{equal}/{len(ratios)}",
        f"{worst:.0e}",
        f"{len(refused)}",
        f"{statistics.median(ready_s):.2f} ({max(ready_s):.2f})",
        f"{resident_mb():.0f}",
    )


def print_agreement(count: int) -> None:
    """Compare the first class of the trained network in each runtime and level with PyTorch's.

    Crops that come before those give the ranges of 8-bit integers.
    """
    model = load(compose("edge", ["model=efficientnet_lite0"]))
    parts = partition(model, CutSettings())
    last = parts.table.last
    pictures = list(crops(CALIBRATION + count))
    inputs = [[model.preprocess(crop)] for crop in pictures[CALIBRATION:]]
    expected = [int(parts.run(0, last, given)[0].argmax()) for given in inputs]
    table = text_table(f"EfficientNet-Lite0, {count} crops", ("runtime", "same class", "largest error"), ("runtime",))
    with tempfile.TemporaryDirectory() as folder:
        for number, crop in enumerate(pictures[:CALIBRATION]):
            crop.save(f"{folder}/{number}.png")
        levels = [(runtime, level) for runtime, found in LEVELS.items() for level in found]
        for runtime, level in levels:
            calibration = folder if (runtime, level) == ("onnxruntime", Accuracy.fast) else None
            with contextlib.closing(by_name(runtime, level, calibration)) as executor:
                segment = executor.prepare(parts, 0, last)
                outputs = [segment.run(given)[0] for given in inputs]
                same = sum(int(output[0].argmax()) == label for output, label in zip(outputs, expected, strict=True))
                worst = max(
                    largest_error(output, parts.run(0, last, given))
                    for output, given in zip(outputs, inputs, strict=True)
                )
                table.add_row(executor.identity, f"{same} of {count}", f"{worst:.0e}")
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default="alexnet,resnet18,mobilenet_v2,efficientnet_b0", help="names, with commas")
    parser.add_argument("--runtime", default="onnxruntime", help="onnxruntime or openvino")
    parser.add_argument("--cuts", type=at_least(1), default=12, help="about how many cuts of each model")
    parser.add_argument("--rounds", type=at_least(1), default=7, help="runs of each variant")
    parser.add_argument("--accuracy", default="float32", help="bits, float32, or fast (openvino here)")
    parser.add_argument(
        "--agreement",
        type=at_least(0),
        default=0,
        metavar="CROPS",
        help="instead, how often each level names PyTorch's class, on crops of photographs (EfficientNet-Lite0)",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.agreement:
        print_agreement(options.agreement)
        return 0
    heads = ("model", "whole / PyTorch", "head + tail / whole, median (max)", "bits as whole", "largest error")
    table = text_table(
        f"{options.runtime}, {options.accuracy}, 1 thread, batch 1",
        (*heads, "refused", "ready after s (max)", "RSS MB"),
        ("model",),
    )
    for name in options.models.split(","):
        table.add_row(*measure(name, by_name(options.runtime, Accuracy(options.accuracy)), options))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
