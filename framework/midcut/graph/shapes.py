"""Shapes of the values that cross a cut: how they grow with the batch size, and checks of received values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from midcut.errors import MalformedError
from midcut.tensors import dtype_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.graph.program import Program

Sizes = tuple[int, ...]
_SHAPE_PROPAGATION_S = 0.003  # rough cost per node of running on fake tensors


@dataclass(frozen=True, slots=True)
class ExpectedValue:
    """What a value that crosses a cut must look like: at batch size B its sizes are `sizes + growth * (B - 1)`.

    An int has one size, its value.
    """

    name: str
    dtype: str
    sizes: Sizes
    growth: Sizes


def growth_per_item(
    program: Program, example: Sequence[torch.Tensor], sizes: Mapping[int, tuple[str, Sizes]], forward_s: float
) -> dict[int, Sizes]:
    """Register -> growth of its sizes per added batch item; zeros for a model that accepts batch size 1 only.

    A fast graph is run at batch size 2. For a slow one, shapes alone are propagated with fake tensors; if one of its
    operations has no rule for that, it is run as well.

    Args:
        program: the captured graph.
        example: the inputs at batch size 1.
        sizes: register -> (dtype, sizes) at batch size 1.
        forward_s: seconds that a run at batch size 1 takes.
    """
    sizes_at_two = None
    if 2 * forward_s > _SHAPE_PROPAGATION_S * len(program):
        # `allow_non_fake_inputs` lets the graph use its real parameters: only their shapes are read.
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            sizes_at_two = _sizes_at_batch_two(program, [mode.from_tensor(value) for value in example])
    if sizes_at_two is None:
        sizes_at_two = _sizes_at_batch_two(program, example) or {}
    return {
        register: tuple(b - a for a, b in zip(base, sizes_at_two.get(register, base), strict=True))
        for register, (_, base) in sizes.items()
    }


def _sizes_at_batch_two(program: Program, example: Sequence[torch.Tensor]) -> dict[int, Sizes] | None:
    """Register -> sizes at batch size 2; None where the graph does not run with it."""
    sizes: dict[int, Sizes] = {}
    inputs = [torch.cat([value, value]) if value.dim() else value.clone() for value in example]
    with torch.no_grad():
        registers = program.load(0, [inputs[register] for register in program.live[0]])
        _record_sizes(program.live[0], registers, sizes)
        for index, step in enumerate(program.steps):
            try:
                registers[step.out] = step.call(registers)
            except Exception:  # noqa: BLE001  # a kernel may raise anything when it does not support this batch size
                return None
            _record_sizes((step.out,), registers, sizes)
            program.drop(registers, index)
    return sizes


def _record_sizes(registers: Sequence[int], values: Sequence[Any], sizes: dict[int, Sizes]) -> None:
    for register in registers:
        value = values[register]
        if isinstance(value, torch.Tensor):
            sizes[register] = tuple(int(size) for size in value.shape)
        elif type(value) is int:
            sizes[register] = (value,)


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
