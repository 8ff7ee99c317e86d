"""Hashes everything in a Python object that can decide what a module computes, equally in every process.

Equal on every machine, by construction: nothing here depends on an address, on the order of a set, on a platform's
number formats, or on Python's bytecode where there is source. Numbers are hashed as text in their shortest exact form
or as IEEE 754 little-endian bytes, tensors by their elements in logical order (whatever their strides), functions by
their source.
"""

from __future__ import annotations

import ast
import enum
import functools
import hashlib
import inspect
import logging
import re
import struct
import textwrap
import types
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from midcut.errors import GraphError
from midcut.tensors import tensor_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Code that both sides have from the same package: its names suffice. That it computes the same is the probe's to find.
_KNOWN: Final = frozenset({"torch", "torchvision", "builtins", "_operator", "operator", "math", "functools", "numpy"})
_PRINTED: Final = (
    type(None), bool, int, float, complex, str, bytes, range, type(Ellipsis),
    torch.dtype, torch.device, torch.layout, torch.memory_format, torch.qscheme,
)  # fmt: skip
# What a module does with hooks for gradients and state dicts does not change its answers.
_NOT_ANSWERS: Final = frozenset({
    "_backward_pre_hooks", "_backward_hooks", "_is_full_backward_hook", "_non_persistent_buffers_set",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
    "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
    "_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks", "_compiled_call_impl",
})  # fmt: skip


class ContentHash:
    """Collects content into two hashes.

    Args:
        covered: tensors whose elements are hashed by somebody else.
        sources: whether to add the source of classes, too, which takes milliseconds a class; else only their names.

    Attributes:
        settings: everything but elements of tensors.
        weights: elements of tensors.
    """

    def __init__(self, covered: Iterable[torch.Tensor] = (), *, sources: bool = True) -> None:
        self.settings = hashlib.sha256()
        self.weights = hashlib.sha256()
        self._covered = {id(tensor) for tensor in covered}
        self._sources = sources
        self._code: dict[int, Any] = {}  # functions and classes that were added
        self._inside: list[int] = []  # objects being added

    def note(self, text: str) -> None:
        """Add a line of text."""
        self.settings.update(f"{text}\n".encode())

    def add(self, value: Any, where: str) -> None:
        """Add a value and everything in it.

        Args:
            where: its name, for the error.

        Raises:
            GraphError: the value is of a kind whose content cannot be seen.
        """
        if isinstance(value, _PRINTED) and not isinstance(value, enum.Enum):
            self.note(f"{type(value).__name__} {value!r}")
        elif id(value) in self._inside:
            self.note(f"itself, {len(self._inside) - self._inside.index(id(value))} up")
        else:
            self._inside.append(id(value))
            self._add_object(value, where)
            self._inside.pop()

    @functools.singledispatchmethod
    def _add_object(self, value: Any, where: str) -> None:
        if callable_by_name(value):
            self._add_code(value, where)
        else:
            self._add_attributes(value, where)

    @_add_object.register
    def _(self, value: enum.Enum, where: str) -> None:  # noqa: ARG002 - the name of a member says all
        self.note(f"enum {full_name(type(value))} {value.name}")

    @_add_object.register(np.ndarray)
    @_add_object.register(np.number)
    @_add_object.register(np.bool_)
    def _(self, value: Any, where: str) -> None:
        if value.dtype.kind not in "biufc":
            raise GraphError(f"{where} is a numpy array of {value.dtype}, whose content cannot be seen")
        little_endian = value.dtype.newbyteorder("<")
        self.note(f"array {little_endian.str} {value.shape}")
        self.weights.update(value.astype(little_endian).tobytes())

    @_add_object.register
    def _(self, value: dict, where: str) -> None:  # type: ignore[type-arg]  # the registry needs a plain class
        self.note(f"{full_name(type(value))} of {len(value)}")
        for key, item in value.items():
            self.add(key, where)
            self.add(item, f"{where}[{key!r}]")

    @_add_object.register(list)
    @_add_object.register(tuple)
    @_add_object.register(deque)
    def _(self, value: Any, where: str) -> None:
        self.note(f"{full_name(type(value))} of {len(value)}")
        for position, item in enumerate(value):
            self.add(item, f"{where}[{position}]")

    @_add_object.register(set)
    @_add_object.register(frozenset)
    def _(self, value: Any, where: str) -> None:
        self.note(f"{type(value).__name__} {sorted(digest_of(item, where) for item in value)}")

    @_add_object.register
    def _(self, value: slice, where: str) -> None:
        self.add((value.start, value.stop, value.step), where)

    @_add_object.register
    def _(self, value: functools.partial, where: str) -> None:  # type: ignore[type-arg]  # as above
        self.add((value.func, value.args, value.keywords), where)

    @_add_object.register(weakref.ref)
    @_add_object.register(logging.Logger)
    def _(self, value: Any, where: str) -> None:
        """Add nothing: these decide no answer."""

    @_add_object.register(torch.Tensor)
    def _add_tensor(self, tensor: torch.Tensor, where: str) -> None:  # noqa: ARG002 - any tensor can be hashed
        self.note(f"tensor {tensor.dtype} {tuple(tensor.shape)}")
        if id(tensor) not in self._covered:
            for data in elements(tensor):
                self.weights.update(data)

    @_add_object.register(torch.nn.Module)
    def _add_module(self, module: torch.nn.Module, where: str) -> None:
        """Add the settings, parameters, hooks and submodules of a module, and its code if it is not torch's."""
        self._add_code(type(module), where)
        for name in ("_parameters", "_buffers", "_modules"):
            for key, item in vars(module).get(name, {}).items():
                self.note(f"{name} {key}")
                self.add(item, f"{where}.{key}")
        self.add(forward_hooks(module), f"{where}'s hooks")
        for key, item in sorted(vars(module).items()):
            if key not in _NOT_ANSWERS:
                self.note(f"attribute {key}")
                self.add(item, f"{where}.{key}")

    @_add_object.register(types.FunctionType)
    @_add_object.register(types.MethodType)
    @_add_object.register(type)
    def _add_code(self, value: Any, where: str) -> None:
        """Add a function, method or class: its name, and its source and what it refers to if it is the user's."""
        if isinstance(value, types.MethodType):
            self.add((value.__func__, value.__self__), where)
            return
        self.note(f"{type(value).__name__} {full_name(value)}")
        if is_known(value) or id(value) in self._code:
            return
        self._code[id(value)] = value
        if isinstance(value, type) and self._sources:
            self.note(source_of(value) or f"no source of {full_name(value)}")
            for base in value.__mro__[1:]:
                self.add(base, where)
        elif isinstance(value, types.FunctionType):
            self._add_function(value, where)

    def _add_function(self, function: types.FunctionType, where: str) -> None:
        source = source_of(function)
        if source is None:
            self._add_bytecode(function.__code__)
        else:
            self.note(source)
        self.add((function.__defaults__, function.__kwdefaults__), f"the defaults of {where}")
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.note(f"closure {name}")
            self.add(_content(cell), f"{name!r} in {where}")
        for name in function.__code__.co_names:
            value = function.__globals__.get(name)
            if not isinstance(value, types.ModuleType) and name in function.__globals__:
                self.note(f"global {name}")
                self.add(value, f"{name!r} in {where}")

    def _add_bytecode(self, code: types.CodeType) -> None:
        self.note(f"code {code.co_code.hex()} {code.co_names} {code.co_varnames}")
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._add_bytecode(constant)
            else:
                self.note(repr(constant))

    def _add_attributes(self, value: Any, where: str) -> None:
        """Add an object of any other class: its class, and all its attributes or the state that it would be saved by.

        Raises:
            GraphError: it has neither.
        """
        kind = type(value)
        state: Any = getattr(value, "__dict__", None)
        slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ()) if hasattr(value, name)]
        if isinstance(value, torch.ScriptObject):
            state = _packed_state(value)
        elif slots:
            state = {**(state or {}), **{name: getattr(value, name) for name in slots if name != "__weakref__"}}
        if state is None:
            raise GraphError(
                f"{where} is a {full_name(kind)}, whose content cannot be seen: edge and cloud could not make sure "
                "that theirs is the same"
            )
        self.note("packed" if isinstance(value, torch.ScriptObject) else "object")
        self.add(kind, where)
        self.add(state, where)


def digest_of(value: Any, where: str) -> str:
    """Hash one value, tensors and all; 16 hex digits."""
    content = ContentHash()
    content.add(value, where)
    return hashlib.sha256(content.settings.digest() + content.weights.digest()).hexdigest()[:16]


def elements(tensor: torch.Tensor) -> Iterable[bytes | memoryview]:
    """Return all that a tensor holds as bytes: its elements in logical order, and how they are quantised."""
    tensor = tensor.detach().cpu()
    if tensor.is_quantized:
        yield f"{tensor.qscheme()} ".encode()
        if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            yield struct.pack("<dq", tensor.q_scale(), tensor.q_zero_point())
        else:
            yield from elements(tensor.q_per_channel_scales().double())
            yield from elements(tensor.q_per_channel_zero_points().double())
        tensor = tensor.int_repr()
    if tensor.is_nested:
        for item in tensor.unbind():
            yield f"{tuple(item.shape)} ".encode()
            yield from elements(item)
        return
    if tensor.layout is not torch.strided:
        yield f"{tensor.layout} ".encode()
        tensor = tensor.to_dense()
    tensor = tensor.resolve_conj().resolve_neg().contiguous()
    plain = tensor.dtype in (torch.float32, torch.float64, torch.int64)
    yield tensor_to_bytes(tensor if plain else tensor.reshape(-1).view(torch.uint8))[0]


def forward_hooks(module: torch.nn.Module) -> list[tuple[Any, ...]]:
    """Return the hooks that run with a module, in order, with their kinds; the numbers that torch gives them differ."""
    state = vars(module)
    return [
        (kind, hook, key in state.get(f"{kind}_with_kwargs", ()), key in state.get(f"{kind}_always_called", ()))
        for kind in ("_forward_pre_hooks", "_forward_hooks")
        for key, hook in (state.get(kind) or {}).items()
    ]


def full_name(value: Any) -> str:
    """Return the module and qualified name of a class or function."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__name__)
    return f"{getattr(value, '__module__', None) or ''}.{name}"


def is_known(value: Any) -> bool:
    """Whether a class or function comes from a package of which a name suffices."""
    return str(getattr(value, "__module__", None) or "builtins").partition(".")[0] in _KNOWN


def callable_by_name(value: Any) -> bool:
    """Whether a value is a function without Python code, such as an operator of torch."""
    return isinstance(value, (types.BuiltinFunctionType, torch._ops.OpOverload, torch._ops.OpOverloadPacket))  # noqa: SLF001


def source_of(value: Callable[..., Any]) -> str | None:
    """Return the source of a class or function, without its indentation; None where there is none."""
    try:
        if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>":
            return _source_of_lambda(value)
        return textwrap.dedent(inspect.getsource(value)).strip()
    except (OSError, TypeError, SyntaxError):
        return None


def _source_of_lambda(function: types.FunctionType) -> str | None:
    """Return its own expression, as a line may have several; None where it is not clear which of them it is."""
    text = "".join(inspect.findsource(function)[0])
    spans = [span for span in function.__code__.co_positions() if span[0] and span[3]]
    first = min((line, column) for line, _, column, _ in spans if column) if spans else (0, 0)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    found = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Lambda)
        and (node.body.lineno, node.body.col_offset)
        <= first
        <= (node.body.end_lineno or 0, node.body.end_col_offset or 0)
        and tuple(argument.arg for argument in (*node.args.posonlyargs, *node.args.args)) == names
    ]
    return ast.get_source_segment(text, found[-1]) if found else None  # the innermost


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the variable has not been set
        return None


def _packed_state(value: torch.ScriptObject) -> Any:
    """What a packed object would be saved as, such as the weights and bias of a quantised layer."""
    try:
        state: Any = value.__getstate__()
    except (RuntimeError, AttributeError):
        return None
    # Beside the content there is the name of the class, which contains a number that differs from process to process.
    return [re.sub(r"___torch_mangle_\d+\.", "", part) if isinstance(part, str) else part for part in state]
