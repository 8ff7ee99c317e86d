"""A captured model that can be cut anywhere: `partition` makes it, `Partition` runs it."""

from __future__ import annotations

import itertools
import time
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

import structlog
import torch
from torch.utils import _pytree as pytree

from midcut.config.settings import Capture, Order
from midcut.errors import CutError, GraphError
from midcut.graph.capture import capture
from midcut.graph.crossing import PLAIN
from midcut.graph.features import describe_nodes
from midcut.graph.fingerprint import fingerprint
from midcut.graph.ordering import reorder
from midcut.graph.probe import probe
from midcut.graph.shapes import ExpectedValue, check_values, learn_batch
from midcut.graph.verify import examine, same_bits
from midcut.planning.cuts import legal_cuts
from midcut.types import Cut, CutTable, ValueSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midcut.config.settings import CutSettings
    from midcut.graph.crossing import Form
    from midcut.graph.program import Program
    from midcut.graph.shapes import Growth
    from midcut.graph.verify import Examination
    from midcut.types import LoadedModel, Probe

log = structlog.get_logger(__name__)
_LOGGED_REASONS: Final = 3


class Partition:
    """A captured model of which any consecutive part can be run.

    It shares the module's parameters and keeps no state between calls, so several threads may use it at once.

    Attributes:
        table: every cut, with the values that cross it.
        legal: the cuts on offer, ascending.
        refused: cut -> why it cannot be offered under any config.
    """

    def __init__(
        self,
        program: Program,
        table: CutTable,
        legal: tuple[int, ...],
        expected: Sequence[tuple[ExpectedValue, ...]],
        forms: Mapping[int, Form],
        structure: Any,
        example: Sequence[torch.Tensor],
    ) -> None:
        self.table = table
        self.legal = legal
        self.refused: Mapping[int, str] = {cut.index: cut.refused for cut in table.cuts if cut.refused}
        self._program = program
        self._expected = tuple(expected)
        self._forms = forms
        # Cut -> forms of the values crossing it; None where all cross as they are, which is most often the case.
        self._forms_at = tuple(_forms_at(registers, forms) for registers in program.live)
        self._structure = structure
        self._example = tuple(example)

    @property
    def node_count(self) -> int:
        return len(self._program)

    @cached_property
    def probe(self) -> Probe | None:
        """What the whole model answers to a fixed input, to be compared with the other side's. Runs the model once."""
        return probe(partial(self.tail, 0), self._example)

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
        return pytree.tree_unflatten(pytree.tree_leaves(self._program.output_leaves(values)), self._structure)

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
        Partition.__init__(
            other, program, self.table, self.legal, self._expected, self._forms, self._structure, self._example
        )

    def warm_up(self) -> None:
        """Run every node once on zeros, because the first run of each thread is far slower than the next."""
        specs = self.table.cuts[0].values
        try:
            self.tail(0, [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs])
        except Exception as error:  # noqa: BLE001 - zeros may not be a valid input; real requests still work
            log.info("warm-up failed", model=self.table.model, reason=str(error))


def partition(model: LoadedModel, settings: CutSettings) -> Partition:
    """Capture a model, verify its cuts, and select those that the config allows.

    If the configured tracer fails, or its graph does not give the module's output, the other tracer is tried.

    Raises:
        GraphError: neither tracer can capture the model.
        ConfigError: the config allows no cut.
    """
    other = Capture.export if settings.capture is Capture.fx else Capture.fx
    reasons = []
    for how in (settings.capture, other):
        try:
            captured = _partition_by(model, settings, how)
        except GraphError as error:
            reasons.append(f"{how.value}: {error}")
            log.warning("capture failed", model=model.name, capture=how.value, reason=str(error))
        else:
            _log_refused(captured)
            return captured
    raise GraphError(f"model {model.name!r} cannot be captured; {'; '.join(reasons)}")


def _partition_by(model: LoadedModel, settings: CutSettings, how: Capture) -> Partition:
    if model.module.training:
        raise GraphError("the module is in training mode; call eval() first")
    program = capture(model.module, model.example, how)
    if len(program.live[0]) != len(model.example):
        raise GraphError(f"the graph uses {len(program.live[0])} of the model's {len(model.example)} inputs")
    examination = _examine(program, model, settings)
    if settings.order is Order.narrow:
        nodes = describe_nodes(program, examination, model.module, model.example)
        program = reorder(program, examination, nodes)
        examination = _examine(program, model, settings)
    structure, forward_s = _compare_with_module(program, examination, model)
    program.protect(examination.group, examination.writes)
    growth = learn_batch(program, model.example, examination, forward_s)
    of_register = {register: _expected_parts(register, program, examination, growth) for register in growth}
    expected = [
        tuple(part for register in registers for part in of_register.get(register, ())) for registers in program.live
    ]
    cuts = _make_cuts(program, examination, expected)
    graph, weights = fingerprint(program, cuts, model.module)
    table = CutTable(
        model=model.name,
        capture=how.value,
        nodes=describe_nodes(program, examination, model.module, model.example),
        cuts=cuts,
        graph=graph,
        weights=weights,
    )
    return Partition(program, table, legal_cuts(table, settings), expected, examination.forms, structure, model.example)


def _forms_at(registers: Sequence[int], forms: Mapping[int, Form]) -> tuple[Form, ...] | None:
    found = tuple(forms.get(register, PLAIN) for register in registers)
    return None if all(form is PLAIN for form in found) else found


def _put_together(forms: Sequence[Form], parts: Sequence[Any]) -> tuple[Any, ...]:
    left = iter(parts)
    return tuple([form.put_together(left) for form in forms])


def _take_apart(forms: Sequence[Form], values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple([part for form, value in zip(forms, values, strict=True) for part in form.take_apart(value)])


def _expected_parts(
    register: int, program: Program, examination: Examination, growth: Growth
) -> tuple[ExpectedValue, ...]:
    suffixes = examination.forms[register].suffixes
    parts = zip(suffixes, examination.parts[register], growth[register], strict=True)
    name = program.names[register]
    return tuple(ExpectedValue(f"{name}{suffix}", dtype, sizes, grown) for suffix, (dtype, sizes), grown in parts)


def _log_refused(partition: Partition) -> None:
    refused = partition.refused
    if refused:
        first = dict(itertools.islice(refused.items(), _LOGGED_REASONS))
        log.warning("cuts not offered", model=partition.table.model, count=len(refused), cuts=first)


def _examine(program: Program, model: LoadedModel, settings: CutSettings) -> Examination:
    state = [*model.module.parameters(), *model.module.buffers()]
    versions = [tensor._version for tensor in state]  # noqa: SLF001  # the only counter of in-place writes there is
    try:
        examination = examine(program, model.example, verify=settings.verify)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError) as error:
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise GraphError(f"the captured graph does not run: {first_line}") from error
    if versions != [tensor._version for tensor in state]:  # noqa: SLF001
        raise GraphError("the model changes its own parameters or buffers while it runs")
    last = len(program)
    if last in examination.refused:
        raise GraphError(f"the model's output cannot be sent: {examination.refused[last]}")
    return examination


def _compare_with_module(program: Program, examination: Examination, model: LoadedModel) -> tuple[Any, float]:
    """Compare the graph's output with the module's; returns the structure of the output and the module's seconds."""
    inputs = [value.detach().clone() for value in model.example]
    started = time.perf_counter()
    with torch.no_grad():
        output = model.module(*inputs)
    forward_s = time.perf_counter() - started
    leaves, structure = pytree.tree_flatten(output)
    if not same_bits(pytree.tree_leaves(program.output_leaves(examination.output)), leaves):
        raise GraphError("the captured graph does not give the module's own output bit for bit")
    return structure, forward_s


def _make_cuts(
    program: Program, examination: Examination, expected: Sequence[tuple[ExpectedValue, ...]]
) -> tuple[Cut, ...]:
    cuts = []
    layer = 0
    for index, values in enumerate(expected):
        ends = index > 0 and program.steps[index - 1].ends_module
        layer += ends
        specs = tuple(ValueSpec(v.name, v.dtype, () if v.dtype == "int" else v.sizes) for v in values)
        cuts.append(Cut(index, layer, ends, specs, examination.refused.get(index, "")))
    return tuple(cuts)
