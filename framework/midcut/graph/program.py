"""A captured graph as a flat list of instructions with bound arguments, so that a cut is a position in that list."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from midcut.graph.crossing import own_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from midcut.graph.content import ContentHash

Registers: TypeAlias = list[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One node, its arguments bound to registers when the graph was captured.

    Attributes:
        name: unique in the graph.
        op: name of the operation, for people.
        module: qualified name of the leaf module that the node belongs to, `""` where there is none.
        describe: adds all that decides what the node computes to a hash, for the fingerprint.
        call: computes the node's value from the registers.
        reads: registers that the node reads, including constants.
        out: register that the node's value is stored in.
        ends_module: whether it is the last node of one call of a leaf module.
    """

    name: str
    op: str
    module: str
    describe: Callable[[ContentHash], None]
    call: Callable[[Registers], Any]
    reads: tuple[int, ...]
    out: int
    ends_module: bool


class Program:
    """Runs any consecutive part of the graph. It refers to the module's parameters and never copies them.

    Registers 0 to I-1 are the inputs; the others hold constants and the values of nodes. Each run has its own list of
    registers, so concurrent runs share nothing but the constants.

    Attributes:
        steps: the nodes in execution order, N of them.
        inputs: names of the inputs.
        names: register -> the name of the node or input whose value it holds.
        live: for every cut 0..N the registers whose values cross it, in execution order; at N those of the output.
        output: the flattened output: registers, and constants wrapped in a 1-tuple.
        opaque: classes of modules with parts of their own that are one node each.
        copies: for every cut the registers to copy when `run` starts there, each with the step that first writes to it.
        encode: writes the graph for `CaptureCache`; None for a graph that is quicker captured again.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        inputs: Sequence[str],
        initial_registers: Registers,
        constants: Mapping[int, str],
        output: Sequence[int | tuple[Any]],
        opaque: Sequence[str] = (),
        encode: Callable[[], tuple[list[Any], dict[str, torch.Tensor]]] | None = None,
    ) -> None:
        self.steps = tuple(steps)
        self.inputs = tuple(inputs)
        self.constants = dict(constants)
        self.output = tuple(output)
        self.opaque = tuple(opaque)
        self.encode = encode
        self.names = dict(enumerate(inputs)) | {step.out: step.name for step in steps}
        self._initial_registers = list(initial_registers)
        self.live = self._find_live()
        self._instructions = [
            (step.call, step.out, dead) for step, dead in zip(self.steps, self._find_dead(), strict=True)
        ]
        self.copies: tuple[tuple[tuple[int, int], ...], ...] = ((),) * len(self.live)

    def __len__(self) -> int:
        return len(self.steps)

    def _find_live(self) -> tuple[tuple[int, ...], ...]:
        outputs = tuple(dict.fromkeys(entry for entry in self.output if isinstance(entry, int)))
        needed = set(outputs)
        live = [outputs]
        for step in reversed(self.steps):
            needed.discard(step.out)
            needed.update(register for register in step.reads if register in self.names)
            live.append(tuple(sorted(needed)))  # registers are numbered in execution order
        return tuple(reversed(live))

    def _find_dead(self) -> list[tuple[int, ...]]:
        """For every step the registers that no later step needs."""
        dead = []
        for index, step in enumerate(self.steps):
            touched = {register for register in step.reads if register in self.names} | {step.out}
            dead.append(tuple(sorted(touched - set(self.live[index + 1]))))
        return dead

    def reordered(self, order: Sequence[int]) -> Program:
        """The same steps in another order, in which each still comes after those whose values it reads."""
        steps = [self.steps[index] for index in order]
        return Program(
            steps, self.inputs, self._initial_registers, self.constants, self.output, self.opaque, self.encode
        )

    def copy(self) -> Program:
        """The same program, whose `protect` is its own."""
        return self.reordered(range(len(self)))

    def protect(self, group: Mapping[int, int], writes: Mapping[int, Sequence[int]]) -> None:
        """Make `run` copy each value it is given that an in-place step would overwrite.

        Args:
            group: register -> id of the group of registers that share its memory.
            writes: group id -> the steps that write into that memory, ascending.
        """
        copies = []
        for cut, registers in enumerate(self.live):
            overwritten = []
            for register in registers:
                steps = writes.get(group.get(register, -1), ())
                later = bisect_left(steps, cut)
                if later < len(steps):
                    overwritten.append((register, steps[later]))
            copies.append(tuple(overwritten))
        self.copies = tuple(copies)

    def protect_like(self, other: Program) -> None:
        """Make `run` copy the same values as in another capture of the same graph."""
        self.copies = other.copies

    def load(self, cut: int, values: Iterable[Any]) -> Registers:
        """The registers for a run that starts at `cut`."""
        registers = self._initial_registers.copy()
        for register, value in zip(self.live[cut], values, strict=True):
            registers[register] = value
        return registers

    def advance(self, registers: Registers, index: int) -> None:
        """Run one step on these registers and drop the values that no later step needs."""
        step = self.steps[index]
        registers[step.out] = step.call(registers)
        self.drop(registers, index)

    def drop(self, registers: Registers, index: int) -> None:
        """Drop the values that no step after `index` needs."""
        for register in self._instructions[index][2]:
            registers[register] = None

    def run(self, start: int, stop: int, values: Sequence[Any]) -> tuple[Any, ...]:
        """Run nodes start..stop-1.

        Args:
            start: a cut.
            stop: a cut, not before `start`.
            values: those that cross `start`; never written to.

        Returns:
            the values that cross `stop`.
        """
        registers = self.load(start, values)
        for register, first_write in self.copies[start]:
            if first_write < stop:
                registers[register] = own_copy(registers[register])
        if not torch.is_grad_enabled():  # on a server's threads for tails; saying so takes a part of a short tail
            return self._advance_all(registers, start, stop)
        with torch.no_grad():
            return self._advance_all(registers, start, stop)

    def _advance_all(self, registers: Registers, start: int, stop: int) -> tuple[Any, ...]:
        for call, out, dead in self._instructions[start:stop]:
            registers[out] = call(registers)
            for register in dead:
                registers[register] = None
        return tuple([registers[register] for register in self.live[stop]])

    def output_leaves(self, values: Sequence[Any]) -> list[Any]:
        """The flattened output, made from the values at the last cut."""
        by_register = dict(zip(self.live[-1], values, strict=True))
        return [by_register[entry] if isinstance(entry, int) else entry[0] for entry in self.output]
