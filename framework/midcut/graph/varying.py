"""Finds values whose sizes depend on the data, such as the boxes that are left after non-maximum suppression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from midcut.graph.crossing import part_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.graph.program import Program
    from midcut.graph.verify import Examination


class DataDependence(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not annotate it
    """Notices operators whose output has a size that depends on the data, or is a Python number.

    Attributes:
        dims: for each operator of the first kind that ran, the dimension of its output that varies.
        numbers: how many of the second kind ran.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dims: list[int] = []
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        dim = _varying_dim(func, args)
        if dim is not None:
            self.dims.append(dim)
        self.numbers += torch.Tag.data_dependent_output in getattr(func, "tags", ())
        return func(*args, **(kwargs or {}))


def _varying_dim(func: Any, args: Sequence[Any]) -> int | None:
    if func is torch.ops.aten.index.Tensor:
        indices = [None if index is None else index.dtype for index in args[1]]
        return next((at for at, dtype in enumerate(indices) if dtype in (torch.bool, torch.uint8)), None)
    if func is torch.ops.aten.unique_dim.default:
        return int(args[1])
    return 0 if torch.Tag.dynamic_output_shape in getattr(func, "tags", ()) or "nms" in str(func) else None


def find_varying(program: Program, example: Sequence[torch.Tensor], found: Examination) -> set[int]:
    """Registers whose sizes, or whose value if it is an int, depend on the data.

    The program runs twice: to find its data-dependent nodes, and with their outputs shortened, to see what else has
    another size then. If it does not run with these, everything computed from them counts as varying.

    Args:
        found: by running the program on the same example.
    """
    sources: dict[int, int] = {}
    with torch.no_grad():
        registers = _load(program, example)
        for index, step in enumerate(program.steps):
            with DataDependence() as mode:
                registers[step.out] = step.call(registers)
            if mode.dims or (mode.numbers and type(registers[step.out]) is int):
                sources[index] = mode.dims[-1] if mode.dims else 0
            program.drop(registers, index)
        try:
            return _resized(program, example, found, sources)
        except Exception:  # noqa: BLE001 - a kernel may refuse the other sizes in any way
            return _downstream(program, sources)


def _resized(
    program: Program, example: Sequence[torch.Tensor], found: Examination, sources: dict[int, int]
) -> set[int]:
    varying = {program.steps[index].out for index in sources}
    registers = _load(program, example)
    for index, step in enumerate(program.steps):
        value = step.call(registers)
        if index in sources:
            value = _shortened(value, sources[index])
        registers[step.out] = value
        if step.out in found.parts:
            parts = [part_sizes(part) for part in found.forms[step.out].take_apart(value)]
            if parts != found.parts[step.out]:
                varying.add(step.out)
        program.drop(registers, index)
    return varying


def _load(program: Program, example: Sequence[torch.Tensor]) -> list[Any]:
    return program.load(0, [example[register].clone() for register in program.live[0]])


def _shortened(value: Any, dim: int) -> Any:
    """Tensors with one element along a dimension, or two where there was one; ints that are larger by one."""
    if isinstance(value, torch.Tensor):
        if dim >= value.dim():
            return value
        size = value.shape[dim]
        if size > 1:
            return value.narrow(dim, 0, 1)
        if size == 1:
            return torch.cat([value, value], dim)
        return value.new_zeros([1 if at == dim else length for at, length in enumerate(value.shape)])
    if isinstance(value, (list, tuple)):
        return type(value)([_shortened(item, dim) for item in value])
    return value + 1 if type(value) is int else value


def _downstream(program: Program, sources: dict[int, int]) -> set[int]:
    varying = {program.steps[index].out for index in sources}
    for step in program.steps:
        if varying.intersection(step.reads):
            varying.add(step.out)
    return varying
