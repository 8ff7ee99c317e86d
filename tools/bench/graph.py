#!/usr/bin/env python3
"""Time the captured graph against the module's own call, for both tracers, in one run.

Prints, per model: seconds to load (capture, verification, hashing), median and quartiles of the ratio
graph/module over interleaved pairs of runs, the microseconds that a change of cut takes (a first run
at that cut, of no nodes), and how many cuts are offered, refused, and carry integers.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from common.figures import quartiles
from common.options import at_least

from midcut.config.settings import Capture, CutSettings
from midcut.graph import Partition, partition
from midcut_models.classification import Torchvision
from midcut_models.names import TORCHVISION


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["alexnet", "resnet18", "mobilenet_v2"], metavar="MODEL")
    parser.add_argument(
        "--pairs", type=at_least(1), default=60, help="interleaved pairs of runs (default: %(default)s)"
    )
    parser.add_argument("--threads", type=at_least(1), default=1, help="torch threads (default: %(default)s)")
    arguments = parser.parse_args()
    if not set(arguments.models) <= set(TORCHVISION):
        parser.error("not a torchvision classifier")
    torch.set_num_threads(arguments.threads)
    for name in arguments.models:
        model = Torchvision(name=name).load()
        for capture in Capture:
            started = time.perf_counter()
            parts = partition(model, CutSettings(capture=capture))
            load_s = time.perf_counter() - started
            ratios = compare(parts, model.module, model.example[0], arguments.pairs)
            print(
                f"{name:14} {capture.value:6} load {load_s:6.2f} s, graph/module {quartiles(ratios):.3f}, "
                f"switch {switch_us(parts):.1f} us, nodes {parts.node_count}, offered {len(parts.legal)}, "
                f"refused {len(parts.refused)}, with ints {count_with_ints(parts)}, captured by {parts.table.capture}",
                flush=True,
            )


def compare(parts: Partition, module: torch.nn.Module, image: torch.Tensor, pairs: int) -> list[float]:
    last = parts.table.last
    ratios = []
    for turn in range(pairs + 3):
        seconds = {}
        for side in ("graph", "module") if turn % 2 else ("module", "graph"):
            started = time.perf_counter()
            if side == "graph":
                parts.run(0, last, (image,))
            else:
                with torch.no_grad():
                    module(image)
            seconds[side] = time.perf_counter() - started
        if turn >= 3:  # the first pairs warm up
            ratios.append(seconds["graph"] / seconds["module"])
    return ratios


def switch_us(parts: Partition) -> float:
    """Median microseconds to enter another cut for the first time."""
    seconds = []
    for cut in parts.legal:
        values = tuple(torch.empty(0) for _ in parts.table.cuts[cut].values)
        started = time.perf_counter()
        parts.run(cut, cut, values)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1e6


def count_with_ints(parts: Partition) -> int:
    return sum(any(not value.is_tensor for value in parts.table.cuts[cut].values) for cut in parts.legal)


if __name__ == "__main__":
    main()
