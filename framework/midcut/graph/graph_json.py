"""A graph as JSON and tensors, without pickle: what is read can name operators and functions of torch only."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import fx

from midcut.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAMESPACES: Final = frozenset({"aten", "prims", "torchvision", "quantized", "quantized_decomposed"})
# What torch.export computes sizes with, and takes tuples apart with.
_OPERATORS: Final = "getitem add sub mul floordiv truediv mod neg pow ge le gt lt eq ne"
_SYMBOLIC: Final = "sym_max sym_min sym_float sym_int sym_not sym_ite"
_PYTHON: Final[dict[str, Any]] = (
    {name: getattr(operator, name) for name in _OPERATORS.split()}
    | {name: getattr(torch, name) for name in _SYMBOLIC.split()}
    | {"getattr": getattr}
)
# What torch.fx calls, beside methods and modules.
_LIBRARIES: Final[dict[str, Any]] = {
    "torch": torch,
    "functional": torch.nn.functional,
    "operator": operator,
    "math": math,
}
_SETTINGS: Final = (torch.dtype, torch.layout, torch.memory_format)
_SAVED: Final = "saved_constant_"


class SavedOwner:
    """Where a saved graph's constants are looked up: saved tensors, and all else in the module itself."""

    def __init__(self, module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        self._module = module
        self._tensors = tensors

    def __getattr__(self, name: str) -> Any:
        return self._tensors[name] if name in self._tensors else getattr(self._module, name)


def encode_graph(
    graph: fx.Graph, owner: Any, module: torch.nn.Module, calls: Mapping[fx.Node, str]
) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """Return the nodes as plain lists, and the constants that the module does not have.

    Args:
        owner: where the graph's constants are.
        calls: node -> the call of a leaf module that it belongs to.

    Raises:
        GraphError: the graph has something that cannot be written.
    """
    nodes: list[Any] = []
    constants: dict[str, torch.Tensor] = {}
    for node in graph.nodes:
        target = node.target
        if node.op == "get_attr":
            target = _constant(str(target), owner, module, constants)
        elif node.op == "call_function":
            target = _function_name(target)
        arguments = [_encode(node.args), _encode(node.kwargs)]
        nodes.append([node.name, node.op, target, *arguments, calls.get(node, "")])
    return nodes, constants


def decode_graph(nodes: list[Any]) -> tuple[fx.Graph, dict[fx.Node, str]]:
    """Return the graph, and node -> the call of a leaf module that it belongs to.

    Raises:
        GraphError: a node that cannot be one of a saved graph.
    """
    graph = fx.Graph()
    by_name: dict[str, fx.Node] = {}
    calls: dict[fx.Node, str] = {}
    for name, op, target, args, kwargs, call in nodes:
        function = _function(target) if op == "call_function" else target
        node = graph.create_node(op, function, _decode(args, by_name), _decode(kwargs, by_name), name=name)
        by_name[name] = node
        if call:
            calls[node] = call
    return graph, calls


def _constant(target: str, owner: Any, module: torch.nn.Module, constants: dict[str, torch.Tensor]) -> str:
    value = operator.attrgetter(target)(owner)
    if not isinstance(value, torch.Tensor):
        raise GraphError(f"constant {target!r} is a {type(value).__name__}, which cannot be saved")
    try:
        if operator.attrgetter(target)(module) is value:
            return target
    except AttributeError:
        pass
    if isinstance(value, torch.nn.Parameter) or value.layout is not torch.strided or value.is_quantized:
        raise GraphError(f"constant {target!r} cannot be saved")
    name = f"{_SAVED}{len(constants)}"
    constants[name] = value.detach().clone().contiguous()
    return name


def _function_name(function: Any) -> str:
    if isinstance(function, torch._ops.OpOverload) and function.namespace in _NAMESPACES:  # noqa: SLF001
        return f"{function.namespace}.{function._opname}.{function._overloadname}"  # noqa: SLF001  # no public names
    name = next((name for name, known in _PYTHON.items() if known is function), None)
    name = name or next((name for name in _torch_names(function) if _function_of_torch(name) is function), None)
    if name is None:
        raise GraphError(f"function {function} cannot be saved")
    return name


def _torch_names(function: Any) -> Iterator[str]:
    """Names that a function may have in `_LIBRARIES`."""
    return (f"{library}:{getattr(function, '__name__', '')}" for library in _LIBRARIES)


def _function_of_torch(name: str) -> Any:
    library, _, function = name.partition(":")
    return getattr(_LIBRARIES.get(library), function, None)


def _function(name: str) -> Any:
    if name in _PYTHON:
        return _PYTHON[name]
    if ":" in name and callable(function := _function_of_torch(name)):
        return function
    namespace, _, rest = name.partition(".")
    if namespace not in _NAMESPACES:
        raise GraphError(f"there is no operator {name!r}")
    packet, _, overload = rest.rpartition(".")
    found = getattr(getattr(getattr(torch.ops, namespace), packet, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload):  # noqa: SLF001
        raise GraphError(f"there is no operator {name!r}")
    return found


def _encode(value: Any) -> Any:  # noqa: C901, PLR0911 - one for each kind
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[key, _encode(item)] for key, item in value.items()]}
    if isinstance(value, slice):
        return {"slice": [_encode(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, _SETTINGS):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if value is ...:
        return {"ellipsis": ""}
    raise GraphError(f"an argument of type {type(value).__name__} cannot be saved")


def _decode(value: Any, nodes: Mapping[str, fx.Node]) -> Any:  # noqa: C901, PLR0911 - one for each kind
    if isinstance(value, list):
        return [_decode(item, nodes) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "node":
        return nodes[content]
    if kind == "float":
        return float.fromhex(content)
    if kind == "tuple":
        return tuple(_decode(item, nodes) for item in content)
    if kind == "dict":
        return {key: _decode(item, nodes) for key, item in content}
    if kind == "slice":
        return slice(*[_decode(part, nodes) for part in content])
    if kind == "ellipsis":
        return ...
    if kind == "device":
        return torch.device(content)
    setting = getattr(torch, content)
    if kind != "torch" or not isinstance(setting, _SETTINGS):
        raise GraphError(f"{kind} {content!r} is no argument")
    return setting
