"""Compiles a torch.fx graph, from either tracer, into a `Program`."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import fx
from torch.utils import _pytree as pytree

from midcut.errors import GraphError
from midcut.graph.content import full_name
from midcut.graph.program import Program, Registers, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midcut.graph.content import ContentHash

# A leaf module of torch with more parts that have parameters than attention (itself, its projection) has an inside
# worth cutting.
_PARTS = 2
_OPERATOR = torch._ops.OpOverload  # noqa: SLF001  # not every torch version has a public alias
# Arguments that choose a library for GPUs: torch 2.13 exports another value than 2.10.
_NOT_ANSWERS = ("cudnn_enable", "cudnn_enabled")


def compile_graph(graph: fx.Graph, owner: Any, modules: Mapping[fx.Node, str], given: int) -> Program:
    """Bind every node's function, arguments and constants once, so that running needs no look-ups.

    Args:
        graph: nodes in execution order.
        owner: where targets of `call_module` and `get_attr` nodes are looked up, such as a module; shared, not copied.
        modules: node -> the call of a leaf module that it belongs to, `path` or `path@n`.
        given: number of inputs with a value; further placeholders get their default values.

    Raises:
        GraphError: an input without a value, or a kind of node that cannot run.
    """
    return _Compiler(graph, owner, modules, given).program()


class _Compiler:
    def __init__(self, graph: fx.Graph, owner: Any, modules: Mapping[fx.Node, str], given: int) -> None:
        self._owner = owner
        self._modules = modules
        self._nodes = list(graph.nodes)
        self._given = given
        self._initial_registers: Registers = []
        self._constants: dict[int, str] = {}
        self._register: dict[fx.Node, int] = {}
        self._inputs: list[str] = []
        self._opaque: list[str] = []

    def program(self) -> Program:
        for node in self._nodes:
            if node.op == "placeholder":
                self._add_placeholder(node)
        calls = [node for node in self._nodes if node.op.startswith("call_")]
        for node in self._nodes:
            if node.op == "get_attr":
                value = _get_attribute(self._owner, str(node.target))
                self._register[node] = self._add_constant(value, str(node.target))
        for node in calls:
            self._register[node] = self._add_register(None)
        steps = []
        for index, node in enumerate(calls):
            following = calls[index + 1] if index + 1 < len(calls) else None
            steps.append(self._compile_step(node, following))
        output = next(node for node in self._nodes if node.op == "output")
        leaves = pytree.tree_leaves(output.args[0])
        flat = [self._register[leaf] if isinstance(leaf, fx.Node) else (leaf,) for leaf in leaves]
        flat_output = [
            (self._initial_registers[f],) if isinstance(f, int) and f in self._constants else f for f in flat
        ]
        opaque = list(dict.fromkeys(self._opaque))
        return Program(steps, self._inputs, self._initial_registers, self._constants, flat_output, opaque)

    def _add_register(self, value: Any) -> int:
        self._initial_registers.append(value)
        return len(self._initial_registers) - 1

    def _add_constant(self, value: Any, name: str) -> int:
        register = self._add_register(value)
        self._constants[register] = name
        return register

    def _add_placeholder(self, node: fx.Node) -> None:
        if len(self._inputs) < self._given:
            self._register[node] = self._add_register(None)
            self._inputs.append(str(node.target))
        elif node.args:
            self._register[node] = self._add_constant(node.args[0], str(node.target))
        elif node.users:
            raise GraphError(f"input {node.target!r} has no value: the model's example gives {self._given}")

    def _compile_step(self, node: fx.Node, following: fx.Node | None) -> Step:
        owner = self._modules.get(node, "")
        reads: list[int] = []
        args, kwargs = node.args, dict(node.kwargs)
        if node.op == "call_module":
            target = _get_attribute(self._owner, str(node.target))
            op = type(target).__name__
            if sum(bool(part._parameters) for part in target.modules()) > _PARTS:  # noqa: SLF001  # its own ones only
                self._opaque.append(op)
            call = self._bind(target, args, kwargs, reads)
        elif node.op == "call_function":
            if not callable(node.target):
                raise GraphError(f"node {node.name!r} calls {node.target!r}, which is not callable")
            target, op = node.target, _short_name(node.target)
            call = self._bind(target, args, kwargs, reads)
        else:
            target = op = str(node.target)
            call = self._bind(_method_caller(op), args, kwargs, reads)
        return Step(
            name=node.name,
            op=op,
            module=owner.partition("@")[0],
            describe=functools.partial(self._describe, node, target),
            call=call,
            reads=tuple(dict.fromkeys(reads)),
            out=self._register[node],
            ends_module=bool(owner) and (following is None or self._modules.get(following, "") != owner),
        )

    def _bind(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], reads: list[int]
    ) -> Callable[[Registers], Any]:
        """Turn a call into a function of the registers that does as little as possible at run time."""
        if kwargs and not _contains_node(kwargs):
            function, kwargs = functools.partial(function, **{k: _plain(v) for k, v in kwargs.items()}), {}
        if kwargs or any(not isinstance(arg, fx.Node) and _contains_node(arg) for arg in args):
            getters = [self._argument_getter(arg, reads) for arg in args]
            named = {name: self._argument_getter(arg, reads) for name, arg in kwargs.items()}
            return lambda regs: function(*[get(regs) for get in getters], **{k: get(regs) for k, get in named.items()})
        sources = [
            self._register[arg] if isinstance(arg, fx.Node) else self._add_constant(_plain(arg), "") for arg in args
        ]
        reads.extend(sources)
        if len(sources) == 1:
            only = sources[0]
            return lambda regs: function(regs[only])
        if not sources:
            return lambda _: function()
        get_all = operator.itemgetter(*sources)
        return lambda regs: function(*get_all(regs))

    def _argument_getter(self, arg: Any, reads: list[int]) -> Callable[[Registers], Any]:
        """A function that builds one argument, which may contain nodes at any depth, from the registers."""
        if isinstance(arg, fx.Node):
            register = self._register[arg]
            reads.append(register)
            return lambda regs: regs[register]
        if not _contains_node(arg):
            value = _plain(arg)
            return lambda _: value
        if isinstance(arg, slice):
            parts = [self._argument_getter(part, reads) for part in (arg.start, arg.stop, arg.step)]
            return lambda regs: slice(*[part(regs) for part in parts])
        if isinstance(arg, dict):
            entries = {key: self._argument_getter(value, reads) for key, value in arg.items()}
            return lambda regs: {key: get(regs) for key, get in entries.items()}
        kind: Callable[[list[Any]], Any] = tuple if isinstance(arg, tuple) else list
        items = [self._argument_getter(item, reads) for item in arg]
        return lambda regs: kind([item(regs) for item in items])

    def _describe(self, node: fx.Node, target: Any, content: ContentHash) -> None:
        """Add all that decides what a node computes to a hash."""
        content.note(f"{node.op} -> %{self._register[node]}")
        content.add(target, f"what node {node.name!r} calls")
        where = f"an argument of node {node.name!r}"
        given = _with_defaults(target, node.args, node.kwargs) if isinstance(target, _OPERATOR) else None
        content.add(fx.map_arg((node.args, node.kwargs) if given is None else given, self._argument), where)

    def _argument(self, node: fx.Node) -> Any:
        """What to hash in place of a node: its register, or the constant that it stands for."""
        register = self._register[node]
        if register not in self._constants:
            return _Register(register)
        value = self._initial_registers[register]
        return (self._constants[register], value) if isinstance(value, torch.nn.Parameter) else value


def _with_defaults(operator_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Every argument of an operator by its name: some versions of torch write out the defaults, others do not."""
    names = [argument.name for argument in operator_._schema.arguments]  # noqa: SLF001  # no public access
    defaults = {a.name: a.default_value for a in operator_._schema.arguments if a.has_default_value()}  # noqa: SLF001
    values = {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
    return {name: values[name] for name in names if name in values and name not in _NOT_ANSWERS}


class _Register(NamedTuple):
    """An argument that is the value of a register."""

    number: int


def _contains_node(arg: Any) -> bool:
    nodes: list[fx.Node] = []
    fx.map_arg(arg, lambda node: nodes.append(node) or node)  # type: ignore[func-returns-value]
    return bool(nodes)


def _plain(arg: Any) -> Any:
    """The argument with plain lists and dicts. Fx stores immutable subclasses, which some operators handle slowly."""
    if type(arg) is tuple:
        return tuple(_plain(item) for item in arg)
    if isinstance(arg, list):
        return [_plain(item) for item in arg]
    if isinstance(arg, dict):
        return {key: _plain(value) for key, value in arg.items()}
    return arg


def _get_attribute(owner: Any, path: str) -> Any:
    try:
        return operator.attrgetter(path)(owner)
    except AttributeError:
        raise GraphError(f"the graph refers to {path!r}, which the module does not have") from None


def _short_name(function: Any) -> str:
    if isinstance(function, _OPERATOR):
        return str(function)
    return full_name(function).rpartition(".")[2]


def _method_caller(name: str) -> Callable[..., Any]:
    def call(receiver: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(receiver, name)(*args, **kwargs)

    return call
