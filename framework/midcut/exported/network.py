"""An exported model as a network whose segments run in ONNX Runtime, in place of a captured one in PyTorch."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from midcut.errors import CutError, ExecutorError, GraphError
from midcut.exported.sessions import Sessions
from midcut.graph.outputs import NamedOutputs
from midcut.graph.probe import probe
from midcut.graph.values import ExpectedValue, check_values
from midcut.planning.cuts import legal_cuts
from midcut.tensors import to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from midcut.config.settings import CutSettings
    from midcut.exported.folder import ExportedFolder
    from midcut.types import Probe

log = structlog.get_logger(__name__)


class ExportedNetwork:
    """Has what an edge uses of `midcut.graph.Partition`: table, cuts, checks, and heads and tails that run.

    Args:
        folder: of the model.
        settings: which of its cuts are offered.

    Raises:
        ConfigError: no cut is left.
        ExecutorError: ONNX Runtime is not installed.
    """

    has_torch = False
    resized = False
    sizes = None

    def __init__(self, folder: ExportedFolder, settings: CutSettings) -> None:
        manifest = folder.manifest
        self.table = manifest.table
        self.node_s = manifest.node_s
        offered = set(manifest.legal)
        self.legal = tuple(cut for cut in legal_cuts(self.table, settings) if cut in offered)
        self.refused: Mapping[int, str] = {cut.index: cut.refused for cut in self.table.cuts if cut.refused}
        self.sessions = Sessions(folder)
        self.example = folder.example()
        self._expected = [
            tuple(
                ExpectedValue(spec.name, spec.dtype, form.sizes, form.growth, any_size=form.any_size)
                for spec, form in zip(cut.values, forms, strict=True)
            )
            for cut, forms in zip(self.table.cuts, manifest.expected, strict=True)
        ]

    @property
    def node_count(self) -> int:
        return len(self.table.nodes)

    @cached_property
    def probe(self) -> Probe | None:
        """What the whole model answers to a fixed input, to be compared with the other side's. Runs the model once."""
        return probe(partial(self.tail, 0), self.example)

    def run(self, start: int, stop: int, values: Sequence[Any]) -> tuple[Any, ...]:
        """Run the nodes between two cuts; as `Partition.run`, but `start` or `stop` must be an end of the network.

        Raises:
            CutError: there are no such cuts, or `start` is after `stop`.
            ExecutorError: the folder has no such segment.
        """
        if not 0 <= start <= stop <= self.table.last:
            raise CutError(f"model {self.table.model!r} has cuts 0 to {self.table.last}, got {start} to {stop}")
        return tuple(values) if start == stop else self.sessions.prepare(start, stop).compute(values)

    def head(self, cut: int, inputs: Sequence[Any]) -> tuple[Any, ...]:
        return self.run(0, cut, inputs)

    def tail(self, cut: int, values: Sequence[Any]) -> tuple[Any, ...]:
        return self.run(cut, self.table.last, values)

    def each_payload(self, inputs: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
        """As `Partition.each_payload`; runs every head, from the input."""
        for cut in self.legal:
            if cut != self.table.last:
                yield cut, self.run(0, cut, inputs)

    def assemble(self, values: Sequence[Any]) -> NamedOutputs:
        """The outputs by name: the model's own structure is not known here."""
        arrays = [value if isinstance(value, int) else to_numpy(value) for value in values]
        if not self.table.outputs:
            return NamedOutputs(zip(self.table.output_specs, arrays, strict=True))
        return NamedOutputs({output.name: arrays[output.value] for output in self.table.outputs})

    def check_values(self, cut: int, values: Sequence[Any]) -> None:
        """As `Partition.check_values`."""
        if cut in self.refused:
            raise CutError(f"cut {cut} of model {self.table.model!r} is not offered: {self.refused[cut]}")
        check_values(values, self._expected[cut], f"cut {cut} of model {self.table.model!r}")

    def check_inputs(self, inputs: Sequence[Any]) -> None:
        """As `Partition.check_inputs`."""
        check_values(inputs, self._expected[0], f"model {self.table.model!r}")

    def expected(self, cut: int) -> tuple[ExpectedValue, ...]:
        return self._expected[cut]

    def warm_up(self, run: Callable[[Sequence[Any]], object] | None = None) -> None:
        """Run the whole model once on zeros."""
        zeros = [np.zeros_like(value) for value in self.example]
        try:
            self.tail(0, zeros) if run is None else run(zeros)
        except ExecutorError:
            raise
        except Exception as error:  # noqa: BLE001 - zeros may not be a valid input; real requests still work
            log.info("warm-up failed", model=self.table.model, reason=str(error))

    def traceable(self) -> Any:
        raise GraphError(f"model {self.table.model!r} is exported already")
