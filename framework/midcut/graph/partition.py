"""A model made ready to be cut anywhere."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
import torch
from torch.utils import _pytree as pytree

from midcut.config.settings import Capture
from midcut.errors import CutError, GraphError
from midcut.graph.batch import Expected, check, growth
from midcut.graph.capture import capture
from midcut.graph.fingerprint import graph_hash, weights_hash
from midcut.graph.verify import examine, same_bits
from midcut.planning.cuts import legal_cuts
from midcut.types import Cut, CutTable, Node, ValueSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midcut.config.settings import CutSettings
    from midcut.graph.program import Program
    from midcut.graph.verify import Examination
    from midcut.types import LoadedModel

log = structlog.get_logger(__name__)
_REASONS_TOLD: Final = 3


class Partition:
    """A captured model: its cuts, and any stretch of it ready to run.

    Threads may call it at once. It shares the module's parameters and keeps no state between calls.

    Attributes:
        table: every cut, with what crosses it.
        legal: the cuts on offer, ascending.
        refused: cut -> why it is not offered, whatever the config says.
    """

    def __init__(
        self,
        program: Program,
        table: CutTable,
        legal: tuple[int, ...],
        expected: Sequence[tuple[Expected, ...]],
        structure: Any,
    ) -> None:
        self.table = table
        self.legal = legal
        self.refused: Mapping[int, str] = {cut.index: cut.refused for cut in table.cuts if cut.refused}
        self._program = program
        self._expected = tuple(expected)
        self._structure = structure

    @property
    def node_count(self) -> int:
        return len(self._program)

    def run(self, start: int, stop: int, values: Sequence[Any]) -> tuple[Any, ...]:
        """Run nodes start..stop-1.

        Args:
            start, stop: cuts, `start` not after `stop`.
            values: what is live at `start`, in the order of its `Cut.values`; never written to.

        Returns:
            what is live at `stop`.

        Raises:
            CutError: no such stretch.
        """
        if not 0 <= start <= stop <= self.table.last:
            raise CutError(f"model {self.table.model!r} has cuts 0 to {self.table.last}, got {start} to {stop}")
        return self._program.run(start, stop, values)

    def walk(self, inputs: Sequence[torch.Tensor]) -> Iterator[None]:
        """Run the whole graph on the model's inputs, pausing after each node: for timing them in place.

        The inputs are copied first. Wrap the loop in `torch.no_grad()`, as `run` does for itself.
        """
        registers = self._program.load(0, [value.clone() for value in inputs])
        for index in range(len(self._program)):
            self._program.advance(registers, index)
            yield

    def head(self, cut: int, inputs: Sequence[torch.Tensor]) -> tuple[Any, ...]:
        """Run what lies before the cut on the model's inputs; returns the payload."""
        return self.run(0, cut, inputs)

    def tail(self, cut: int, values: Sequence[Any]) -> tuple[Any, ...]:
        """Run what lies after the cut on the payload; returns the values at the last cut."""
        return self.run(cut, self.table.last, values)

    def assemble(self, values: Sequence[Any]) -> Any:
        """Put the values at the last cut into the structure the unsplit model returns."""
        return pytree.tree_unflatten(self._program.output_leaves(values), self._structure)

    def check_values(self, cut: int, values: Sequence[Any]) -> None:
        """Check what is about to enter the graph at a cut; the batch size is free.

        Raises:
            CutError: no such cut.
            MalformedError: count, dtype or shape do not fit.
        """
        if not 0 <= cut <= self.table.last:
            raise CutError(f"model {self.table.model!r} has cuts 0 to {self.table.last}, got {cut}")
        if cut in self.refused:
            raise CutError(f"cut {cut} of model {self.table.model!r} is not offered: {self.refused[cut]}")
        check(values, self._expected[cut], f"cut {cut} of model {self.table.model!r}")

    def check_inputs(self, inputs: Sequence[Any]) -> None:
        """Check the model's inputs, whether cut 0 is on offer or not; the batch size is free.

        Raises:
            MalformedError: count, dtype or shape do not fit.
        """
        check(inputs, self._expected[0], f"model {self.table.model!r}")

    def expected(self, cut: int) -> tuple[Expected, ...]:
        """How each value at a cut grows with the batch."""
        return self._expected[cut]

    def share(self, program: Program, other: Partition) -> None:
        """Make another partition of this one's cuts and checks, with another capture of the same graph."""
        program.protect_like(self._program)
        Partition.__init__(other, program, self.table, self.legal, self._expected, self._structure)

    def warm_up(self) -> None:
        """Run every node once on zeros, on the calling thread: a thread's first run is far slower than the next."""
        specs = self.table.cuts[0].values
        try:
            self.tail(0, [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs])
        except Exception as error:  # noqa: BLE001 - zeros may be no input of this model; requests bring real ones
            log.info("not warmed up", model=self.table.model, reason=str(error))


def partition(model: LoadedModel, settings: CutSettings) -> Partition:
    """Capture a model, compare its cuts with the whole, and narrow them down by config.

    The configured tracer is tried first, the other one where it fails or does not give the module's
    own output.

    Raises:
        GraphError: neither tracer can take the model.
        ConfigError: the config leaves no cut.
    """
    other = Capture.export if settings.capture is Capture.fx else Capture.fx
    reasons = []
    for how in (settings.capture, other):
        try:
            made = _partition(model, settings, how)
        except GraphError as error:
            reasons.append(f"{how.value}: {error}")
            log.warning("capture_failed", model=model.name, capture=how.value, reason=str(error))
        else:
            _tell_refused(made)
            return made
    raise GraphError(f"model {model.name!r} cannot be captured; {'; '.join(reasons)}")


def _partition(model: LoadedModel, settings: CutSettings, how: Capture) -> Partition:
    if model.module.training:
        raise GraphError("the module is in training mode; call eval() first")
    program = capture(model.module, model.example, how)
    if len(program.live[0]) != len(model.example):
        raise GraphError(f"the graph uses {len(program.live[0])} of the model's {len(model.example)} inputs")
    found = _examine(program, model, settings)
    structure, forward_s = _compare_whole(program, found, model)
    program.protect(found.group, found.writes)
    grows = growth(program, model.example, found.sizes, forward_s)
    expected = [
        tuple(
            Expected(program.names[r], found.sizes[r][0], found.sizes[r][1], grows[r])
            for r in registers
            if r in found.sizes
        )
        for registers in program.live
    ]
    cuts = _cuts(program, found, expected)
    table = CutTable(
        model=model.name,
        capture=how.value,
        nodes=tuple(Node(step.name, step.op, step.module) for step in program.steps),
        cuts=cuts,
        graph=graph_hash(program, cuts),
        weights=weights_hash(model.module),
    )
    return Partition(program, table, legal_cuts(table, settings), expected, structure)


def _tell_refused(made: Partition) -> None:
    if made.refused:
        first = dict(itertools.islice(made.refused.items(), _REASONS_TOLD))
        log.warning("cuts not offered", model=made.table.model, count=len(made.refused), cuts=first)


def _examine(program: Program, model: LoadedModel, settings: CutSettings) -> Examination:
    state = [*model.module.parameters(), *model.module.buffers()]
    before = [tensor._version for tensor in state]  # noqa: SLF001  # the only counter of in-place writes there is
    try:
        found = examine(program, model.example, verify=settings.verify)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise GraphError(f"the captured graph does not run: {line}") from error
    if before != [tensor._version for tensor in state]:  # noqa: SLF001
        raise GraphError("the model changes its own parameters or buffers while it runs")
    last = len(program)
    if last in found.refused:
        raise GraphError(f"the model's output cannot be sent: {found.refused[last]}")
    return found


def _compare_whole(program: Program, found: Examination, model: LoadedModel) -> tuple[Any, float]:
    """Compare with the module itself; returns the structure of its output and the seconds it took."""
    inputs = [value.detach().clone() for value in model.example]
    started = time.perf_counter()
    with torch.no_grad():
        whole = model.module(*inputs)
    forward_s = time.perf_counter() - started
    leaves, structure = pytree.tree_flatten(whole)
    if not same_bits(program.output_leaves(found.output), leaves):
        raise GraphError("the captured graph does not give the module's own output bit for bit")
    return structure, forward_s


def _cuts(program: Program, found: Examination, expected: Sequence[tuple[Expected, ...]]) -> tuple[Cut, ...]:
    cuts = []
    layer = 0
    for index, values in enumerate(expected):
        ends = index > 0 and program.steps[index - 1].ends_module
        layer += ends
        specs = tuple(ValueSpec(v.name, v.dtype, () if v.dtype == "int" else v.sizes) for v in values)
        cuts.append(Cut(index, layer, ends, specs, found.refused.get(index, "")))
    return tuple(cuts)
