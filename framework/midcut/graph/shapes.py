"""Shapes of the values that cross a cut: how they grow with the batch size, and checks of received values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from midcut.errors import MalformedError
from midcut.graph.crossing import Sizes, add_batch, layouts, part_sizes
from midcut.tensors import dtype_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.graph.program import Program
    from midcut.graph.verify import Examination

Growth = dict[int, list[Sizes]]
_Value = tuple[list[tuple[str, Sizes]], Any]  # parts and layouts of one value
_SHAPE_PROPAGATION_S = 0.003  # rough cost per node of running on fake tensors


@dataclass(frozen=True, slots=True)
class ExpectedValue:
    """What a value that crosses a cut must look like: at batch size B its sizes are `sizes + growth * (B - 1)`.

    An int has one size, its value.

    Attributes:
        any_size: whether the sizes depend on the data, so that only their number is known.
    """

    name: str
    dtype: str
    sizes: Sizes
    growth: Sizes
    any_size: bool = False


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


def check_values(values: Sequence[Any], expected: Sequence[ExpectedValue], where: str) -> None:
    """Refuse values that cannot cross this cut, whatever the batch size.

    Raises:
        MalformedError: count, kind, dtype, rank or sizes differ, or two values have different batch sizes.
    """
    if len(values) != len(expected):
        raise MalformedError(f"{where} takes {len(expected)} values, got {len(values)}")
    if all(map(_equals_example, values, expected)):
        return
    batch: int | None = None
    for value, spec in zip(values, expected, strict=True):
        sizes = _checked_sizes(value, spec, where)
        if spec.any_size:
            continue
        for size, base, growth in zip(sizes, spec.sizes, spec.growth, strict=True):
            if growth and batch is None:
                batch = 1 + (size - base) // growth
            if size != base + growth * ((batch or 1) - 1) or (batch is not None and batch < 1):
                actual = f"shape {list(sizes)}" if spec.dtype != "int" else f"value {size}"
                at = "" if batch is None else f" with batch B = {batch}"
                raise MalformedError(f"{where}: {spec.name!r} has {actual}, expected {_shape_text(spec)}{at}")


def _equals_example(value: Any, spec: ExpectedValue) -> bool:
    """Whether a value has dtype and shape of the example that the model was captured with: the usual, fast case."""
    return isinstance(value, torch.Tensor) and value.shape == spec.sizes and dtype_name(value.dtype) == spec.dtype


def _checked_sizes(value: Any, spec: ExpectedValue, where: str) -> Sizes:
    """Sizes of a value whose kind, dtype and rank are right."""
    if spec.dtype == "int":
        if type(value) is not int:
            raise MalformedError(f"{where}: {spec.name!r} must be an int, got {type(value).__name__}")
        return (value,)
    if not isinstance(value, torch.Tensor):
        raise MalformedError(f"{where}: {spec.name!r} must be a {spec.dtype} tensor, got {type(value).__name__}")
    if dtype_name(value.dtype) != spec.dtype:
        raise MalformedError(f"{where}: {spec.name!r} must be {spec.dtype}, got {dtype_name(value.dtype)}")
    if value.dim() != len(spec.sizes):
        raise MalformedError(f"{where}: {spec.name!r} has {value.dim()} dimensions, expected {_shape_text(spec)}")
    return tuple(value.shape)


def _shape_text(spec: ExpectedValue) -> str:
    """The expected sizes for any batch size B, as in `[4+6*B, 4]`."""
    terms = []
    for base, growth in zip(spec.sizes, spec.growth, strict=True):
        scaled = "B" if growth == 1 else f"{growth}*B"
        terms.append(str(base) if not growth else scaled if base == growth else f"{base - growth}+{scaled}")
    return terms[0] if spec.dtype == "int" else f"[{', '.join(terms)}]"
