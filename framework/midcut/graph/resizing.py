"""A captured model for inputs of other sizes than its example's: the same graph, whose cuts are verified once more.

A graph may have a size of the example built in, or take a branch that other sizes would not. So nothing is derived: it
runs at the other size for real, and is compared there with the module, cut by cut, as it was when it was captured.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

import msgspec
import torch
from torch.utils import _pytree as pytree

from midcut.config.settings import Capture
from midcut.errors import GraphError
from midcut.graph.attention import has_fast_path, without_fast_path
from midcut.graph.examining import examine_graph, expected_values, find_refusals, make_cuts
from midcut.graph.features import describe_nodes
from midcut.graph.module_state import ModuleState
from midcut.graph.partitioned import Captured, Partition
from midcut.graph.stateless import run_once
from midcut.graph.verify import same_bits
from midcut.types import ShapeRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.config.settings import CutSettings
    from midcut.graph.crossing import Sizes
    from midcut.graph.program import Program
    from midcut.graph.verify import Examination
    from midcut.types import LoadedModel


def check_ranges(model: LoadedModel) -> None:
    """Check that a model's ranges of sizes are some, and that its example is inside.

    Raises:
        GraphError: the message says which is not.
    """
    if not model.ranges:
        return
    if len(model.ranges) != len(model.example):
        raise GraphError(f"model {model.name!r} has {len(model.example)} inputs, but ranges of {len(model.ranges)}")
    for position, (value, range_) in enumerate(zip(model.example, model.ranges, strict=True)):
        shape = tuple(value.shape[1:])
        if (
            not value.dim()
            or not len(range_.smallest) == len(range_.largest) == len(shape)
            or not all(
                1 <= low <= size <= high for low, size, high in zip(range_.smallest, shape, range_.largest, strict=True)
            )
        ):
            raise GraphError(
                f"model {model.name!r}, input {position}: the smallest sizes {list(range_.smallest)}, the example's "
                f"{list(shape)} and the largest {list(range_.largest)} must be in this order in each dimension"
            )


def at_both_ends(model: LoadedModel, settings: CutSettings, parts: Partition) -> Partition:
    """Return a captured model with the sizes of its outputs, verified at the smallest and at the largest inputs.

    Raises:
        GraphError: the graph, or the model itself, does not take one of these.
    """
    if not model.ranges:
        return parts
    smallest, largest = (
        resized(model, settings, parts, [(1, *sizes) for sizes in ends])
        for ends in ([entry.smallest for entry in model.ranges], [entry.largest for entry in model.ranges])
    )
    shapes = [[spec.shape[1:] for spec in end.table.output_specs.values()] for end in (smallest, largest)]
    table = msgspec.structs.replace(
        parts.table, output_ranges=tuple(ShapeRange(low, high) for low, high in zip(*shapes, strict=True))
    )
    return Partition(dataclasses.replace(parts.captured, table=table), parts.legal)


def resized(model: LoadedModel, settings: CutSettings, parts: Partition, shapes: Sequence[Sizes]) -> Partition:
    """Return a captured model for inputs of other shapes. It takes exactly these, the batch size included.

    Args:
        model: that was captured; it is left as it was.
        parts: of the model.
        shapes: of its inputs, with their batch dimension.

    Raises:
        GraphError: the module or the graph does not run on these, or they differ there.
    """
    captured = parts.captured
    inputs = tuple(_of_shape(value, shape) for value, shape in zip(captured.example, shapes, strict=True))
    at_size = dataclasses.replace(model, example=inputs)
    slow_path = Capture(parts.table.capture) is Capture.export and has_fast_path(model.module)
    state = ModuleState(model.module)
    try:
        with without_fast_path() if slow_path else contextlib.nullcontext():
            output = run_once(model.module, inputs, "these sizes")
            program = captured.program.copy()
            examination = examine_graph(program, at_size, settings)
    finally:
        state.restore()
    leaves, structure = pytree.tree_flatten(output)
    if not same_bits(pytree.tree_leaves(program.output_leaves(examination.output)), leaves):
        raise GraphError("there the captured graph does not give the module's own output: it has another size built in")
    program.protect(examination.group, examination.writes)
    varying = _varying(captured, examination)
    unchanged = {register: [(0,) * len(sizes) for _, sizes in parts_] for register, parts_ in examination.parts.items()}
    expected = expected_values(program, examination, unchanged, varying)
    table = msgspec.structs.replace(
        parts.table,
        cuts=make_cuts(program, find_refusals(program, examination, varying), expected),
        nodes=describe_nodes(program, examination, model.module, inputs),
    )
    one = tuple(value[:1].clone() for value in inputs)  # many sizes are kept
    made = Captured(program, table, expected, examination.forms, structure, one, any_batch=False)
    return Partition(made, tuple(cut for cut in parts.legal if not table.cuts[cut].refused), resized=True)


def _of_shape(value: torch.Tensor, shape: Sizes) -> torch.Tensor:
    """The example repeated or cropped to a shape, so that its elements stay valid ones."""
    for dim, size in enumerate(shape):
        if size > value.shape[dim]:
            value = torch.cat([value] * -(-size // value.shape[dim]), dim)
        value = value.narrow(dim, 0, size)
    return value.contiguous()


def _varying(captured: Captured, examination: Examination) -> set[int]:
    """Registers whose sizes depend on the data, as found at the example."""
    names = {value.name for values in captured.expected for value in values if value.any_size}
    program: Program = captured.program
    return {
        register
        for register, form in examination.forms.items()
        if any(f"{program.names[register]}{suffix}" in names for suffix in form.suffixes)
    }
