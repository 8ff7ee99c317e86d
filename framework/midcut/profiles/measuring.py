"""Measures a captured model on this machine, node by node and as a whole."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from midcut.profiles import Machine, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from midcut.graph import Partition
    from midcut.types import Floats, Tensor

_QUICK_S: Final = 2.0


def measure(
    partition: Partition,
    inputs: Sequence[Tensor],
    clock_mhz: Callable[[], float | None],
    *,
    repeats: int,
    warmup: int,
    advance: Callable[[], None],
) -> Run:
    """Measure the seconds of every node and of a whole forward pass, alternating between both.

    Args:
        partition: the captured model.
        inputs: of the model.
        clock_mhz: returns the current clock, or None where it is unknown. Called after each counted pass; the
            median is recorded.
        repeats: counted passes of each kind.
        warmup: passes of each kind before them, which are not counted.
        advance: called after each pair of passes, for progress.
    """
    return finish(measuring(partition, inputs, clock_mhz, repeats=repeats, warmup=warmup), advance)


def finish(passes: Generator[None, None, Run], advance: Callable[[], None]) -> Run:
    """Measure to the end; `advance` is called after each pass."""
    while True:
        try:
            next(passes)
        except StopIteration as done:
            return cast("Run", done.value)
        advance()


def measuring(
    partition: Partition,
    inputs: Sequence[Tensor],
    clock_mhz: Callable[[], float | None],
    *,
    repeats: int,
    warmup: int,
) -> Generator[None, None, Run]:
    """Measure as `measure` does, and yield after each pair of passes, so that other work can be done in between."""
    import torch  # noqa: PLC0415 - an exported model is not measured node by node

    node_s = np.empty((repeats, partition.node_count))
    whole_s = np.empty(repeats)
    clocks = []
    for index in range(-warmup, repeats):
        with torch.no_grad():
            nodes, whole = _time_nodes(partition, inputs), _time_whole(partition, inputs)
        if index >= 0:
            node_s[index], whole_s[index] = nodes, whole
            clocks.append(clock_mhz())
        yield
    known_clocks = [clock for clock in clocks if clock is not None]
    return Run(
        clock_mhz=float(np.median(known_clocks)) if known_clocks else None,
        node_s=tuple(np.median(node_s, axis=0).tolist()),
        node_spread_s=tuple(spread(node_s).tolist()),
        whole_s=float(np.median(whole_s)),
        whole_spread_s=float(spread(whole_s)),
        repeats=repeats,
    )


def quick_repeats(partition: Partition, inputs: Sequence[Tensor]) -> int:
    """How many pairs of passes fit into about two seconds; from 3 to 20. Runs the network twice to find out."""
    partition.head(partition.table.last, inputs)
    return int(min(max(_QUICK_S / (2.0 * _time_whole(partition, inputs)), 3), 20))


def spread(values: Floats) -> Floats:
    """Inter-quartile range over the first axis."""
    low, high = np.percentile(values, (25, 75), axis=0)
    difference: Floats = high - low
    return difference


def _time_nodes(partition: Partition, inputs: Sequence[Tensor]) -> Floats:
    walk = partition.walk(inputs)
    times = [perf_counter()]
    times.extend(perf_counter() for _ in walk)
    return np.diff(times)


def _time_whole(partition: Partition, inputs: Sequence[Tensor]) -> float:
    start = perf_counter()
    partition.head(partition.table.last, inputs)
    return perf_counter() - start


def this_machine() -> Machine:
    """Describe this machine, without its host name."""
    processor = _processor_name()
    return Machine(
        name=_read_text(Path("/sys/firmware/devicetree/base/model")) or processor,
        processor=processor,
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
    )


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip("\x00\n ")
    except OSError:
        return ""


def versions() -> dict[str, str]:
    """Package -> version, for the packages that affect the measured seconds."""
    installed = {"python": platform.python_version()}
    for name in ("midcut", "torch", "torchvision", "numpy"):
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed
