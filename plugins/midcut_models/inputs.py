"""The example inputs of a user's module: from shapes alone, or with names, dtypes and values."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from midcut.errors import ConfigError
from midcut.types import ShapeRange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Inputs:
    """The inputs of a module.

    Attributes:
        names: of the arguments, empty if they are given by position.
        example: one tensor per input, with batch size 1.
    """

    names: tuple[str, ...]
    example: tuple[torch.Tensor, ...]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes without the batch dimension."""
        return [tuple(value.shape[1:]) for value in self.example]


def make_inputs(shapes: Sequence[Sequence[int]], named: Mapping[str, Any], seed: int, key: str) -> Inputs:
    """Make the inputs that the settings `input_shapes` or `inputs` describe.

    Args:
        key: the config path of the model, for errors.

    Raises:
        ConfigError: neither or both are given, or they contain something impossible.
    """
    if bool(shapes) == bool(named):
        raise ConfigError(
            f"{key}: either input_shapes, one shape per input, or inputs is needed, such as input_shapes=[[3,224,224]]"
        )
    if any(size < 1 for shape in shapes for size in shape):
        raise ConfigError(f"{key}.input_shapes: one shape per input, sizes from 1, got {[tuple(s) for s in shapes]}")
    generator = torch.Generator().manual_seed(seed)
    if shapes:
        example = tuple(torch.rand(1, *shape, generator=generator) for shape in shapes)
        return Inputs((), example)
    made = [_make_input(f"{key}.inputs.{name}", entry, generator) for name, entry in named.items()]
    return Inputs(tuple(named), tuple(made))


def make_ranges(
    inputs: Inputs,
    ends: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]],
    named: Mapping[str, Any],
    key: str,
) -> tuple[ShapeRange, ...]:
    """Return for each input the sizes that it may have; nothing where all have those of the example only.

    Args:
        ends: the settings `smallest_shapes` and `largest_shapes`.
        named: the setting `inputs`.

    Raises:
        ConfigError: other dimensions than the example's, or an example that is not between the two.
    """
    entries = [(f"{key}.inputs.{name}", "", entry) for name, entry in named.items()]
    smallest, largest = ends
    if named:
        smallest, largest = ([_field(entry, end, []) for entry in named.values()] for end in ("smallest", "largest"))
    elif bool(smallest) != bool(largest) or any(len(end) not in (0, len(inputs.example)) for end in ends):
        raise ConfigError(
            f"{key}: smallest_shapes and largest_shapes have one shape per input each, got {len(smallest)} and "
            f"{len(largest)} for {len(inputs.example)}"
        )
    if not any(map(len, (*smallest, *largest))):
        return ()
    ranges = []
    for position, (low, shape, high) in enumerate(zip(smallest, inputs.shapes, largest, strict=True)):
        where, suffix, _ = entries[position] if entries else (key, "_shapes", None)
        range_ = ShapeRange(tuple(low or shape), tuple(high or shape))
        sizes = zip(range_.smallest, shape, range_.largest, strict=False)
        same_length = len(range_.smallest) == len(shape) == len(range_.largest)
        if not same_length or not all(1 <= a <= b <= c for a, b, c in sizes):
            raise ConfigError(
                f"{where}.smallest{suffix}={list(low)}, largest{suffix}={list(high)}: the shape {list(shape)} must be "
                "between the two in each dimension, sizes from 1"
            )
        ranges.append(range_)
    return tuple(ranges)


def square_ranges(sides: Sequence[int], shape: Sequence[int], key: str) -> tuple[ShapeRange, ...]:
    """Return the sizes of a classifier's only input whose height and width may be between two sides.

    Args:
        sides: the smallest and the largest; nothing is the shape alone.
        shape: of the example, channels first.
        key: the config path of the model, for errors.

    Raises:
        ConfigError: other than two, or the example's are not between them.
    """
    if not sides:
        return ()
    if len(sides) != 2 or not 1 <= sides[0] <= min(shape[1:]) <= max(shape[1:]) <= sides[1]:
        raise ConfigError(
            f"{key}.sides: the smallest and the largest side, with {list(shape[1:])} between them, got {list(sides)}"
        )
    low, high = ((shape[0], side, side) for side in sides)
    return (ShapeRange(low, high),)


def call_by_name(module: torch.nn.Module, names: Sequence[str], key: str) -> torch.nn.Module:
    """Return a module whose positional inputs are the arguments of these names, in this order.

    Raises:
        ConfigError: the module has no argument of such a name.
    """
    parameters = inspect.signature(module.forward).parameters
    known = [name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_POSITIONAL]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [name for name in names if not name.isidentifier() or (name not in known and not takes_any)]
    if unknown:
        raise ConfigError(
            f"{key}.inputs: {type(module).__name__} has no argument {unknown[0]!r}; it has: {', '.join(known)}"
        )
    positional = [name for name in known if parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY]
    if list(names) == positional[: len(names)]:
        return module
    arguments = ", ".join(f"{name}={name}" for name in names)
    namespace: dict[str, Callable[..., Any]] = {}
    exec(  # noqa: S102  # a function with these arguments; the names were checked to be names
        f"def forward(self, {', '.join(names)}):\n    return self.module({arguments})", {}, namespace
    )
    kind = type(_ByName.__name__, (_ByName,), {"forward": namespace["forward"], "__module__": __name__})
    made: torch.nn.Module = kind(module, names)
    return made


class _ByName(torch.nn.Module):
    """Calls a module with keyword arguments. Tracers read the inputs' names from the `forward` of its class."""

    def __init__(self, module: torch.nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(names)
        self.train(mode=module.training)


def _make_input(where: str, entry: Any, generator: torch.Generator) -> torch.Tensor:
    name, shape = _field(entry, "dtype", "float32"), _field(entry, "shape", [])
    values, below = _field(entry, "values", None), _field(entry, "below", 2)
    dtype = getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigError(f"{where}.dtype: {name!r} is not a dtype of torch, such as float32 or int64")
    if any(type(size) is not int or size < 1 for size in shape):
        raise ConfigError(f"{where}.shape: sizes from 1, without the batch dimension, got {list(shape)}")
    if values is not None:
        return _given(where, values, shape, dtype)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.rand(1, *shape, generator=generator).to(dtype)
    if below < 1:
        raise ConfigError(f"{where}.below: must be from 1, got {below}")
    return torch.randint(0, below, (1, *shape), generator=generator).to(dtype)


def _given(where: str, values: Any, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    try:
        tensor = torch.tensor(values, dtype=dtype)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ConfigError(f"{where}.values: not nested lists of {dtype}: {' '.join(str(error).split())}") from None
    if tensor.dim() == 0:
        return tensor.expand(1, *shape).clone()
    if shape and list(tensor.shape) != list(shape):
        raise ConfigError(f"{where}.values: have shape {list(tensor.shape)}, but shape is {list(shape)}")
    return tensor.unsqueeze(0)


def _field(entry: Any, name: str, default: Any) -> Any:
    """A field of an input's settings, which are a dataclass or a mapping."""
    return entry.get(name, default) if isinstance(entry, dict) else getattr(entry, name, default)
