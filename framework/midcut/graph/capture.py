"""Two ways to a graph: torch.fx's symbolic trace, and torch.export made functional."""

from __future__ import annotations

import inspect
import operator
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from midcut.config.settings import Capture
from midcut.errors import GraphError
from midcut.graph.compile import compile_graph

if TYPE_CHECKING:
    from midcut.graph.program import Program

_COMPARISONS = (operator.ge, operator.le, operator.gt, operator.lt, operator.eq, operator.ne)
_NO_EFFECT = {*_COMPARISONS, operator.getitem, getattr, "size", "dim"}
_ASSERTIONS = ("_assert", "sym_constrain_range", "_guards_fn")


def capture(module: torch.nn.Module, example: tuple[torch.Tensor, ...], how: Capture) -> Program:
    """Make the program of a module.

    Raises:
        GraphError: the tracer cannot take this module; the message carries its first line.
    """
    tracer = {Capture.fx: _by_fx, Capture.export: _by_export}[how]
    before = set(vars(module))
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tracer(module, example)
    except GraphError:
        raise
    except Exception as error:  # tracers raise whatever the traced code runs into
        line = next(iter(str(error).strip().splitlines()), "")
        raise GraphError(
            f"{how.value} cannot capture {type(module).__name__}: {type(error).__name__}: {line}"
        ) from error
    finally:
        for name in set(vars(module)) - before:  # the fx tracer leaves tensor constants on the module
            delattr(module, name)


def _by_fx(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> Program:
    tracer = fx.Tracer()
    omitted = _omitted_arguments(module, len(example))
    graph = tracer.trace(module, concrete_args=omitted or None)
    _drop_assertions(graph)
    _unpack_early(graph)
    passes: dict[fx.Node, str] = {}
    for count, node in enumerate(graph.nodes):
        if node.op == "call_module":
            passes[node] = f"{node.target}@{count}"
    return compile_graph(graph, module, passes, len(example))


def _by_export(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> Program:
    """Export with the batch size left open; with the example's own where the model insists on one."""
    doubled = tuple(torch.cat([value, value]) if value.dim() else value for value in example)
    shapes = tuple({0: torch.export.Dim.AUTO} if value.dim() else None for value in example)
    try:
        exported = torch.export.export(module, doubled, dynamic_shapes=shapes, strict=False)
    except Exception:  # noqa: BLE001  # whatever it was, the second attempt says it again if it stays
        exported = torch.export.export(module, example, strict=False)
    graph_module = exported.run_decompositions({}).module(check_guards=False)
    graph = graph_module.graph
    _drop_assertions(graph)
    return compile_graph(graph, graph_module, _leaf_passes(graph, module), len(example))


def _omitted_arguments(module: torch.nn.Module, given: int) -> dict[str, Any]:
    """Optional arguments of `forward` that the example leaves out, with their defaults."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [parameter for parameter in parameters if parameter.kind in kinds]
    return {p.name: p.default for p in positional[given:] if p.default is not inspect.Parameter.empty}


def _drop_assertions(graph: fx.Graph) -> None:
    """Erase checks of sizes and what only they used: it is no work, and bools cannot cross a cut."""
    for node in reversed(list(graph.nodes)):
        if node.users or not node.op.startswith("call_"):
            continue
        name = str(getattr(node.target, "__name__", node.target))
        if name.startswith(_ASSERTIONS) or node.target in _NO_EFFECT:
            graph.erase_node(node)


def _unpack_early(graph: fx.Graph) -> None:
    """Read shapes where the tensor is made, and take tuples apart at once.

    A tensor need then not cross a cut for its shape alone, and the parts of a tuple can cross where the
    tuple cannot. Neither reads an element, so its place in the order does not matter (a module that
    changes a tensor's shape in place would be caught by the comparison with the whole).
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


def _leaf_passes(graph: fx.Graph, module: torch.nn.Module) -> dict[fx.Node, str]:
    """Node -> the pass through the outermost torch.nn leaf module it came from, as fx would count it."""
    leaves = fx.Tracer()
    known = dict(module.named_modules())
    passes = {}
    for node in graph.nodes:
        for key, (path, _) in node.meta.get("nn_module_stack", {}).items():
            name = str(path).partition("@")[0]
            found = known.get(name)
            if name and found is not None and leaves.is_leaf_module(found, name):
                passes[node] = f"{name}@{key}"
                break
    return passes
