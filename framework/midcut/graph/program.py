"""A captured graph as a flat list of ready instructions, so that any cut is just a position in it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Registers: TypeAlias = list[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One node, its arguments bound to registers when the graph was captured.

    Attributes:
        name: unique in the graph.
        op: what runs, in words.
        module: qualified name of the leaf module it belongs to, `""` where there is none.
        signature: op and argument structure as text, equal in every process; for the fingerprint.
        call: computes the node from the registers.
        reads: registers it reads, constants included.
        out: register it writes.
        ends_module: whether it is the last node of one pass through a leaf module.
    """

    name: str
    op: str
    module: str
    signature: str
    call: Callable[[Registers], Any]
    reads: tuple[int, ...]
    out: int
    ends_module: bool


class Program:
    """Runs any stretch of the graph. Holds references to the module's parameters, never copies.

    Registers 0 to I-1 are the inputs; the others hold constants and what the nodes make. A run copies
    the list of registers (pointers), so concurrent runs share nothing but the constants.

    Attributes:
        steps: the nodes in execution order, N of them.
        inputs: names of the inputs.
        names: register -> the name of the node or input that fills it.
        live: for every cut 0..N the registers that cross it, in order of production; at N the
            output's values.
        output: the flat output: a register, or a constant wrapped in a 1-tuple.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        inputs: Sequence[str],
        template: Registers,
        constants: Mapping[int, str],
        output: Sequence[int | tuple[Any]],
    ) -> None:
        self.steps = tuple(steps)
        self.inputs = tuple(inputs)
        self.constants = dict(constants)
        self.output = tuple(output)
        self.names = dict(enumerate(inputs)) | {step.out: step.name for step in steps}
        self._template = list(template)
        self.live = self._liveness()
        self._frees = self._last_uses()
        self._fast = [(step.call, step.out, free) for step, free in zip(self.steps, self._frees, strict=True)]
        self._copies: tuple[tuple[tuple[int, int], ...], ...] = ((),) * len(self.live)

    def __len__(self) -> int:
        return len(self.steps)

    def _liveness(self) -> tuple[tuple[int, ...], ...]:
        outputs = tuple(dict.fromkeys(entry for entry in self.output if isinstance(entry, int)))
        needed = set(outputs)
        live = [outputs]
        for step in reversed(self.steps):
            needed.discard(step.out)
            needed.update(register for register in step.reads if register in self.names)
            live.append(tuple(sorted(needed)))  # registers are numbered in order of production
        return tuple(reversed(live))

    def _last_uses(self) -> list[tuple[int, ...]]:
        frees = []
        for index, step in enumerate(self.steps):
            touched = {register for register in step.reads if register in self.names} | {step.out}
            frees.append(tuple(sorted(touched - set(self.live[index + 1]))))
        return frees

    def protect(self, group: Mapping[int, int], writes: Mapping[int, Sequence[int]]) -> None:
        """Say which nodes write in place, so that `run` copies a value before it would be written.

        Args:
            group: register -> id of the registers it shares memory with.
            writes: group id -> the steps that write into that memory, ascending.
        """
        copies = []
        for cut, registers in enumerate(self.live):
            entry = []
            for register in registers:
                steps = writes.get(group.get(register, -1), ())
                later = bisect_left(steps, cut)
                if later < len(steps):
                    entry.append((register, steps[later]))
            copies.append(tuple(entry))
        self._copies = tuple(copies)

    def protect_like(self, other: Program) -> None:
        """Copy where another capture of the same graph copies."""
        self._copies = other._copies

    def load(self, cut: int, values: Iterable[Any]) -> Registers:
        """Make the registers for a run that starts at `cut`."""
        registers = self._template.copy()
        for register, value in zip(self.live[cut], values, strict=True):
            registers[register] = value
        return registers

    def advance(self, registers: Registers, index: int) -> None:
        """Run one step on these registers and drop what nothing needs any more."""
        step = self.steps[index]
        registers[step.out] = step.call(registers)
        self.drop(registers, index)

    def drop(self, registers: Registers, index: int) -> None:
        """Forget what no step after `index` needs."""
        for register in self._fast[index][2]:
            registers[register] = None

    def run(self, start: int, stop: int, values: Sequence[Any]) -> tuple[Any, ...]:
        """Run nodes start..stop-1.

        Args:
            start: a cut.
            stop: a cut, not before `start`.
            values: what is live at `start`. Never written to.

        Returns:
            what is live at `stop`.
        """
        registers = self.load(start, values)
        for register, first_write in self._copies[start]:
            if first_write < stop:
                registers[register] = registers[register].clone()
        with torch.no_grad():
            for call, out, frees in self._fast[start:stop]:
                registers[out] = call(registers)
                for register in frees:
                    registers[register] = None
        return tuple([registers[register] for register in self.live[stop]])

    def output_leaves(self, values: Sequence[Any]) -> list[Any]:
        """Spread the values at the last cut over the flat output."""
        by_register = dict(zip(self.live[-1], values, strict=True))
        return [by_register[entry] if isinstance(entry, int) else entry[0] for entry in self.output]
