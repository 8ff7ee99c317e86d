"""The forms in which values cross cuts, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch

from midcut.errors import GraphError
from midcut.graph.crossing import PLAIN, Complex, Form, Items, Number, Quantised, Reinterpreted, Setting, Strided

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTAINERS: Final[dict[str, Any]] = {"tuple": tuple, "list": list, "size": torch.Size}
_NUMBERS: Final[dict[str, type]] = {"float": float, "bool": bool}
_TORCH: Final = (torch.dtype, torch.layout, torch.memory_format)


def encode_form(form: Form) -> list[Any]:  # noqa: PLR0911 - one for each kind
    """Return a form as plain lists.

    Raises:
        GraphError: a container of a class that cannot be named here.
    """
    if isinstance(form, Strided):
        return ["strided", form.sizes, form.strides]
    if isinstance(form, Reinterpreted):
        return ["reinterpreted", str(form.dtype).removeprefix("torch.")]
    if isinstance(form, Quantised):
        return ["quantised", form.axis]
    if isinstance(form, Number):
        return ["number", form.kind.__name__]
    if isinstance(form, Setting):
        return ["setting", *_encode_setting(form.value)]
    if isinstance(form, Items):
        return ["items", _container(form), [encode_form(inner) for inner in form.forms], form.suffixes]
    return ["complex"] if isinstance(form, Complex) else ["plain"]


def decode_form(content: list[Any]) -> Form:
    """Return the form of plain lists.

    Raises:
        GraphError: they are not those of a form.
    """
    kind, *rest = content
    if kind == "plain":
        return PLAIN
    if kind == "strided":
        sizes, strides = (tuple(tuple(entry) for entry in entries) for entries in rest)
        return Strided(sizes, strides)
    if kind == "items":
        container, forms, suffixes = rest
        inner = tuple(decode_form(form) for form in forms)
        if isinstance(container, list):
            keys = tuple(container)
            return Items(lambda items: dict(zip(keys, items, strict=True)), inner, keys, tuple(suffixes))
        return Items(_CONTAINERS[container], inner, None, tuple(suffixes))
    if kind == "setting":
        return Setting(_decode_setting(*rest))
    simple: dict[str, Callable[[], Form]] = {
        "complex": Complex,
        "reinterpreted": lambda: Reinterpreted(getattr(torch, rest[0])),
        "quantised": lambda: Quantised(rest[0]),
        "number": lambda: Number(_NUMBERS[rest[0]]),
    }
    if kind not in simple:
        raise GraphError(f"there is no form {kind!r}")
    return simple[kind]()


def _container(form: Items) -> str | list[Any]:
    if form.keys is not None:
        return list(form.keys)
    name = next((name for name, kind in _CONTAINERS.items() if kind is form.make), None)
    if name is None:
        raise GraphError("a tuple with named items cannot be saved")
    return name


def _encode_setting(value: Any) -> list[Any]:
    if value is None or isinstance(value, str):
        return ["plain", value]
    if isinstance(value, torch.device):
        return ["device", str(value)]
    return ["torch", str(value).removeprefix("torch.")]


def _decode_setting(kind: str, content: Any) -> Any:
    if kind == "plain":
        return content
    if kind == "device":
        return torch.device(content)
    setting = getattr(torch, content)
    if not isinstance(setting, _TORCH):
        raise GraphError(f"{content!r} is no setting")
    return setting
