"""What crosses the cuts of a captured graph, found by running it over an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midcut.errors import GraphError
from midcut.graph.values import ExpectedValue
from midcut.graph.verify import examine
from midcut.types import Cut, ValueSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.config.settings import CutSettings
    from midcut.graph.program import Program
    from midcut.graph.shapes import Growth
    from midcut.graph.verify import Examination
    from midcut.types import LoadedModel


def examine_graph(program: Program, model: LoadedModel, settings: CutSettings) -> Examination:
    state = [*model.module.parameters(), *model.module.buffers()]
    versions = [tensor._version for tensor in state]  # noqa: SLF001  # the only counter of in-place writes there is
    try:
        examination = examine(program, model.example, verify=settings.verify)
    except GraphError:
        raise
    except Exception as error:  # the graph may fail in any way, such as an operator that does not load here
        first_line = next(iter(str(error).strip().splitlines()), "")
        raise GraphError(f"the captured graph does not run: {type(error).__name__}: {first_line}") from error
    if versions != [tensor._version for tensor in state]:  # noqa: SLF001
        raise GraphError("the model changes its own parameters or buffers while it runs")
    last = len(program)
    if last in examination.refused:
        raise GraphError(f"the model's output cannot be sent: {examination.refused[last]}")
    return examination


def find_refusals(program: Program, examination: Examination, varying: set[int]) -> Mapping[int, str]:
    """Cut -> why it is not offered. A reply may have any size, so that the last cut is."""
    refused = dict(examination.refused)
    for cut, registers in enumerate(program.live[:-1]):
        depending = [program.names[register] for register in registers if register in varying]
        if depending:
            refused.setdefault(cut, f"the size of {depending[0]!r}, which crosses here, depends on the data")
    return refused


def expected_values(
    program: Program, examination: Examination, growth: Growth, varying: set[int]
) -> list[tuple[ExpectedValue, ...]]:
    of_register: dict[int, tuple[ExpectedValue, ...]] = {}
    for register, grown in growth.items():
        name, suffixes = program.names[register], examination.forms[register].suffixes
        parts: Sequence[Any] = list(zip(suffixes, examination.parts[register], grown, strict=True))
        of_register[register] = tuple(
            ExpectedValue(f"{name}{suffix}", dtype, sizes, growing, any_size=register in varying)
            for suffix, (dtype, sizes), growing in parts
        )
    return [
        tuple(part for register in registers for part in of_register.get(register, ())) for registers in program.live
    ]


def make_cuts(
    program: Program, refused: Mapping[int, str], expected: Sequence[tuple[ExpectedValue, ...]]
) -> tuple[Cut, ...]:
    cuts = []
    layer = 0
    for index, values in enumerate(expected):
        ends = index > 0 and program.steps[index - 1].ends_module
        layer += ends
        specs = tuple(ValueSpec(v.name, v.dtype, () if v.dtype == "int" else v.sizes) for v in values)
        cuts.append(Cut(index, layer, ends, specs, refused.get(index, "")))
    return tuple(cuts)
