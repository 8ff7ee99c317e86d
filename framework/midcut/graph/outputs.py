"""Names of a model's outputs: dict keys, fields of dataclasses and named tuples, positions of tuples."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from midcut.types import Output, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

ONLY_OUTPUT = "output"
"""Name of the output of a model that returns a single tensor; `output_0`, `output_1` are those of a tuple."""


class Position(int):
    """Stands for a value at the last cut, so that the assembled output shows where each value goes."""


class NamedOutputs(dict[str, Any]):
    """The outputs by name, of a network whose own structure of outputs is not known, as of an exported one."""


def named_leaves(output: Any) -> dict[str, Tensor | int]:
    """The tensors and ints in a nested output by name, in its order. Nested names are joined by dots.

    A float is given as a tensor of shape (1,), as no message has plain floats.
    """
    if isinstance(output, NamedOutputs):
        return dict(output)
    import torch  # noqa: PLC0415 - only where the output is torch's
    from torch.utils import _pytree as pytree  # noqa: PLC0415

    named: dict[str, Tensor | int] = {}
    for path, leaf in pytree.tree_flatten_with_path(output)[0]:
        if isinstance(leaf, float):
            leaf = torch.tensor([leaf], dtype=torch.float64)  # noqa: PLW2901 - the same value in another form
        if isinstance(leaf, torch.Tensor | int):
            name = _path_name(path)
            named[name if name not in named else f"{name}_{len(named)}"] = leaf
    return named


def name_outputs(assembled: Any) -> tuple[Output, ...]:
    """The outputs that are values at the last cut.

    Args:
        assembled: the model's output with a `Position` for each of these values.
    """
    leaves = named_leaves(assembled).items()
    return tuple(Output(name, int(leaf)) for name, leaf in leaves if isinstance(leaf, Position))


def register_dataclasses(output: Any) -> None:
    """Let torch look into the dataclasses in an output, as it does into dicts and tuples."""
    from torch.utils import _pytree as pytree  # noqa: PLC0415

    for kind in _unregistered(output):
        pytree.register_dataclass(kind)


def _unregistered(value: Any) -> Iterator[type]:
    from torch.utils import _pytree as pytree  # noqa: PLC0415

    if dataclasses.is_dataclass(value) and not isinstance(value, type) and type(value) not in pytree.SUPPORTED_NODES:
        yield type(value)
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    for inner in value if isinstance(value, list | tuple) else ():
        yield from _unregistered(inner)


def _path_name(path: tuple[Any, ...]) -> str:
    if not path:
        return ONLY_OUTPUT
    from torch.utils import _pytree as pytree  # noqa: PLC0415

    first = f"{ONLY_OUTPUT}_{path[0].idx}" if isinstance(path[0], pytree.SequenceKey) else _key_text(path[0])
    return ".".join([first, *map(_key_text, path[1:])])


def _key_text(key: Any) -> str:
    from torch.utils import _pytree as pytree  # noqa: PLC0415

    if isinstance(key, pytree.MappingKey):
        return str(key.key)
    return str(key.idx if isinstance(key, pytree.SequenceKey) else getattr(key, "name", key))
