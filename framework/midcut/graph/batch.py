"""How the sizes of what crosses a cut grow with the batch."""

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
_PROPAGATE_S = 0.003  # what a fake tensor costs per node, roughly


@dataclass(frozen=True, slots=True)
class Expected:
    """What one crossing value must look like: at batch B its sizes are `sizes + growth * (B - 1)`.

    For an int, the one size is its value.
    """

    name: str
    dtype: str
    sizes: Sizes
    growth: Sizes


def growth(
    program: Program, example: Sequence[torch.Tensor], sizes: Mapping[int, tuple[str, Sizes]], forward_s: float
) -> dict[int, Sizes]:
    """Register -> growth of its sizes per added batch item; zeros for a model that takes batch 1 only.

    The graph is run at batch 2 where that is cheap; otherwise shapes alone are propagated (fake
    tensors), unless an operation has no shape rule.

    Args:
        program: the captured graph.
        example: the inputs at batch 1.
        sizes: register -> (dtype, sizes) as seen at batch 1.
        forward_s: seconds one run at batch 1 takes.
    """
    seen = None
    if 2 * forward_s > _PROPAGATE_S * len(program):
        # Shape propagation reads real parameters by their shape; it neither copies nor computes.
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            seen = _sizes_at_two(program, [mode.from_tensor(value) for value in example])
    if seen is None:
        seen = _sizes_at_two(program, example) or {}
    return {
        register: tuple(b - a for a, b in zip(base, seen.get(register, base), strict=True))
        for register, (_, base) in sizes.items()
    }


def _sizes_at_two(program: Program, example: Sequence[torch.Tensor]) -> dict[int, Sizes] | None:
    seen: dict[int, Sizes] = {}
    inputs = [torch.cat([value, value]) if value.dim() else value.clone() for value in example]
    with torch.no_grad():
        registers = program.load(0, [inputs[register] for register in program.live[0]])
        _note(program.live[0], registers, seen)
        for index, step in enumerate(program.steps):
            try:
                registers[step.out] = step.call(registers)
            except Exception:  # noqa: BLE001  # whatever a kernel raises, it does not take this batch
                return None
            _note((step.out,), registers, seen)
            program.drop(registers, index)
    return seen


def _note(registers: Sequence[int], values: Sequence[Any], seen: dict[int, Sizes]) -> None:
    for register in registers:
        value = values[register]
        if isinstance(value, torch.Tensor):
            seen[register] = tuple(int(size) for size in value.shape)
        elif type(value) is int:
            seen[register] = (value,)


def check(values: Sequence[Any], expected: Sequence[Expected], where: str) -> None:
    """Refuse values that cannot be what crosses at this cut, for any one batch size.

    Raises:
        MalformedError: count, kind, dtype, rank or sizes differ, or two values disagree on the batch.
    """
    if len(values) != len(expected):
        raise MalformedError(f"{where} takes {len(expected)} values, got {len(values)}")
    if all(map(_as_captured, values, expected)):
        return
    batch: int | None = None
    for value, spec in zip(values, expected, strict=True):
        sizes = _sizes(value, spec, where)
        for size, base, more in zip(sizes, spec.sizes, spec.growth, strict=True):
            if more and batch is None:
                batch = 1 + (size - base) // more
            if size != base + more * ((batch or 1) - 1) or (batch is not None and batch < 1):
                what = f"shape {list(sizes)}" if spec.dtype != "int" else f"value {size}"
                raise MalformedError(f"{where}: {spec.name!r} has {what}, expected {_pattern(spec)}{_at(batch)}")


def _as_captured(value: Any, spec: Expected) -> bool:
    """Whether it is just like the one that the model was captured with: the usual case."""
    return isinstance(value, torch.Tensor) and value.shape == spec.sizes and dtype_name(value.dtype) == spec.dtype


def _sizes(value: Any, spec: Expected, where: str) -> Sizes:
    if spec.dtype == "int":
        if type(value) is not int:
            raise MalformedError(f"{where}: {spec.name!r} must be an int, got {type(value).__name__}")
        return (value,)
    if not isinstance(value, torch.Tensor):
        raise MalformedError(f"{where}: {spec.name!r} must be a {spec.dtype} tensor, got {type(value).__name__}")
    if dtype_name(value.dtype) != spec.dtype:
        raise MalformedError(f"{where}: {spec.name!r} must be {spec.dtype}, got {dtype_name(value.dtype)}")
    if value.dim() != len(spec.sizes):
        raise MalformedError(f"{where}: {spec.name!r} has {value.dim()} dimensions, expected {_pattern(spec)}")
    return tuple(value.shape)


def _pattern(spec: Expected) -> str:
    terms = []
    for base, more in zip(spec.sizes, spec.growth, strict=True):
        scaled = "B" if more == 1 else f"{more}*B"
        terms.append(str(base) if not more else scaled if base == more else f"{base - more}+{scaled}")
    return terms[0] if spec.dtype == "int" else f"[{', '.join(terms)}]"


def _at(batch: int | None) -> str:
    return "" if batch is None else f" with batch B = {batch}"
