"""Runs a captured graph once over its example: finds what crosses each cut, in-place writes, and which cuts are exact.

To verify a cut, the rest of the graph is run from values as they would arrive over the wire, and compared with the
whole graph. All cuts are verified together, for about the price of a second forward pass: while the whole graph runs
node by node (the *reference*), a second run, a *shadow*, starts at every cut. Its values have the same bits as the
reference's and the same strides, but own their memory. After each node a shadow is in one of three states:

- A value differs in a bit: the cut is refused, and the message names the node.
- All live values have the same bits, strides, alignment and sharing of memory as the reference's. Kernels are
  deterministic functions of these, so all later nodes give the same results, and the shadow can stop. In a chain of
  nodes this happens after one node.
- All bits are equal, but layout or sharing differs (a view and its base arrive as two tensors). The shadow goes on, if
  need be to the end, where equal bits suffice. Two shadows in which it differs in the same way go on as one.

So a cut passes exactly when its tail gives the reference's output bit for bit; it is also refused if a difference
appears that a later node would have hidden. That the reference equals the module is checked separately.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from midcut.errors import GraphError
from midcut.graph.crossing import Form, Sizes, find_form, layouts, part_sizes, received

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midcut.graph.program import Program, Registers, Step

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass
class Examination:
    """Result of running the program over the example.

    Attributes:
        forms: register -> how its value crosses a cut, if it can.
        parts: register -> (dtype name, sizes) of each part of its value; the size of an int is its value.
        layouts: register -> `crossing.layouts` of its value.
        unsendable: register -> description of its value if it cannot cross a cut.
        refused: cut -> why it is not exact, or why a value at it cannot be sent.
        output: the values at the last cut.
        group: register -> id of the group of registers that share its memory.
        writes: group -> steps that write into its memory, ascending.
    """

    forms: dict[int, Form] = field(default_factory=dict)
    parts: dict[int, list[tuple[str, Sizes]]] = field(default_factory=dict)
    layouts: dict[int, Any] = field(default_factory=dict)
    unsendable: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    output: tuple[Any, ...] = ()
    group: dict[int, int] = field(default_factory=dict)
    writes: dict[int, list[int]] = field(default_factory=dict)


def examine(program: Program, example: Sequence[torch.Tensor], *, verify: bool) -> Examination:
    """Run the program once over the example, with a shadow from every cut if `verify` is set.

    Raises:
        GraphError: a node writes into a constant, so a second run would differ from the first.
    """
    try:
        return _examine(program, example, _Copies(shared=True) if verify else None)
    except _CopyWrittenError:
        return _examine(program, example, _Copies(shared=False))


def _examine(program: Program, example: Sequence[torch.Tensor], copies: _Copies | None) -> Examination:
    """Run the program once, with shadows that begin with these copies; None runs no shadows."""
    result = Examination()
    memory = _MemoryTracker(program, result)
    with torch.no_grad():
        values = [example[register].detach().clone() for register in program.live[0]]
        reference = program.load(0, values)
        shadows: list[_Shadow] = []
        crossed: dict[int, Any] = {}  # register -> versions of its value when it was last sent and compared
        for index in range(len(program)):
            _record_values(program, index, reference, result)
            before = _versions(reference, program.live[index])
            if copies is not None and index not in result.refused:
                values = [
                    copies.receive(register, result.forms[register], reference[register])
                    for register in program.live[index]
                ]
                shadows.append(_Shadow(program.load(index, values), [index]))
            step = program.steps[index]
            memory.before_step(step, reference)
            reference[step.out] = step.call(reference)
            memory.after_step(index, step, reference[step.out])
            program.drop(reference, index)
            after = _versions(reference, program.live[index + 1])
            written = {register for register, version in after.items() if version != before.get(register)}
            unsent = {register for register, version in before.items() if version != crossed.get(register)}
            shadows = _advance_shadows(program, index, reference, shadows, result, written, unsent)
            if copies is not None:
                copies.keep_only(program.live[index + 1])
            if index not in result.refused:
                crossed |= before
        last = len(program)
        _record_values(program, last, reference, result)
        result.output = tuple(reference[register] for register in program.live[last])
    memory.finish()
    return result


def same_bits(a: Any, b: Any) -> bool:
    """Whether two values are equal bit by bit, including NaN payloads and the sign of zero; layouts may differ."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and _same_tensor_bits(a, b)
    if isinstance(a, (list, tuple)):
        return (
            isinstance(b, (list, tuple))
            and len(a) == len(b)
            and all(same_bits(x, y) for x, y in zip(a, b, strict=True))
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same_bits(a[k], b[k]) for k in a)
    return type(a) is type(b) and bool(a == b or (a != a and b != b))  # noqa: PLR0124  # two NaNs are equal here


def _same_tensor_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape or a.layout != b.layout or a.is_quantized != b.is_quantized:
        return False
    if a.is_quantized:
        return _same_quantisation(a, b) and torch.equal(a.int_repr(), b.int_repr())
    if a.layout is not torch.strided:
        a, b = a.to_dense(), b.to_dense()
    if a.dtype.is_complex:
        a, b = torch.view_as_real(a.resolve_conj().resolve_neg()), torch.view_as_real(b.resolve_conj().resolve_neg())
    bits = _BITS.get(a.dtype.itemsize)
    return torch.equal(a, b) if bits is None else torch.equal(a.view(bits), b.view(bits))


def _same_quantisation(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether scales and zero points are equal. A quantised tensor viewed as bytes crashes torch."""
    if a.qscheme() != b.qscheme():
        return False
    if a.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return bool(a.q_scale() == b.q_scale() and a.q_zero_point() == b.q_zero_point())
    return (
        a.q_per_channel_axis() == b.q_per_channel_axis()
        and torch.equal(a.q_per_channel_scales(), b.q_per_channel_scales())
        and torch.equal(a.q_per_channel_zero_points(), b.q_per_channel_zero_points())
    )


class _CopyWrittenError(Exception):
    """A node wrote into a copy that several shadows share."""


class _Copies:
    """Values as they arrive over the wire. Most cross many cuts unchanged, and are copied once for all of them.

    Args:
        shared: whether shadows share copies, which is right as long as no node writes into one.
    """

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._known: dict[int, tuple[tuple[int, ...], Any, tuple[int, ...]]] = {}

    def receive(self, register: int, form: Form, value: Any) -> Any:
        """The copy of a register's value."""
        versions = _versions_of(value)
        known = self._known.get(register)
        if known is not None and known[0] == versions:
            return known[1]
        copy = received(form, value)
        if self._shared:
            self._known[register] = (versions, copy, _versions_of(copy))
        return copy

    def keep_only(self, live: Sequence[int]) -> None:
        """Forget other registers. Raises _CopyWrittenError where a copy was written to."""
        if any(_versions_of(copy) != versions for _, copy, versions in self._known.values()):
            raise _CopyWrittenError
        self._known = {register: self._known[register] for register in live if register in self._known}


@dataclass
class _Shadow:
    """A run from the values at one or several cuts, as they arrive over the wire."""

    registers: Registers
    cuts: list[int]


def _advance_shadows(
    program: Program,
    index: int,
    reference: Registers,
    shadows: Sequence[_Shadow],
    result: Examination,
    written: set[int],
    unsent: set[int],
) -> list[_Shadow]:
    """Run one node in every shadow; returns the shadows that have neither proved nor refuted their cuts yet.

    Args:
        written: registers that the node wrote to in the reference. No others are compared again, as most of the time
            was spent on comparing what had not changed.
        unsent: those of the cut before the node that have not crossed another cut yet.
    """
    live = program.live[index + 1]
    expected = _layout(reference, live)
    left: dict[tuple[Any, ...], _Shadow] = {}
    for shadow in shadows:
        before = _versions(shadow.registers, program.live[index])
        program.advance(shadow.registers, index)
        after = _versions(shadow.registers, live)
        changed = {r for r, version in after.items() if version != before.get(r)} | written
        if index in shadow.cuts:
            changed |= unsent
        compared = (r for r in live if r in changed)
        different = next((r for r in compared if not same_bits(reference[r], shadow.registers[r])), None)
        if different is not None:
            size = _size_of_difference(reference[different], shadow.registers[different])
            why = (
                f"its tail differs from the whole model: value {program.names[different]!r} after node "
                f"{index} ({program.steps[index].name!r}){size}"
            )
            result.refused.update(dict.fromkeys(shadow.cuts, why))
        elif (layout := _layout(shadow.registers, live)) != expected:
            left.setdefault(layout, _Shadow(shadow.registers, [])).cuts.extend(shadow.cuts)
    return list(left.values())


def _versions(registers: Registers, which: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Register -> how often each of its tensors, or one that it shares memory with, was written to."""
    return {register: _versions_of(registers[register]) for register in which}


def _versions_of(value: Any) -> tuple[int, ...]:
    return tuple(tensor._version for tensor in _tensors_in(value))  # noqa: SLF001  # the only counter of writes


def _size_of_difference(a: Any, b: Any) -> str:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor) or a.shape != b.shape or not a.numel():
        return ""
    if a.is_quantized or b.is_quantized:
        a, b = a.dequantize(), b.dequantize()
    if a.dtype.is_complex:
        return f", by up to {(a - b).abs().max().item():.1e}"
    return f", by up to {(a.double() - b.double()).abs().max().item():.1e}"


def _layout(registers: Registers, live: Sequence[int]) -> tuple[Any, ...]:
    """Strides, alignment and sharing of memory of the live tensors."""
    first: dict[int, tuple[int, int]] = {}
    layout = []
    for position, tensor in enumerate(t for register in live for t in _tensors_in(registers[register])):
        start = tensor.data_ptr()
        owner, base = first.setdefault(tensor.untyped_storage().data_ptr(), (position, start))
        layout.append((tensor.stride(), start % 64, owner, start - base))
    return tuple(layout)


def _tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors_in(item)


def _record_values(program: Program, cut: int, registers: Registers, result: Examination) -> None:
    """Record the forms of the values at a cut, and refuse the cut if one of them cannot be sent."""
    for register in program.live[cut]:
        if register not in result.forms and register not in result.unsendable:
            _record_value(register, registers[register], result)
        if register in result.unsendable:
            name = program.names[register]
            result.refused.setdefault(cut, f"{name!r}, which crosses here, is {result.unsendable[register]}")


def _record_value(register: int, value: Any, result: Examination) -> None:
    try:
        form = find_form(value)
    except GraphError as error:
        result.unsendable[register] = str(error)
        return
    result.forms[register] = form
    result.parts[register] = [part_sizes(part) for part in form.take_apart(value)]
    result.layouts[register] = layouts(value)


class _MemoryTracker:
    """Tracks which registers share memory, and which steps write into it in place (`Tensor._version` changes).

    The groups of registers are kept as a union-find forest: register -> its parent.
    """

    def __init__(self, program: Program, result: Examination) -> None:
        self._program = program
        self._result = result
        self._parent: dict[int, int] = {}
        self._versions: list[tuple[int, torch.Tensor, int]] = []
        self._writes: list[tuple[int, int]] = []

    def before_step(self, step: Step, registers: Registers) -> None:
        self._versions = [
            (register, tensor, tensor._version)  # noqa: SLF001  # the only counter of in-place writes there is
            for register in step.reads
            for tensor in _tensors_in(registers[register])
        ]

    def after_step(self, index: int, step: Step, out: Any) -> None:
        owners: dict[int, int] = {}
        for register, tensor, version in self._versions:
            if tensor._version != version:  # noqa: SLF001
                if register in self._program.constants:
                    name = self._program.constants[register] or "a constant"
                    raise GraphError(f"node {step.name!r} writes into {name}: a second run would differ from the first")
                self._writes.append((register, index))
            owners.setdefault(tensor.untyped_storage().data_ptr(), register)
            self._merge(owners[tensor.untyped_storage().data_ptr()], register)
        for tensor in _tensors_in(out):
            self._merge(owners.get(tensor.untyped_storage().data_ptr(), step.out), step.out)

    def finish(self) -> None:
        for register, step in self._writes:
            steps = self._result.writes.setdefault(self._root(register), [])
            if step not in steps:
                steps.append(step)
        self._result.group.update({register: self._root(register) for register in self._parent})

    def _root(self, register: int) -> int:
        while self._parent.setdefault(register, register) != register:
            register = self._parent[register]
        return register

    def _merge(self, a: int, b: int) -> None:
        self._parent[self._root(a)] = self._root(b)
