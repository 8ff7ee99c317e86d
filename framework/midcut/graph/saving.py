"""Writes a captured model into the cache, and makes a `Partition` of what is there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import torch
from torch.utils import _pytree as pytree

from midcut.config.settings import Capture
from midcut.errors import ConfigError, GraphError
from midcut.graph.attention import without_fast_path
from midcut.graph.cache import CaptureCache, Entry, is_installed
from midcut.graph.capture import capture, load_graph
from midcut.graph.form_json import decode_form, encode_form
from midcut.graph.module_state import ModuleState
from midcut.graph.outputs import register_dataclasses
from midcut.graph.partitioned import Captured, Partition
from midcut.graph.values import ExpectedValue
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
        nodes, constants = _encoded_graph(program, table)
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
            settled=captured.settled,
        )
    except Exception as error:  # noqa: BLE001 - a structure of the user's own class, or any other exotic part
        _log.info("the captured model is not kept", model=table.model, reason=" ".join(str(error).split()))
        return
    cache.save(entry, constants)


def _encoded_graph(program: Program, table: CutTable) -> tuple[list[Any] | None, dict[str, torch.Tensor]]:
    try:
        return (None, {}) if program.encode is None else program.encode()
    except (GraphError, AttributeError):
        if table.capture == Capture.fx.value:  # it can be traced again
            return None, {}
        raise


def restore(cache: CaptureCache, model: LoadedModel, settings: CutSettings, *, trace: bool = True) -> Partition | None:
    """Return the model as it was captured before; None where that is not known, or no longer true.

    A module of the user, or that makes something at its first call, or has to be traced again, is run once on the
    example, and must give the same bits as the graph. Of others the cache's key covers everything.

    Args:
        trace: whether a graph that could not be saved may be traced again, which changes torch's classes meanwhile.

    Raises:
        ConfigError: the config allows no cut.
    """
    found = cache.load()
    if found is None or (found[0].graph is None and not trace):
        return None
    entry, constants = found
    try:
        table = msgspec.json.decode(entry.table, type=CutTable)
        program, structure = _settled_program(entry, constants, table, model) or _checked_program(
            entry, constants, table, model
        )
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
            entry.settled,
        )
        parts = Partition(captured, legal_cuts(table, settings))
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the model is captured anew
        _log.warning("a captured model is not used", model=model.name, reason=" ".join(str(error).split()))
        return None
    _log.info("captured before", model=model.name, capture=table.capture)
    return parts


def _settled_program(
    entry: Entry, constants: dict[str, torch.Tensor], table: CutTable, model: LoadedModel
) -> tuple[Program, pytree.TreeSpec] | None:
    """The graph as it was saved; None where the module has to be run first."""
    if entry.graph is None or not entry.settled or not is_installed(model.module):
        return None
    try:
        structure = pytree.treespec_loads(entry.structure)
    except Exception:  # noqa: BLE001 - a class that torch knows only once it has seen an output
        return None
    program = load_graph(entry.graph, constants, model.module, len(model.example))
    return _in_saved_order(program, entry, table), structure


def _in_saved_order(program: Program, entry: Entry, table: CutTable) -> Program:
    index = {step.name: at for at, step in enumerate(program.steps)}
    if len(index) != len(table.nodes):
        raise GraphError("the model has another graph now")
    ordered = program.reordered([index[node.name] for node in table.nodes])
    ordered.copies = tuple(tuple(copies) for copies in entry.copies)
    return ordered


def _checked_program(
    entry: Entry, constants: dict[str, torch.Tensor], table: CutTable, model: LoadedModel
) -> tuple[Program, pytree.TreeSpec]:
    how = Capture(table.capture)
    with torch.no_grad(), without_fast_path() if how is Capture.export else contextlib.nullcontext():
        output = model.module(*[value.detach().clone() for value in model.example])
        register_dataclasses(output)
        state = ModuleState(model.module)
        if entry.graph is None:
            program = capture(model.module, model.example, how, any_batch=entry.any_batch, ranges=model.ranges)
        else:
            program = load_graph(entry.graph, constants, model.module, len(model.example))
        program = _in_saved_order(program, entry, table)
        given = [model.example[register] for register in program.live[0]]
        values = program.output_leaves(program.run(0, len(program), given))
        state.restore()
    leaves, structure = pytree.tree_flatten(output)
    if pytree.treespec_dumps(structure) != entry.structure:
        raise GraphError("the model has another output now")
    if not same_bits(pytree.tree_leaves(values), leaves):
        raise GraphError("it no longer gives the module's own output bit for bit")
    return program, structure
