"""Writes a captured model into the cache, and makes a `Partition` of what is there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
import structlog
import torch
from torch.utils import _pytree as pytree

from midcut.config.settings import Capture
from midcut.errors import ConfigError, GraphError
from midcut.graph.attention import without_fast_path
from midcut.graph.cache import CaptureCache, Entry
from midcut.graph.capture import capture, load_graph
from midcut.graph.form_json import decode_form, encode_form
from midcut.graph.module_state import ModuleState
from midcut.graph.outputs import register_dataclasses
from midcut.graph.partition import Captured, Partition
from midcut.graph.shapes import ExpectedValue
from midcut.graph.verify import same_bits
from midcut.planning.cuts import legal_cuts
from midcut.types import CutTable

if TYPE_CHECKING:
    from midcut.config.settings import CutSettings
    from midcut.graph.program import Program
    from midcut.types import LoadedModel

_log = structlog.get_logger(__name__)


def keep(cache: CaptureCache, parts: Partition) -> None:
    """Write a captured model into the cache, unless it has something that cannot be written."""
    captured = parts.captured
    program, table = captured.program, captured.table
    try:
        nodes, constants = (None, {}) if program.encode is None else program.encode()
        entry = Entry(
            graph=nodes,
            any_batch=captured.any_batch,
            table=msgspec.Raw(msgspec.json.encode(table)),
            expected=[
                [(v.name, v.dtype, list(v.sizes), list(v.growth), v.any_size) for v in values]
                for values in captured.expected
            ],
            forms={register: encode_form(form) for register, form in captured.forms.items()},
            copies=[list(copies) for copies in program.copies],
            structure=pytree.treespec_dumps(captured.structure),
        )
    except Exception as error:  # noqa: BLE001 - a structure of the user's own class, or any other exotic part
        _log.info("the captured model is not kept", model=table.model, reason=" ".join(str(error).split()))
        return
    cache.save(entry, constants)


def restore(cache: CaptureCache, model: LoadedModel, settings: CutSettings) -> Partition | None:
    """Return the model as it was captured before; None where that is not known, or no longer true.

    The graph and the module are run once on the example, and must give the same bits.

    Raises:
        ConfigError: the config allows no cut.
    """
    found = cache.load()
    if found is None:
        return None
    entry, constants = found
    try:
        table = msgspec.json.decode(entry.table, type=CutTable)
        program, structure = _checked_program(entry, constants, table, model)
        captured = Captured(
            program,
            table,
            [
                tuple(ExpectedValue(n, d, tuple(s), tuple(g), a) for n, d, s, g, a in values)
                for values in entry.expected
            ],
            {register: decode_form(form) for register, form in entry.forms.items()},
            structure,
            model.example,
            entry.any_batch,
        )
        parts = Partition(captured, legal_cuts(table, settings))
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the model is captured anew
        _log.warning("a captured model is not used", model=model.name, reason=" ".join(str(error).split()))
        return None
    _log.info("captured before", model=model.name, capture=table.capture)
    return parts


def _expected_value(fields: tuple[str, str, list[int], list[int], bool]) -> ExpectedValue:
    name, dtype, sizes, growth, any_size = fields
    return ExpectedValue(name, dtype, tuple(sizes), tuple(growth), any_size)


def _checked_program(
    entry: Entry, constants: dict[str, torch.Tensor], table: CutTable, model: LoadedModel
) -> tuple[Program, pytree.TreeSpec]:
    how = Capture(table.capture)
    with torch.no_grad(), without_fast_path() if how is Capture.export else contextlib.nullcontext():
        output = model.module(*[value.detach().clone() for value in model.example])
        register_dataclasses(output)
        state = ModuleState(model.module)
        if entry.graph is None:
            program = capture(model.module, model.example, how, any_batch=entry.any_batch)
        else:
            program = load_graph(entry.graph, constants, model.module, len(model.example))
        index = {step.name: at for at, step in enumerate(program.steps)}
        program = program.reordered([index[node.name] for node in table.nodes])
        program.copies = tuple(tuple(copies) for copies in entry.copies)
        given = [model.example[register] for register in program.live[0]]
        values = program.output_leaves(program.run(0, len(program), given))
        state.restore()
    leaves, structure = pytree.tree_flatten(output)
    if len(index) != len(table.nodes) or pytree.treespec_dumps(structure) != entry.structure:
        raise GraphError("the model has another graph or output now")
    if not same_bits(pytree.tree_leaves(values), leaves):
        raise GraphError("it no longer gives the module's own output bit for bit")
    return program, structure
