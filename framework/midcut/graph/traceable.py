"""A captured program as a module that computes the values of every cut, for runtimes that export it once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from midcut.graph.crossing import PLAIN
from midcut.tensors import dim_order
from midcut.types import Traceable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.graph.crossing import Form
    from midcut.graph.program import Program, Registers

# Step -> registers whose values are recorded after it, each with the names of its parts; None where a part is none.
_Records = list[list[tuple[int, tuple[str | None, ...]]]]


class _EveryValue(torch.nn.Module):
    """Runs the program and returns a copy of each value when it is new, and again when it has been written to."""

    def __init__(self, program: Program, forms: Mapping[int, Form], records: _Records) -> None:
        super().__init__()
        self._program, self._forms, self._records = program, forms, records

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        registers = self._program.load(0, [value.clone() for value in inputs])
        copies: list[torch.Tensor] = []
        self._record(0, registers, copies)
        for index in range(len(self._program)):
            self._program.advance(registers, index)
            self._record(index + 1, registers, copies)
        return tuple(copies)

    def _record(self, cut: int, registers: Registers, copies: list[torch.Tensor]) -> None:
        for register, names in self._records[cut]:
            parts = self._forms.get(register, PLAIN).take_apart(registers[register])
            copies.extend(_copy(part) for part, name in zip(parts, names, strict=True) if name is not None)


def make_traceable(program: Program, forms: Mapping[int, Form], example: Sequence[torch.Tensor]) -> Traceable:
    """Run the program on the example to find out which values change after they are made, and wrap it."""
    records: _Records = []
    current: dict[int, tuple[str | None, ...]] = {}
    versions: dict[int, list[int]] = {}
    at: list[tuple[str | None, ...]] = []
    orders: dict[str, tuple[int, ...]] = {}
    # A caller may be in inference mode, whose tensors count no versions.
    with torch.inference_mode(mode=False), torch.no_grad():
        registers = program.load(0, [value.clone() for value in example])
        for cut in range(len(program) + 1):
            if cut:
                program.advance(registers, cut - 1)
            records.append([])
            for register in program.live[cut]:
                parts = forms.get(register, PLAIN).take_apart(registers[register]) if register in forms else []
                found = [part._version if isinstance(part, torch.Tensor) else 0 for part in parts]  # noqa: SLF001
                if register not in current or versions[register] != found:
                    current[register] = _names(register, cut, parts)
                    versions[register] = found
                    records[cut].append((register, current[register]))
                    orders |= _orders(current[register], parts)
            at.append(tuple(name for register in program.live[cut] for name in current[register]))
    names = tuple(name for record in records for _, parts in record for name in parts if name is not None)
    module = _EveryValue(program, forms, records).eval()
    return Traceable(module, tuple(value.clone() for value in example), names, tuple(at), orders)


def _names(register: int, cut: int, parts: Sequence[Any]) -> tuple[str | None, ...]:
    return tuple(
        f"cut{cut}_value{register}_{position}" if _exportable(part) else None for position, part in enumerate(parts)
    )


def _orders(names: Sequence[str | None], parts: Sequence[Any]) -> dict[str, tuple[int, ...]]:
    """The orders of dimensions that are not the usual one."""
    tensors = {name: part for name, part in zip(names, parts, strict=True) if name and isinstance(part, torch.Tensor)}
    found = {name: dim_order(part) for name, part in tensors.items()}
    return {name: order for name, order in found.items() if order is not None}


def _exportable(part: Any) -> bool:
    if not isinstance(part, torch.Tensor):
        return type(part) is int
    return not part.is_quantized and part.layout is torch.strided


def _copy(part: Any) -> torch.Tensor:
    """A copy of a tensor, or a number as a tensor: while it is traced, a number is a symbol."""
    return part.clone() if isinstance(part, torch.Tensor) else torch.scalar_tensor(part, dtype=torch.int64)
