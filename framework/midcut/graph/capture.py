"""Captures a module as a graph in one of two ways: torch.fx's symbolic trace, or torch.export made functional."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import logging
import math
import operator
import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from midcut.config.settings import Capture
from midcut.errors import GraphError
from midcut.graph.batch_sizes import check_guards, check_symbols
from midcut.graph.compile import compile_graph
from midcut.graph.graph_json import SavedOwner, decode_graph, encode_graph
from midcut.graph.module_state import ModuleState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import ModuleType

    from midcut.graph.program import Program
    from midcut.types import ShapeRange

_COMPARISONS = (operator.ge, operator.le, operator.gt, operator.lt, operator.eq, operator.ne)
_NO_EFFECT = {*_COMPARISONS, operator.getitem, getattr, "size", "dim"}
_LONGEST_REASON = 300
# Part of a tracer's error, which may have hundreds of symbols -> what it means.
_PLAIN_REASONS = (
    (
        "Could not guard on data-dependent",
        "a branch or a size depends on values, such as the number of boxes found",
    ),
    ("Could not extract specialized integer", "a size depends on values, such as the number of boxes found"),
    ("cannot be used as inputs to control flow", "it branches on a value or a size"),
    ("Proxy object cannot be iterated", "it loops over a tensor"),
)
_ASSERTIONS = ("_assert", "sym_constrain_range", "_guards_fn")


def capture(
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    how: Capture,
    *,
    any_batch: bool = True,
    ranges: Sequence[ShapeRange] = (),
) -> Program:
    """Capture a module as a program; the module is left as it was.

    Args:
        any_batch: capture a graph that takes any batch size, rather than the example's only.
        ranges: for each input the sizes that the graph should take; empty where it need not take others.

    Raises:
        GraphError: the tracer cannot capture this module; the message has the first line of its error. With
            `any_batch`, a `BatchBranchError` where the graph would hold for some batch sizes only.
    """
    state = ModuleState(module)
    try:
        with torch.no_grad(), _quiet():
            if how is Capture.fx:
                return _capture_by_fx(module, example, any_batch=any_batch)
            return _capture_by_export(module, example, any_batch=any_batch, ranges=ranges)
    except GraphError:
        raise
    except Exception as error:  # tracing runs the module's code, which may raise anything
        raise GraphError(f"{how.value} cannot capture {type(module).__name__}: {_plain_reason(error)}") from error
    finally:
        state.restore()  # tracers leave constants on the module, and the module's code their proxies and fake tensors


def _plain_reason(error: Exception) -> str:
    """Why a tracer failed, in words for the usual reasons, else the first line of its error."""
    first_line = next(iter(str(error).strip().splitlines()), "")
    plain = next((plain for part, plain in _PLAIN_REASONS if part in first_line), "")
    return f"{plain} ({type(error).__name__})" if plain else f"{type(error).__name__}: {first_line[:_LONGEST_REASON]}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the tracers print and log from the terminal: of a graph they cannot export they print every node."""
    logger = logging.getLogger("torch")
    level = logger.level
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


def _capture_by_fx(module: torch.nn.Module, example: tuple[torch.Tensor, ...], *, any_batch: bool) -> Program:
    if any_batch:
        check_guards(module, example)
    leaves: Any = (math, *_box_operators())  # torch's annotation allows a single one
    tracer = fx.Tracer(autowrap_modules=leaves)
    omitted = _default_arguments(module, len(example))
    graph = tracer.trace(module, concrete_args=omitted or None)
    _drop_assertions(graph)
    _return_fields(graph)
    _unpack_early(graph)
    calls = {node: f"{node.target}@{i}" for i, node in enumerate(graph.nodes) if node.op == "call_module"}
    program = compile_graph(graph, module, calls, len(example))
    # Constants that the tracer puts on the module are gone when the graph is saved.
    constants = {
        str(node.target): operator.attrgetter(str(node.target))(module) for node in graph.find_nodes(op="get_attr")
    }
    program.encode = partial(encode_graph, graph, SavedOwner(module, constants), module, calls)
    return program


def _box_operators() -> list[ModuleType]:
    """Modules of functions such as `batched_nms`, which branch on the number of boxes: each call is one node."""
    names = ("torchvision.ops", "torchvision.ops.boxes")
    return [sys.modules[name] for name in names if name in sys.modules]


def _capture_by_export(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...], *, any_batch: bool, ranges: Sequence[ShapeRange]
) -> Program:
    """Export with a dynamic batch size, or with that of the example, and with dynamic sizes where they have a range."""
    given = tuple(torch.cat([value, value]) if any_batch and value.dim() else value for value in example)
    batch = {0: torch.export.Dim.AUTO} if any_batch else {}
    shapes = tuple(
        batch | free if value.dim() else None for value, free in zip(given, _free_dims(given, ranges), strict=True)
    )
    exported = torch.export.export(module, given, dynamic_shapes=shapes if any(shapes) else None, strict=False)
    if any_batch:
        check_symbols(exported)
    graph_module = exported.run_decompositions({}).module(check_guards=False)
    graph = graph_module.graph
    _drop_assertions(graph)
    calls = _leaf_module_calls(graph, module)
    program = compile_graph(graph, graph_module, calls, len(example))
    program.encode = partial(encode_graph, graph, graph_module, module, calls)
    return program


def _free_dims(given: Sequence[torch.Tensor], ranges: Sequence[ShapeRange]) -> list[dict[int, Any]]:
    """For each input, what `torch.export` is to assume of its dimensions that have a range."""
    if not ranges:
        return [{} for _ in given]
    auto: Any = torch.export.Dim.AUTO
    return [
        {
            dim: auto(min=low, max=high)
            for dim, (low, high) in enumerate(zip(entry.smallest, entry.largest, strict=True), start=1)
            if low < high
        }
        for entry in ranges
    ]


def load_graph(nodes: list[Any], constants: Mapping[str, torch.Tensor], module: torch.nn.Module, given: int) -> Program:
    """Return the program of a graph that `Program.encode` wrote.

    Args:
        module: whose parameters and buffers it uses.
        given: number of inputs.

    Raises:
        GraphError: the nodes are not those of a graph, or refer to what the module does not have.
    """
    graph, calls = decode_graph(nodes)
    return compile_graph(graph, SavedOwner(module, constants), calls, given)


def _default_arguments(module: torch.nn.Module, given: int) -> dict[str, Any]:
    """Optional arguments of `forward` that the example does not contain, with their default values."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [parameter for parameter in parameters if parameter.kind in kinds]
    return {p.name: p.default for p in positional[given:] if p.default is not inspect.Parameter.empty}


def _drop_assertions(graph: fx.Graph) -> None:
    """Erase checks of sizes and the nodes that only they use. They compute nothing, and bools cannot cross a cut."""
    for node in reversed(list(graph.nodes)):
        if node.users or not node.op.startswith("call_"):
            continue
        name = str(getattr(node.target, "__name__", node.target))
        if name.startswith(_ASSERTIONS) or node.target in _NO_EFFECT:
            graph.erase_node(node)


def _return_fields(graph: fx.Graph) -> None:
    """Return the fields of a dataclass in place of the dataclass, which no cut could be behind."""
    (output,) = graph.find_nodes(op="output")
    made = [node for node in output.all_input_nodes if dataclasses.is_dataclass(node.target)]

    def fields(node: fx.Node) -> Any:
        if node not in made:
            return node
        given = {name: value for name, value in node.kwargs.items() if value is not None}  # as torch's pytree does
        return fx.node.map_arg(given, fields)

    output.args = (fx.node.map_arg(output.args[0], fields),)
    for node in made:
        if not node.users:
            graph.erase_node(node)


def _unpack_early(graph: fx.Graph) -> None:
    """Move nodes that read a shape or an item of a tuple to directly behind the node whose output they read.

    A tensor then need not cross a cut only for its shape, and the items of a tuple can cross where the tuple cannot.
    These nodes read no elements, so their position in the order does not change the result. (A module that changes a
    tensor's shape in place is caught later, when the captured graph is compared with the module.)
    """
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    for node in list(graph.nodes):
        is_shape = node.target is getattr and len(node.args) == 2 and node.args[1] == "shape"
        is_size = node.op == "call_method" and node.target == "size"
        if (
            (is_shape or is_size)
            and isinstance(node.args[0], fx.Node)
            and not any(isinstance(arg, fx.Node) for arg in node.args[1:])
        ):
            source = node.args[0]
            (inputs[-1] if source.op == "placeholder" else source).append(node)
        elif str(getattr(node.target, "__name__", node.target)) not in ("chunk", "split", "tensor_split", "unbind"):
            continue
        items = [user for user in node.users if user.target is operator.getitem and isinstance(user.args[1], int)]
        for item in reversed(items):
            node.append(item)


def _leaf_module_calls(graph: fx.Graph, module: torch.nn.Module) -> dict[fx.Node, str]:
    """Node -> the call of a leaf module that it belongs to: the outermost module that fx would not trace into."""
    tracer = fx.Tracer()
    modules = dict(module.named_modules())
    calls = {}
    for node in graph.nodes:
        for key, (path, _) in node.meta.get("nn_module_stack", {}).items():
            name = str(path).partition("@")[0]
            submodule = modules.get(name)
            if name and submodule is not None and tracer.is_leaf_module(submodule, name):
                calls[node] = f"{name}@{key}"
                break
    return calls
