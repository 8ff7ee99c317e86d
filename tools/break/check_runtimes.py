#!/usr/bin/env python3
"""Run torchvision's classifiers in foreign runtimes, whole and cut, and compare them with PyTorch; a line for each.

Each model runs in a process of its own, so that a runtime that crashes or hangs is a line too. Weights are random, but
batch normalisation has statistics of noise and no head is zero. `equal` are cuts where head plus tail have the bits of
the whole model in the same runtime, `error` is the largest difference from PyTorch, as a share of the largest element.
Exits with 1 if a model crashes, or differs from PyTorch by more than the tolerance; a refusal is no failure, because
PyTorch then runs the model.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import torch
from common.meaning import give_meaning

from midcut.config.settings import CutSettings
from midcut.errors import ExecutorError
from midcut.graph import partition
from midcut.graph.segments import Segments
from midcut.tensors import largest_error
from midcut_executors.choosing import by_name
from midcut_executors.comparing import TOLERANCE
from midcut_executors.native import Native
from midcut_models.classification import Torchvision
from midcut_models.names import TORCHVISION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.graph import Partition
    from midcut.protocols import Executor, Segment
    from midcut.types import CutTable

    Row = dict[str, Any]
    ByBatch = dict[int, Sequence[Any]]

RUNTIMES = ("onnxruntime", "openvino")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names (default: all 80)")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="names, with commas (default: %(default)s)")
    parser.add_argument("--cuts", type=int, default=4, help="legal cuts per model (default: %(default)s; 0: all)")
    parser.add_argument("--mixed", type=int, default=0, help="cuts with head and tail in two runtimes (default: 0)")
    parser.add_argument("--batches", default="1,2", help="batch sizes, with commas (default: %(default)s)")
    parser.add_argument("--limit-s", type=float, default=600.0, help="seconds per model (default: %(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append each model's rows here, a JSON line each")
    options = parser.parse_args()
    unknown = sorted(set(options.models) - set(TORCHVISION))
    if unknown:
        parser.error(f"not a torchvision classifier: {', '.join(unknown)}")
    names = options.models or list(TORCHVISION)
    rows: list[Row] = []
    for number, name in enumerate(names, 1):
        for row in in_own_process(name, options):
            rows.append(row)
            print(f"{number:2}/{len(names)} {row_text(row)}", flush=True)
            if options.json:
                with options.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    print(summary(rows))
    return 1 if any(row["fault"] for row in rows) else 0


def in_own_process(name: str, options: argparse.Namespace) -> list[Row]:
    """The rows of a model: one for each runtime, and one for mixed runtimes."""
    context = multiprocessing.get_context("spawn")
    found: multiprocessing.Queue[Row] = context.Queue()
    with tempfile.TemporaryDirectory(prefix="midcut-runtimes-") as cache:
        process = context.Process(target=check, args=(name, options, cache, found), daemon=True)
        process.start()
        rows: list[Row] = []
        ends_at = time.monotonic() + options.limit_s
        while not rows or rows[-1]["runtime"] != "end":
            try:
                rows.append(found.get(timeout=1.0))
            except queue.Empty:
                late = time.monotonic() > ends_at
                if late or not process.is_alive():
                    fault = f"not done after {options.limit_s:g} s" if late else f"exit code {process.exitcode}"
                    process.kill()
                    process.join()
                    return [*rows, new_row(name, "process", fault=fault)]
        process.join()
    return rows[:-1]


def check(name: str, options: argparse.Namespace, cache: str, found: multiprocessing.Queue[Row]) -> None:
    """Check one model in all runtimes, and put a row for each in the queue."""
    os.environ["MIDCUT_CACHE"] = cache
    warnings.simplefilter("ignore")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    torch.set_num_threads(1)
    model = Torchvision(name=name, seed=0).load()
    give_meaning(model)
    parts = partition(model, CutSettings())
    batches = [int(batch) for batch in options.batches.split(",")]
    inputs: ByBatch = {batch: noise(parts, batch) for batch in batches}
    with torch.no_grad():
        expected: ByBatch = {batch: parts.run(0, parts.table.last, inputs[batch]) for batch in batches}
        other = parts.run(0, parts.table.last, [value.flip(-1) for value in inputs[batches[0]]])
        depends = largest_error(other, expected[batches[0]]) > TOLERANCE
        executors: dict[str, Executor] = {"native": Native()}
        for runtime in options.runtimes.split(","):
            executors[runtime] = by_name(runtime)
            row = new_row(name, executors[runtime].identity, depends=depends)
            check_runtime(row, executors[runtime], parts, inputs, expected, options.cuts)
            found.put(row)
        if options.mixed:
            row = new_row(name, "mixed", depends=depends)
            check_mixed(row, executors, parts, inputs, expected, options.mixed)
            found.put(row)
    found.put({"runtime": "end"})


def new_row(name: str, runtime: str, *, depends: bool = True, fault: str = "") -> Row:
    return {
        "model": name,
        "runtime": runtime,
        "runs": False,
        "depends": depends,
        "whole_error": 0.0,
        "seconds": 0.0,
        "peak_mb": 0,
        "kinds": {},
        "refused": {},
        "fault": fault,
    }


def noise(parts: Partition, batch: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    return [torch.randn((batch, *spec.shape[1:]), generator=generator) for spec in parts.table.cuts[0].values]


def check_runtime(
    row: Row, executor: Executor, parts: Partition, inputs: ByBatch, expected: ByBatch, count: int
) -> None:
    began = time.perf_counter()
    last = parts.table.last
    whole = prepared(row, executor, parts, ((0, last),))
    row["runs"] = whole is not None
    if whole is None:
        check_fallback(row, executor, parts, inputs, expected)
    else:
        outputs = {batch: run(whole, values) for batch, values in inputs.items()}
        row["whole_error"] = max(largest_error(outputs[batch], expected[batch]) for batch in inputs)
        for cut in chosen(parts, count):
            chain = prepared(row, executor, parts, ((0, cut), (cut, last)))
            if chain is not None:
                compare(row, kind(parts.table, cut), chain, inputs, expected, outputs)
    row["seconds"] = round(time.perf_counter() - began, 1)
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def check_mixed(
    row: Row, executors: dict[str, Executor], parts: Partition, inputs: ByBatch, expected: ByBatch, count: int
) -> None:
    last = parts.table.last
    for cut in chosen(parts, count):
        for head, edge in executors.items():
            for tail, cloud in executors.items():
                if head == tail:
                    continue
                first = prepared(row, edge, parts, ((0, cut),))
                second = prepared(row, cloud, parts, ((cut, last),))
                if first is not None and second is not None:
                    row["runs"] = True
                    compare(row, f"{head} then {tail}", [*first, *second], inputs, expected, expected)


def chosen(parts: Partition, count: int) -> list[int]:
    """Legal cuts inside the network: all, or some of them at random."""
    inside = [cut for cut in parts.legal if 0 < cut < parts.table.last]
    rng = random.Random(parts.table.model)
    return inside if not count or count >= len(inside) else sorted(rng.sample(inside, count))


def prepared(row: Row, executor: Executor, parts: Partition, ends: Sequence[tuple[int, int]]) -> list[Segment] | None:
    """Segments that are ready; None where the executor refuses one, which is counted by reason."""
    try:
        return [executor.prepare(parts, *pair) for pair in ends]
    except ExecutorError as error:
        reason = without_numbers(str(error))
        row["refused"][reason] = row["refused"].get(reason, 0) + 1
        if "\n" in str(error):
            row["fault"] = "a refusal of several lines"
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises is a line of the table
        row["fault"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None


def check_fallback(row: Row, executor: Executor, parts: Partition, inputs: ByBatch, expected: ByBatch) -> None:
    """A model that a runtime refuses must be answered by PyTorch."""
    segments, last = Segments(executor), parts.table.last
    segments.prepare(parts, 0, last)
    for batch, values in inputs.items():
        found = segments.run(parts, 0, last, values)[0]
        if largest_error(found, expected[batch]):
            row["fault"] = "PyTorch does not stand in"


def run(chain: Sequence[Segment], values: Sequence[Any]) -> Sequence[Any]:
    for segment in chain:
        values, _ = segment.run(values)
    return values


def compare(row: Row, where: str, chain: Sequence[Segment], inputs: ByBatch, expected: ByBatch, whole: ByBatch) -> None:
    """Count a cut under its kind: whether it has the bits of the whole, and its largest error against PyTorch."""
    seen = row["kinds"].setdefault(where, {"cuts": 0, "equal": 0, "error": 0.0})
    try:
        outputs = {batch: run(chain, values) for batch, values in inputs.items()}
    except Exception as error:  # noqa: BLE001 - likewise
        row["fault"] = f"{where}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return
    seen["cuts"] += 1
    seen["equal"] += all(largest_error(outputs[batch], whole[batch]) == 0.0 for batch in inputs)
    seen["error"] = max(seen["error"], *(largest_error(outputs[batch], expected[batch]) for batch in inputs))
    if not seen["error"] <= TOLERANCE:
        row["fault"] = f"{where}: differs from PyTorch by {seen['error']:.1e}"


def kind(table: CutTable, cut: int) -> str:
    """What is before a cut, and whether it is inside of what a runtime merges."""
    before, after = table.nodes[cut - 1], table.nodes[cut]
    several = "" if table.cuts[cut].single_tensor else ", several values"
    if before.op.startswith("Conv") and "BatchNorm" in after.op:
        return f"between convolution and normalisation{several}"
    return f"after {before.op}{several}"


def without_numbers(reason: str) -> str:
    """A reason by which refusals are counted."""
    return " ".join("N" if word.strip(",:'").isdigit() else word for word in reason.split())[:200]


def row_text(row: Row) -> str:
    cuts, equal, error = totals([row])
    text = f"{row['model']:20} {row['runtime']:26} {'runs' if row['runs'] else 'REFUSED':7} "
    text += f"whole {row['whole_error']:.0e} cuts {cuts:3} equal {equal:3} error {error:.0e} "
    text += f"refused {sum(row['refused'].values()):3} {row['seconds']:6.1f} s {row['peak_mb']:5} MB"
    if not row["depends"]:
        text += " (the output hardly depends on the input)"
    text += f" FAULT {row['fault']}" if row["fault"] else ""
    return text + "".join(f"\n      {count} refused: {reason}" for reason, count in row["refused"].items())


def totals(rows: Sequence[Row]) -> tuple[int, int, float]:
    kinds = [seen for row in rows for seen in row["kinds"].values()]
    worst = max((seen["error"] for seen in kinds), default=0.0)
    return sum(seen["cuts"] for seen in kinds), sum(seen["equal"] for seen in kinds), worst


def summary(rows: Sequence[Row]) -> str:
    lines = []
    for runtime in sorted({row["runtime"] for row in rows}):
        own = [row for row in rows if row["runtime"] == runtime]
        cuts, equal, error = totals(own)
        worst = max(row["whole_error"] for row in own)
        lines.append(
            f"{runtime}: {sum(row['runs'] for row in own)} of {len(own)} models run, largest error of a whole model "
            f"{worst:.0e}; {cuts} cuts, {equal} with the bits of the whole, largest error {error:.0e}; "
            f"{sum(bool(row['fault']) for row in own)} models with a fault"
        )
        by_kind: dict[str, list[Any]] = {}
        for row in own:
            for where, seen in row["kinds"].items():
                by_kind.setdefault(where, []).append(seen)
        for where, found in sorted(by_kind.items()):
            lines.append(
                f"    {where:60} {sum(seen['cuts'] for seen in found):5} cuts, "
                f"{sum(seen['equal'] for seen in found):5} equal, error {max(seen['error'] for seen in found):.0e}"
            )
        reasons = Counter[str]()
        for row in own:
            reasons.update(row["refused"])
        lines += [f"    refused {count:4}: {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
