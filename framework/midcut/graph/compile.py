"""From a torch.fx graph, however it was made, to a `Program`."""

from __future__ import annotations

import functools
import hashlib
import operator
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from midcut.errors import GraphError
from midcut.graph.program import Program, Registers, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def compile_graph(graph: fx.Graph, owner: torch.nn.Module, modules: Mapping[fx.Node, str], given: int) -> Program:
    """Bind every node's function, arguments and constants once.

    Args:
        graph: nodes in execution order.
        owner: where targets of `call_module` and `get_attr` nodes are looked up; shared, not copied.
        modules: node -> key of the pass through a leaf module it belongs to, `path` or `path@n`.
        given: how many inputs there are values for; further placeholders take their default values.

    Raises:
        GraphError: an input without a value, or a kind of node that cannot run.
    """
    return _Compiler(graph, owner, modules, given).program()


class _Compiler:
    def __init__(self, graph: fx.Graph, owner: torch.nn.Module, modules: Mapping[fx.Node, str], given: int) -> None:
        self._owner = owner
        self._modules = modules
        self._nodes = list(graph.nodes)
        self._given = given
        self._template: Registers = []
        self._constants: dict[int, str] = {}
        self._register: dict[fx.Node, int] = {}
        self._inputs: list[str] = []

    def program(self) -> Program:
        for node in self._nodes:
            if node.op == "placeholder":
                self._placeholder(node)
        calls = [node for node in self._nodes if node.op.startswith("call_")]
        for node in self._nodes:
            if node.op == "get_attr":
                self._register[node] = self._constant(_attribute(self._owner, str(node.target)), str(node.target))
        for node in calls:
            self._register[node] = self._new(None)
        steps = []
        for index, node in enumerate(calls):
            following = calls[index + 1] if index + 1 < len(calls) else None
            steps.append(self._step(node, following))
        output = next(node for node in self._nodes if node.op == "output")
        leaves = pytree.tree_leaves(output.args[0])
        flat = [self._register[leaf] if isinstance(leaf, fx.Node) else (leaf,) for leaf in leaves]
        constant = [(self._template[f],) if isinstance(f, int) and f in self._constants else f for f in flat]
        return Program(steps, self._inputs, self._template, self._constants, constant)

    def _new(self, value: Any) -> int:
        self._template.append(value)
        return len(self._template) - 1

    def _constant(self, value: Any, name: str) -> int:
        register = self._new(value)
        self._constants[register] = name
        return register

    def _placeholder(self, node: fx.Node) -> None:
        if len(self._inputs) < self._given:
            self._register[node] = self._new(None)
            self._inputs.append(str(node.target))
        elif node.args:
            self._register[node] = self._constant(node.args[0], str(node.target))
        elif node.users:
            raise GraphError(f"input {node.target!r} has no value: the model's example gives {self._given}")

    def _step(self, node: fx.Node, following: fx.Node | None) -> Step:
        owner = self._modules.get(node, "")
        reads: list[int] = []
        args, kwargs = node.args, dict(node.kwargs)
        if node.op == "call_module":
            target = _attribute(self._owner, str(node.target))
            op, text = type(target).__name__, f"{type(target).__module__}.{_ADDRESS.sub('', repr(target))}"
            call = self._bind(target, args, kwargs, reads)
        elif node.op == "call_function":
            if not callable(node.target):
                raise GraphError(f"node {node.name!r} calls {node.target!r}, which is not callable")
            op, text = _function_names(node.target)
            call = self._bind(node.target, args, kwargs, reads)
        else:
            op = text = str(node.target)
            call = self._bind(_method(str(node.target)), args, kwargs, reads)
        arguments = f"{self._describe(node.args)} {self._describe(kwargs)}"
        return Step(
            name=node.name,
            op=op,
            module=owner.partition("@")[0],
            signature=f"{node.op} {text} {arguments} -> %{self._register[node]}",
            call=call,
            reads=tuple(dict.fromkeys(reads)),
            out=self._register[node],
            ends_module=bool(owner) and (following is None or self._modules.get(following, "") != owner),
        )

    def _bind(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], reads: list[int]
    ) -> Callable[[Registers], Any]:
        """Make the call with the least work left for run time."""
        if kwargs and not _nodes_in(kwargs):
            function, kwargs = functools.partial(function, **{k: _thaw(v) for k, v in kwargs.items()}), {}
        if kwargs or any(not isinstance(arg, fx.Node) and _nodes_in(arg) for arg in args):
            made = [self._maker(arg, reads) for arg in args]
            named = {name: self._maker(arg, reads) for name, arg in kwargs.items()}
            return lambda regs: function(*[make(regs) for make in made], **{k: m(regs) for k, m in named.items()})
        slots = [self._register[arg] if isinstance(arg, fx.Node) else self._constant(_thaw(arg), "") for arg in args]
        reads.extend(slots)
        if len(slots) == 1:
            only = slots[0]
            return lambda regs: function(regs[only])
        if not slots:
            return lambda _: function()
        pick = operator.itemgetter(*slots)
        return lambda regs: function(*pick(regs))

    def _maker(self, arg: Any, reads: list[int]) -> Callable[[Registers], Any]:
        if isinstance(arg, fx.Node):
            register = self._register[arg]
            reads.append(register)
            return lambda regs: regs[register]
        if not _nodes_in(arg):
            value = _thaw(arg)
            return lambda _: value
        if isinstance(arg, slice):
            parts = [self._maker(part, reads) for part in (arg.start, arg.stop, arg.step)]
            return lambda regs: slice(*[part(regs) for part in parts])
        if isinstance(arg, dict):
            entries = {key: self._maker(value, reads) for key, value in arg.items()}
            return lambda regs: {key: make(regs) for key, make in entries.items()}
        kind: Callable[[list[Any]], Any] = tuple if isinstance(arg, tuple) else list
        items = [self._maker(item, reads) for item in arg]
        return lambda regs: kind([item(regs) for item in items])

    def _describe(self, arg: Any) -> str:
        """Argument structure as text: registers for nodes, contents for constants, no addresses."""
        if isinstance(arg, fx.Node):
            register = self._register[arg]
            return (
                f"const:{describe_constant(self._template[register])}"
                if register in self._constants
                else f"%{register}"
            )
        if isinstance(arg, slice):
            return f"slice({self._describe(arg.start)},{self._describe(arg.stop)},{self._describe(arg.step)})"
        if isinstance(arg, dict):
            return "{" + ",".join(f"{key!r}:{self._describe(value)}" for key, value in arg.items()) + "}"
        if isinstance(arg, (list, tuple)):
            return ("(" if isinstance(arg, tuple) else "[") + ",".join(self._describe(item) for item in arg) + ")"
        return describe_constant(arg)


def describe_constant(value: Any) -> str:
    """A constant as text that is equal in every process. A parameter's bytes are in the weights' hash."""
    if isinstance(value, torch.nn.Parameter):
        return f"parameter {value.dtype} {tuple(value.shape)}"
    if isinstance(value, torch.Tensor):
        data = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
        return f"tensor {value.dtype} {tuple(value.shape)} {hashlib.sha256(data).hexdigest()}"
    return _ADDRESS.sub("", repr(value))


def _nodes_in(arg: Any) -> bool:
    found: list[fx.Node] = []
    fx.map_arg(arg, lambda node: found.append(node) or node)  # type: ignore[func-returns-value]
    return bool(found)


def _thaw(arg: Any) -> Any:
    """Fx keeps lists and dicts as immutable subclasses, which some operators are slow to take."""
    if type(arg) is tuple:
        return tuple(_thaw(item) for item in arg)
    if isinstance(arg, list):
        return [_thaw(item) for item in arg]
    if isinstance(arg, dict):
        return {key: _thaw(value) for key, value in arg.items()}
    return arg


def _attribute(owner: torch.nn.Module, path: str) -> Any:
    try:
        return operator.attrgetter(path)(owner)
    except AttributeError:
        raise GraphError(f"the graph names {path!r}, which the module does not have") from None


def _function_names(function: Any) -> tuple[str, str]:
    if isinstance(function, torch._ops.OpOverload):  # noqa: SLF001  # its public alias appears and vanishes by version
        return str(function), str(function)
    name = str(getattr(function, "__qualname__", "") or getattr(function, "__name__", type(function).__name__))
    return name.rpartition(".")[2], f"{getattr(function, '__module__', '')}.{name}"


def _method(name: str) -> Callable[..., Any]:
    def call(receiver: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(receiver, name)(*args, **kwargs)

    return call
