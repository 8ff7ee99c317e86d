"""How the shapes of the values that cross a cut grow with the batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from midcut.graph.crossing import Sizes, add_batch, layouts, part_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.graph.program import Program
    from midcut.graph.verify import Examination

Growth = dict[int, list[Sizes]]
_Value = tuple[list[tuple[str, Sizes]], Any]  # parts and layouts of one value
_SHAPE_PROPAGATION_S = 0.003  # rough cost per node of running on fake tensors


def learn_batch(
    program: Program, example: Sequence[torch.Tensor], found: Examination, forward_s: float, *, any_batch: bool = True
) -> Growth:
    """Find how values grow with the batch size, and complete their forms in `found`.

    A fast graph is run at batch size 2. For a slow one, shapes alone are propagated with fake tensors; if one of its
    operations has no rule for that, it is run as well.

    Args:
        program: the captured graph.
        example: the inputs at batch size 1.
        found: at batch size 1.
        forward_s: seconds that a run at batch size 1 takes.
        any_batch: whether the graph may take batch size 2 at all.

    Returns:
        register -> growth of the sizes of each part per added batch item; all zeros for a model that accepts batch
        size 1 only.
    """
    at_two: dict[int, _Value] | None = None if any_batch else {}
    if any_batch and 2 * forward_s > _SHAPE_PROPAGATION_S * len(program):
        # `allow_non_fake_inputs` lets the graph use its real parameters: only their shapes are read.
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            at_two = _at_batch_two(program, [mode.from_tensor(value) for value in example], found)
    if at_two is None:
        at_two = _at_batch_two(program, example, found) or {}
    growth = {}
    for register, parts in found.parts.items():
        parts_at_two, layouts_at_two = at_two.get(register, (parts, found.layouts[register]))
        growth[register] = [_growth(one, two) for (_, one), (_, two) in zip(parts, parts_at_two, strict=True)]
        found.forms[register] = add_batch(found.forms[register], found.layouts[register], layouts_at_two)
    return growth


def _growth(one: Sizes, two: Sizes) -> Sizes:
    return tuple(b - a for a, b in zip(one, two, strict=True))


def _at_batch_two(program: Program, example: Sequence[torch.Tensor], found: Examination) -> dict[int, _Value] | None:
    """Register -> parts and layouts at batch size 2; None where the graph does not run with it."""
    at_two: dict[int, _Value] = {}
    inputs = [torch.cat([value, value]) if value.dim() else value.clone() for value in example]

    def record(registers: Sequence[int], values: Sequence[Any]) -> None:
        for register in registers:
            if register in found.forms:
                parts = found.forms[register].take_apart(values[register])
                at_two[register] = ([part_sizes(part) for part in parts], layouts(values[register]))

    with torch.no_grad():
        registers = program.load(0, [inputs[register] for register in program.live[0]])
        try:
            record(program.live[0], registers)
            for index, step in enumerate(program.steps):
                registers[step.out] = step.call(registers)
                record((step.out,), registers)
                program.drop(registers, index)
        except Exception:  # noqa: BLE001  # a kernel may raise anything when it does not support this batch size
            return None
    return at_two
