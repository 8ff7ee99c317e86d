#!/usr/bin/env python3
"""Compare split and unsplit torchvision classifiers bit for bit, and print a table.

Each model is cut at random legal cuts, and once at every kind of payload of several values it has (a
kind is the tuple of dtypes and ranks, e.g. two images and an int). The payload goes through bytes, as
on the wire. Every model is tried at batch 1 and 2. Exits with 1 if any output differs from the unsplit
model's in one bit, if a model cannot be captured, or if `partition` refused a cut for a difference.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.utils import _pytree as pytree

from midcut.config.settings import Capture, CutSettings
from midcut.errors import MidcutError
from midcut.graph import Partition, partition
from midcut.graph.verify import same_bits
from midcut.tensors import as_received
from midcut_models.classification import Torchvision
from midcut_models.names import TORCHVISION

if TYPE_CHECKING:
    from midcut.types import Cut, LoadedModel


@dataclass
class Row:
    """One model's row of the table.

    Attributes:
        offered: legal cuts.
        tuples: cuts refused because a tuple crosses them.
        inexact: cuts refused because the output there differs.
        kinds: kinds of payloads of several values.
        ints: legal cuts that an integer crosses.
        tried: cuts at which the model was split, each batch size counted.
        bits_differ: cuts tried whose output was not the unsplit model's, bit for bit.
        difference: largest absolute difference seen.
        load_s: capture, verification and hashing.
        forward_s: the unsplit model on the same input.
    """

    model: str
    capture: str = "-"
    nodes: int = 0
    offered: int = 0
    tuples: int = 0
    inexact: int = 0
    kinds: int = 0
    ints: int = 0
    tried: int = 0
    bits_differ: int = 0
    difference: float = 0.0
    load_s: float = 0.0
    forward_s: float = 0.0
    failure: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failure and not self.bits_differ and not self.inexact


HEADER = (
    f"{'model':20} {'graph':6} {'nodes':>5} {'offered':>7} {'tuple':>5} {'inexact':>7} {'kinds':>5} {'ints':>4} "
    f"{'tried':>5} {'differ':>6} {'max diff':>8} {'load s':>7} {'forward s':>9}"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names (default: all 80)")
    parser.add_argument("--cuts", type=int, default=5, help="random legal cuts per model (default: %(default)s)")
    parser.add_argument("--all-cuts", action="store_true", help="every legal cut instead")
    parser.add_argument("--capture", choices=[capture.value for capture in Capture], default=Capture.fx.value)
    parser.add_argument("--seed", type=int, default=0, help="of weights, inputs and cuts (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    unknown = sorted(set(arguments.models) - set(TORCHVISION))
    if unknown:
        parser.error(f"not a torchvision classifier: {', '.join(unknown)}")
    print(HEADER, flush=True)
    rows = []
    for name in arguments.models or TORCHVISION:
        row = check(name, arguments)
        rows.append(row)
        print(row_text(row), flush=True)
        for note in row.notes:
            print(f"    {note}", flush=True)
        gc.collect()
    print(summary(rows))
    return 0 if all(row.ok for row in rows) else 1


def check(name: str, arguments: argparse.Namespace) -> Row:
    row = Row(name)
    model = Torchvision(name=name, seed=arguments.seed).load()
    started = time.perf_counter()
    try:
        parts = partition(model, CutSettings(capture=Capture(arguments.capture)))
    except MidcutError as error:
        row.failure = str(error)
        return row
    row.load_s = time.perf_counter() - started
    describe(row, parts)
    rng = random.Random(f"{name}-{arguments.seed}")
    chosen = list(parts.legal)
    if not arguments.all_cuts:
        chosen = rng.sample(chosen, min(arguments.cuts, len(chosen)))
    chosen += [rng.choice(cuts) for cuts in kinds(parts).values()]
    for batch in (1, 2):
        compare(row, parts, model, sorted(set(chosen)), batch, arguments.seed)
    return row


def describe(row: Row, parts: Partition) -> None:
    row.capture = parts.table.capture
    row.nodes = parts.node_count
    row.offered = len(parts.legal)
    row.tuples = sum("neither a tensor" in why for why in parts.refused.values())
    row.inexact = len(parts.refused) - row.tuples
    row.kinds = len(kinds(parts))
    row.ints = sum(any(not value.is_tensor for value in parts.table.cuts[k].values) for k in parts.legal)
    row.notes = [f"cut {k}: {why}" for k, why in parts.refused.items() if "neither a tensor" not in why]


def kinds(parts: Partition) -> dict[tuple[str, ...], list[int]]:
    """Kind of a payload of several values -> the legal cuts that carry such a payload."""
    cuts: dict[tuple[str, ...], list[int]] = {}
    for index in parts.legal:
        cut = parts.table.cuts[index]
        if not cut.single_tensor and index != parts.table.last:
            cuts.setdefault(kind(cut), []).append(index)
    return cuts


def kind(cut: Cut) -> tuple[str, ...]:
    return tuple(f"{value.dtype}/{len(value.shape)}" for value in cut.values)


def compare(row: Row, parts: Partition, model: LoadedModel, cuts: list[int], batch: int, seed: int) -> None:
    """Split the model at the cuts, pass the payload through bytes, and compare the output with the unsplit model's."""
    shape = (batch, *model.example[0].shape[1:])
    image = torch.rand(shape, generator=torch.Generator().manual_seed(seed + batch))
    started = time.perf_counter()
    with torch.no_grad():
        expected = model.module(image)
    if batch == 1:
        row.forward_s = time.perf_counter() - started
    for index in cuts:
        payload = parts.head(index, (image,))
        received = [as_received(value) if isinstance(value, torch.Tensor) else value for value in payload]
        parts.check_values(index, received)
        output = parts.assemble(parts.tail(index, received))
        row.tried += 1
        row.bits_differ += not same_bits(output, expected)
        for actual, wanted in zip(pytree.tree_leaves(output), pytree.tree_leaves(expected), strict=True):
            row.difference = max(row.difference, float((actual - wanted).abs().max()))


def row_text(row: Row) -> str:
    if row.failure:
        return f"{row.model:20} FAILED {row.failure}"
    return (
        f"{row.model:20} {row.capture:6} {row.nodes:5} {row.offered:7} {row.tuples:5} {row.inexact:7} {row.kinds:5} "
        f"{row.ints:4} {row.tried:5} {row.bits_differ:6} {row.difference:8.1g} {row.load_s:7.2f} {row.forward_s:9.3f}"
    )


def summary(rows: list[Row]) -> str:
    good = [row for row in rows if not row.failure]
    if not good:
        return "no model could be captured"
    loads = statistics.median(row.load_s / row.forward_s for row in good)
    return (
        f"{len(good)} of {len(rows)} models captured; {sum(row.tried for row in good)} splits tried, "
        f"{sum(row.bits_differ for row in good)} differ in a bit (largest difference "
        f"{max(row.difference for row in good):.1g}); {sum(row.offered for row in good)} cuts offered, "
        f"{sum(row.tuples for row in good)} refused because a tuple crosses, {sum(row.inexact for row in good)} "
        f"because inexact; load takes {loads:.0f} forward passes in the median"
    )


if __name__ == "__main__":
    sys.exit(main())
