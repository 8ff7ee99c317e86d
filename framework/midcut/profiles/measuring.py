"""Measures a captured model on this machine, node by node and as a whole."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from midcut.profiles import Machine, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midcut.graph import Partition
    from midcut.types import Floats


def measure(
    partition: Partition,
    inputs: Sequence[torch.Tensor],
    clock_mhz: Callable[[], float | None],
    *,
    repeats: int,
    warmup: int,
    advance: Callable[[], None],
) -> Run:
    """Time every node within a whole pass, and a whole pass without pauses, in turns.

    Args:
        partition: the captured model.
        inputs: what the model takes.
        clock_mhz: tells the clock, None where unknown; asked after each turn that counts. The median is recorded.
        repeats: passes of each kind that count.
        warmup: passes of each kind before.
        advance: called after each turn.
    """
    node_s = np.empty((repeats, partition.node_count))
    whole_s = np.empty(repeats)
    clocks = []
    with torch.no_grad():
        for turn in range(-warmup, repeats):
            nodes, whole = _nodes(partition, inputs), _whole(partition, inputs)
            if turn >= 0:
                node_s[turn], whole_s[turn] = nodes, whole
                clocks.append(clock_mhz())
            advance()
    told = [clock for clock in clocks if clock is not None]
    return Run(
        clock_mhz=float(np.median(told)) if told else None,
        node_s=tuple(np.median(node_s, axis=0).tolist()),
        node_spread_s=tuple(spread(node_s).tolist()),
        whole_s=float(np.median(whole_s)),
        whole_spread_s=float(spread(whole_s)),
        repeats=repeats,
    )


def spread(values: Floats) -> Floats:
    """Inter-quartile range over the first axis."""
    low, high = np.percentile(values, (25, 75), axis=0)
    difference: Floats = high - low
    return difference


def _nodes(partition: Partition, inputs: Sequence[torch.Tensor]) -> Floats:
    walk = partition.walk(inputs)
    marks = [perf_counter()]
    marks.extend(perf_counter() for _ in walk)
    return np.diff(marks)


def _whole(partition: Partition, inputs: Sequence[torch.Tensor]) -> float:
    start = perf_counter()
    partition.head(partition.table.last, inputs)
    return perf_counter() - start


def this_machine() -> Machine:
    """What the system says of itself; no host name."""
    processor = _processor()
    return Machine(
        name=_first_line(Path("/sys/firmware/devicetree/base/model")) or processor,
        processor=processor,
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip("\x00\n ")
    except OSError:
        return ""


def versions() -> dict[str, str]:
    """Package -> version, of what the seconds depend on."""
    found = {"python": platform.python_version()}
    for name in ("midcut", "torch", "torchvision", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
