"""A captured model of which any consecutive part can be run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import structlog
import torch
from torch.utils import _pytree as pytree

from midcut.errors import CutError
from midcut.graph.crossing import PLAIN
from midcut.graph.probe import probe
from midcut.graph.traceable import make_traceable
from midcut.graph.values import check_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from midcut.graph.crossing import Form
    from midcut.graph.program import Program
    from midcut.graph.sizes import Shapes, SizedPartitions
    from midcut.graph.values import ExpectedValue
    from midcut.types import CutTable, Probe, Traceable

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Captured:
    """What is known of a model after it was captured and its cuts were verified.

    Attributes:
        program: runs it.
        table: its cuts.
        expected: for every cut what the values crossing it must look like.
        forms: register -> how its value crosses.
        structure: of the output.
        example: the model's inputs.
        any_batch: whether it was captured for any batch size.
        settled: whether the module is the same before and after its first call.
    """

    program: Program
    table: CutTable
    expected: Sequence[tuple[ExpectedValue, ...]]
    forms: Mapping[int, Form]
    structure: pytree.TreeSpec
    example: tuple[torch.Tensor, ...]
    any_batch: bool = True
    settled: bool = False


class Partition:
    """A captured model of which any consecutive part can be run.

    It shares the module's parameters and keeps no state between calls, so several threads may use it at once.

    Attributes:
        table: every cut, with the values that cross it.
        legal: the cuts on offer, ascending.
        refused: cut -> why it cannot be offered under any config.
        captured: what it was made of.
        resized: whether it is for inputs of exactly the shapes that its table has, which are not the example's.
        sizes: makes those for inputs of other sizes; None where there are none.
        pictures: see `midcut.protocols.PicturedNetwork`; None where the model's preprocessing is not known.
        weights: see `midcut.protocols.WeightedNetwork`.
    """

    sizes: SizedPartitions | None = None
    pictures: Callable[[str, int, str], list[tuple[Any, ...]]] | None = None
    weights: Sequence[torch.Tensor] = ()

    def __init__(self, captured: Captured, legal: tuple[int, ...], *, resized: bool = False) -> None:
        self.resized = resized
        self.captured = captured
        self.table = captured.table
        self.legal = legal
        self.refused: Mapping[int, str] = {cut.index: cut.refused for cut in self.table.cuts if cut.refused}
        self._program = captured.program
        self._expected = captured.expected
        # Cut -> forms of the values crossing it; None where all cross as they are, which is most often the case.
        self._forms_at = tuple(_forms_at(registers, captured.forms) for registers in self._program.live)

    @property
    def example(self) -> tuple[torch.Tensor, ...]:
        """Valid inputs of batch size 1."""
        return self.captured.example

    @property
    def node_count(self) -> int:
        return len(self._program)

    @cached_property
    def probe(self) -> Probe | None:
        """What the whole model answers to a fixed input, to be compared with the other side's. Runs the model once."""
        return probe(partial(self.tail, 0), self.captured.example)

    def run(self, start: int, stop: int, values: Sequence[Any]) -> tuple[Any, ...]:
        """Run nodes start..stop-1.

        Args:
            start, stop: cuts, `start` not after `stop`.
            values: those that cross `start`, in the order of its `Cut.values`; never written to.

        Returns:
            the values that cross `stop`.

        Raises:
            CutError: there are no such cuts, or `start` is after `stop`.
        """
        if not 0 <= start <= stop <= self.table.last:
            raise CutError(f"model {self.table.model!r} has cuts 0 to {self.table.last}, got {start} to {stop}")
        into, out = self._forms_at[start], self._forms_at[stop]
        if into is not None:
            values = _put_together(into, values)
        values = self._program.run(start, stop, values)
        return tuple(values) if out is None else _take_apart(out, values)

    def walk(self, inputs: Sequence[torch.Tensor]) -> Iterator[None]:
        """Run the whole graph on the model's inputs and yield after each node, so that a caller can time the nodes.

        The inputs are copied first. The caller must iterate inside `torch.no_grad()`.
        """
        registers = self._program.load(0, [value.clone() for value in inputs])
        for index in range(len(self._program)):
            self._program.advance(registers, index)
            yield

    def each_payload(self, inputs: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
        """Run the model once on its inputs; yields each legal cut but the last, and the values that cross it."""
        values, at = tuple(inputs), 0
        with torch.inference_mode():
            for cut in self.legal:
                if cut == self.table.last:
                    break
                values, at = self.run(at, cut, values), cut
                yield cut, values

    def head(self, cut: int, inputs: Sequence[torch.Tensor]) -> tuple[Any, ...]:
        """Run the nodes before the cut on the model's inputs; returns the values that cross the cut."""
        return self.run(0, cut, inputs)

    def tail(self, cut: int, values: Sequence[Any]) -> tuple[Any, ...]:
        """Run the nodes after the cut on the values that cross it; returns the values at the last cut."""
        return self.run(cut, self.table.last, values)

    def assemble(self, values: Sequence[Any]) -> Any:
        """Put the values at the last cut into the structure that the unsplit model returns."""
        forms = self._forms_at[-1]
        if forms is not None:
            values = _put_together(forms, values)
        return pytree.tree_unflatten(pytree.tree_leaves(self._program.output_leaves(values)), self.captured.structure)

    def for_shapes(self, shapes: Shapes) -> Partition | None:
        """The partition for inputs of these shapes: itself, one for other sizes, or None while that has to be made.

        Args:
            shapes: of the inputs, with their batch dimension.

        Raises:
            MalformedError: the model takes several sizes, and not these.
        """
        if self.sizes is None or self._has_example_sizes(shapes):
            return self
        return self.sizes.find(shapes)

    def make_for_shapes(self, shapes: Shapes) -> Partition:
        """The same, made now, which takes some runs of the model. Raises MalformedError likewise."""
        found = self.for_shapes(shapes)
        return self.sizes.make(shapes) if found is None and self.sizes is not None else found or self

    def end_tables(self) -> list[CutTable]:
        """The cuts as the example and as the largest inputs have them, for limits in bytes."""
        if self.sizes is None:
            return [self.table]
        largest = self.make_for_shapes(tuple((1, *entry.largest) for entry in self.table.ranges))
        return [self.table, largest.table]

    def _has_example_sizes(self, shapes: Shapes) -> bool:
        """Whether the shapes are those of the example, for some batch size, or none are stated."""
        sizes = [spec.shape[1:] for spec in self.table.cuts[0].values]
        return not shapes or [tuple(shape[1:]) for shape in shapes] == sizes

    def check_values(self, cut: int, values: Sequence[Any]) -> None:
        """Check values that are to enter the graph at a cut; any batch size is allowed.

        Raises:
            CutError: there is no such cut, or it cannot be offered.
            MalformedError: count, dtype or shape do not fit.
        """
        if not 0 <= cut <= self.table.last:
            raise CutError(f"model {self.table.model!r} has cuts 0 to {self.table.last}, got {cut}")
        if cut in self.refused:
            raise CutError(f"cut {cut} of model {self.table.model!r} is not offered: {self.refused[cut]}")
        check_values(values, self._expected[cut], f"cut {cut} of model {self.table.model!r}")

    def check_inputs(self, inputs: Sequence[Any]) -> None:
        """Check the model's inputs, whether or not cut 0 is on offer; any batch size is allowed.

        Raises:
            MalformedError: count, dtype or shape do not fit.
        """
        check_values(inputs, self._expected[0], f"model {self.table.model!r}")

    def expected(self, cut: int) -> tuple[ExpectedValue, ...]:
        """Shapes of the values at a cut, and how they grow with the batch size."""
        return self._expected[cut]

    def share(self, program: Program, other: Partition) -> None:
        """Initialise another partition with the cuts and checks of this one and another capture of the same graph."""
        program.protect_like(self._program)
        Partition.__init__(other, replace(self.captured, program=program), self.legal, resized=self.resized)

    def traceable(self) -> Traceable:
        """The program as a module that can be exported."""
        return make_traceable(self._program, self.captured.forms, self.captured.example)

    def warm_up(self, run: Callable[[Sequence[Any]], object] | None = None) -> None:
        """Run every node once on zeros, because the first run of each thread is far slower than the next.

        Args:
            run: runs the whole model on its inputs; None runs it in PyTorch.
        """
        specs = self.table.cuts[0].values
        try:
            zeros = [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs]
            self.tail(0, zeros) if run is None else run(zeros)
        except Exception as error:  # noqa: BLE001 - zeros may not be a valid input; real requests still work
            log.info("warm-up failed", model=self.table.model, reason=str(error))


def _forms_at(registers: Sequence[int], forms: Mapping[int, Form]) -> tuple[Form, ...] | None:
    found = tuple(forms.get(register, PLAIN) for register in registers)
    return None if all(form is PLAIN for form in found) else found


def _put_together(forms: Sequence[Form], parts: Sequence[Any]) -> tuple[Any, ...]:
    left = iter(parts)
    return tuple([form.put_together(left) for form in forms])


def _take_apart(forms: Sequence[Form], values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple([part for form, value in zip(forms, values, strict=True) for part in form.take_apart(value)])
