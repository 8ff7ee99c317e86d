"""The attributes of a module and of everything in it, recorded to be compared and restored."""

from __future__ import annotations

import types
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import torch

from midcut.graph.verify import same_bits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAX_DEPTH: Final = 12
# Objects of these packages hold no state of a model, but may lead to a great many others.
_NOT_INSIDE: Final = ("torch", "numpy", "logging", "threading", "builtins", "_weakref", "weakref", "re", "_io")


class ModuleState:
    """What a module and its submodules hold: attributes, containers in them, and the contents of buffers.

    Parameters are compared by their versions, which torch raises with each write, and are not copied.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._holders: list[tuple[str, Any, Any]] = []  # name, a container or a namespace, a copy of its content
        self._tensors: dict[int, tuple[str, torch.Tensor, int, torch.Tensor | None]] = {}
        self._seen: set[int] = set()
        self._record("", module, 0)

    def restore(self) -> None:
        """Put everything back as it was recorded."""
        for _, holder, copy in self._holders:
            if not _same_items(holder, copy):
                _refill(holder, copy)
        with torch.no_grad():
            for _, tensor, version, copy in self._tensors.values():
                if copy is not None and tensor._version != version:  # noqa: SLF001  # the only counter of writes
                    tensor.copy_(copy)

    def changes(self) -> list[str]:
        """Names of the attributes that now have another value than when they were recorded."""
        names = [
            _join(name, key)
            for name, holder, copy in self._holders
            for key in _changed_keys(holder, copy)
            if not key.startswith("_forward_")
        ]
        names += [
            name
            for name, tensor, version, copy in self._tensors.values()
            if tensor._version != version and (copy is None or not same_bits(tensor, copy))  # noqa: SLF001
        ]
        return list(dict.fromkeys(name for name in names if name))

    def _record(self, name: str, value: Any, depth: int) -> None:
        if id(value) in self._seen or depth > _MAX_DEPTH:
            return
        if isinstance(value, torch.Tensor):
            self._record_tensor(name, value)
            return
        holder = _holder(value)
        if holder is None and not isinstance(value, (tuple, frozenset)):
            return
        self._seen.add(id(value))
        if holder is not None:
            self._holders.append((name, holder, _copy(holder)))
        for key, item in _items(value if holder is None else holder):
            self._record(_join(name, key), item, depth + 1)

    def _record_tensor(self, name: str, tensor: torch.Tensor) -> None:
        self._seen.add(id(tensor))
        plain = tensor.layout is torch.strided and not isinstance(tensor, torch.nn.Parameter) and not _is_fake(tensor)
        self._tensors[id(tensor)] = (name, tensor, tensor._version, tensor.detach().clone() if plain else None)  # noqa: SLF001


def _holder(value: Any) -> Any:
    """What of a value can be refilled: a container itself, the namespace of an object; None for anything else."""
    if isinstance(value, (dict, list, set, deque)):
        return value
    if isinstance(value, torch.nn.Module):
        return vars(value)
    if isinstance(value, (type, types.FunctionType, types.ModuleType, types.MethodType)):
        return None
    known = type(value).__module__.partition(".")[0] in _NOT_INSIDE
    return None if known else getattr(value, "__dict__", None)


def _items(holder: Any) -> Iterator[tuple[str, Any]]:
    pairs: Iterable[tuple[Any, Any]] = holder.items() if isinstance(holder, dict) else enumerate(holder)
    return ((str(key), item) for key, item in list(pairs))


def _join(name: str, key: str) -> str:
    """The name of an item as a user writes it: torch keeps parameters, buffers and submodules in dicts of their own."""
    if key in ("_parameters", "_buffers", "_modules"):
        return name
    return f"{name}.{key}" if name else key


def _copy(holder: Any) -> Any:
    return dict(holder) if isinstance(holder, dict) else type(holder)(holder)


def _refill(holder: Any, copy: Any) -> None:
    holder.clear()
    (holder.extend if isinstance(holder, (list, deque)) else holder.update)(copy)


def _same_items(holder: Any, copy: Any) -> bool:
    if len(holder) != len(copy):
        return False
    if isinstance(holder, set):
        return bool(holder == copy)
    one, other = list(_items(holder)), list(_items(copy))
    return all(a[0] == b[0] and a[1] is b[1] for a, b in zip(one, other, strict=True))


def _changed_keys(holder: Any, copy: Any) -> list[str]:
    if isinstance(holder, set):
        return [] if holder == copy else ["a set"]
    now, before = dict(_items(holder)), dict(_items(copy))
    return [
        key
        for key in {**before, **now}
        if key not in now or key not in before or not _same_value(now[key], before[key], 0)
    ]


def _same_value(a: Any, b: Any, depth: int) -> bool:
    """Whether two values would act alike: the same object, or equal content."""
    if a is b or depth > _MAX_DEPTH:
        return True
    if isinstance(a, torch.Tensor):
        return same_bits(a, b)
    inner, other = (value if isinstance(value, tuple) else _holder(value) for value in (a, b))
    if type(a) is type(b) and isinstance(inner, (dict, list, tuple, deque)):
        one, two = dict(_items(inner)), dict(_items(other))
        return one.keys() == two.keys() and all(_same_value(one[key], two[key], depth + 1) for key in one)
    try:
        return type(a) is type(b) and bool(a == b)
    except Exception:  # noqa: BLE001  # a foreign class may compare in any way
        return False


def _is_fake(tensor: torch.Tensor) -> bool:
    return type(tensor) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
