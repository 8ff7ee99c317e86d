"""One pass over the example: what every cut carries, what is written in place, which cuts are exact.

Every cut is compared with the whole model, for about the price of a second forward pass. While the
whole graph runs node by node (the reference), a *shadow* starts at each cut from the payload as it
would arrive from the wire: equal bits, dense, same dim order, memory of its own. Shadows advance in
step with the reference. After each node a shadow is in one of three states:

- some value differs in a bit: the cut is refused, and the node is named;
- all live values have the reference's bits, strides, alignment and sharing of memory: kernels are
  deterministic functions of just these, so the rest of the tail is the rest of the reference, and the
  shadow has done its work. On a chain that is after one node;
- equal bits, but another layout or sharing (a slice arrives dense; a view and its base arrive apart):
  the shadow goes on, to the end if need be, where equal bits suffice.

So a cut passes exactly when its tail gives the reference's output bit for bit, or is refused although
a later node would have hidden a difference. That the reference is the module is compared separately.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from midcut.errors import GraphError
from midcut.tensors import as_received
from midcut.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midcut.graph.program import Program, Registers, Step

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass
class Examination:
    """What one pass over the example showed.

    Attributes:
        sizes: register -> (dtype name, sizes) for what can cross a cut; an int's size is its value.
        unsendable: register -> what it holds instead.
        refused: cut -> why it is not exact, or cannot be sent.
        output: the values at the last cut.
        group: register -> id of the memory it shares.
        writes: group -> steps that write into it, ascending.
    """

    sizes: dict[int, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    unsendable: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    output: tuple[Any, ...] = ()
    group: dict[int, int] = field(default_factory=dict)
    writes: dict[int, list[int]] = field(default_factory=dict)


def examine(program: Program, example: Sequence[torch.Tensor], *, verify: bool) -> Examination:
    """Run the program once over the example, with a shadow from every cut if `verify`.

    Raises:
        GraphError: a node writes into a constant, so a second run would differ from the first.
    """
    found = Examination()
    memory = _Memory(program, found)
    with torch.no_grad():
        values = [example[register].detach().clone() for register in program.live[0]]
        reference = program.load(0, values)
        shadows: dict[int, Registers] = {}
        for index in range(len(program)):
            _describe(program, index, reference, found)
            if verify and index not in found.refused:
                shadows[index] = program.load(index, _receive(program, index, reference))
            step = program.steps[index]
            memory.before(step, reference)
            reference[step.out] = step.call(reference)
            memory.after(index, step, reference[step.out])
            program.drop(reference, index)
            _advance_shadows(program, index, reference, shadows, found)
        last = len(program)
        _describe(program, last, reference, found)
        found.output = tuple(reference[register] for register in program.live[last])
    memory.finish()
    return found


def same_bits(one: Any, other: Any) -> bool:
    """Whether two values are the same down to NaN payloads and the sign of zero; layouts may differ."""
    if isinstance(one, torch.Tensor):
        if not isinstance(other, torch.Tensor) or one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype.is_complex or one.dtype.itemsize not in _BITS:
            return torch.equal(one, other)
        bits = _BITS[one.dtype.itemsize]
        return torch.equal(one.view(bits), other.view(bits))
    if isinstance(one, (list, tuple)):
        return (
            isinstance(other, (list, tuple))
            and len(one) == len(other)
            and all(same_bits(a, b) for a, b in zip(one, other, strict=True))
        )
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same_bits(one[k], other[k]) for k in one)
    return type(one) is type(other) and bool(one == other)


def _advance_shadows(
    program: Program, index: int, reference: Registers, shadows: dict[int, Registers], found: Examination
) -> None:
    live = program.live[index + 1]
    for cut, registers in list(shadows.items()):
        program.advance(registers, index)
        wrong = next((r for r in live if not same_bits(reference[r], registers[r])), None)
        if wrong is not None:
            found.refused[cut] = (
                f"its tail differs from the whole model: {program.names[wrong]!r} after node "
                f"{index} ({program.steps[index].name!r}){_difference(reference[wrong], registers[wrong])}"
            )
            del shadows[cut]
        elif _layout(reference, live) == _layout(registers, live):
            del shadows[cut]


def _difference(one: Any, other: Any) -> str:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor) or one.shape != other.shape:
        return ""
    return f", by up to {(one.double() - other.double()).abs().max().item():.1e}" if one.numel() else ""


def _receive(program: Program, cut: int, registers: Registers) -> list[Any]:
    values = [registers[register] for register in program.live[cut]]
    return [as_received(value) if isinstance(value, torch.Tensor) else value for value in values]


def _layout(registers: Registers, live: Sequence[int]) -> list[Any]:
    """Strides, alignment and the partition of live tensors by the memory they share."""
    first: dict[int, tuple[int, int]] = {}
    layout = []
    for position, tensor in enumerate(t for register in live for t in _tensors(registers[register])):
        start = tensor.data_ptr()
        owner, base = first.setdefault(tensor.untyped_storage().data_ptr(), (position, start))
        layout.append((tensor.stride(), start % 64, owner, start - base))
    return layout


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _describe(program: Program, cut: int, registers: Registers, found: Examination) -> None:
    for register in program.live[cut]:
        value = registers[register]
        if register not in found.sizes and register not in found.unsendable:
            _classify(register, value, found)
        if register in found.unsendable:
            name = program.names[register]
            found.refused.setdefault(cut, f"{name!r}, which crosses here, is {found.unsendable[register]}")


def _classify(register: int, value: Any, found: Examination) -> None:
    if type(value) is int:
        found.sizes[register] = ("int", (value,))
    elif isinstance(value, torch.Tensor) and value.layout is torch.strided:
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype in DTYPES:
            found.sizes[register] = (dtype, tuple(value.shape))
        else:
            found.unsendable[register] = f"a tensor of dtype {dtype}"
    else:
        found.unsendable[register] = f"a {type(value).__name__}, neither a tensor nor an int"


class _Memory:
    """Watches which registers share memory, and which step writes into it (`Tensor._version` moves)."""

    def __init__(self, program: Program, found: Examination) -> None:
        self._program = program
        self._found = found
        self._parent: dict[int, int] = {}
        self._versions: list[tuple[int, torch.Tensor, int]] = []
        self._writes: list[tuple[int, int]] = []

    def before(self, step: Step, registers: Registers) -> None:
        self._versions = [
            (register, tensor, tensor._version)  # noqa: SLF001  # the only counter of in-place writes there is
            for register in step.reads
            for tensor in _tensors(registers[register])
        ]

    def after(self, index: int, step: Step, out: Any) -> None:
        owners: dict[int, int] = {}
        for register, tensor, version in self._versions:
            if tensor._version != version:  # noqa: SLF001
                if register in self._program.constants:
                    name = self._program.constants[register] or "a constant"
                    raise GraphError(f"node {step.name!r} writes into {name}: a second run would differ from the first")
                self._writes.append((register, index))
            owners.setdefault(tensor.untyped_storage().data_ptr(), register)
            self._join(owners[tensor.untyped_storage().data_ptr()], register)
        for tensor in _tensors(out):
            self._join(owners.get(tensor.untyped_storage().data_ptr(), step.out), step.out)

    def finish(self) -> None:
        for register, step in self._writes:
            steps = self._found.writes.setdefault(self._root(register), [])
            if step not in steps:
                steps.append(step)
        self._found.group.update({register: self._root(register) for register in self._parent})

    def _root(self, register: int) -> int:
        while self._parent.setdefault(register, register) != register:
            register = self._parent[register]
        return register

    def _join(self, one: int, other: int) -> None:
        self._parent[self._root(one)] = self._root(other)
