"""Refuses models that keep something from one call to the next: their tail in the cloud would not have it."""

from __future__ import annotations

import contextlib
import enum
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from midcut.errors import GraphError
from midcut.graph.module_state import ModuleState
from midcut.graph.outputs import register_dataclasses
from midcut.graph.varying import DataDependence
from midcut.graph.verify import same_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES = 3
# What an output may consist of, beside containers that torch's pytree knows.
_LEAVES = (
    torch.Tensor, int, float, complex, str, bytes, type(None), enum.Enum,
    torch.dtype, torch.device, torch.layout, torch.memory_format,
)  # fmt: skip


class Observed(NamedTuple):
    """What a model does with its example.

    Attributes:
        output: the model's output.
        forward_s: seconds that it takes.
        state: of the module after its first call, with tables that it makes when they are first needed.
        data_dependent: whether the size of some value depends on the data.
        made: whether the first call made something that later ones use.
    """

    output: Any
    forward_s: float
    state: ModuleState
    data_dependent: bool
    made: bool


def observe(module: torch.nn.Module, example: Sequence[torch.Tensor]) -> Observed:
    """Run a model on its example, on other values and on its example again, twice; leave it as it is after one call.

    Raises:
        GraphError: it fails, gives another answer to the same input, or some attribute changes with every call.
    """
    untouched = ModuleState(module)
    first = run_once(module, example)
    register_dataclasses(first)
    _check_leaves(type(module).__name__, first)
    made = untouched.changes()
    state = ModuleState(module)
    # Only here, because kernels may differ while operators are watched.
    with DataDependence() as watching, contextlib.suppress(GraphError):  # the other values may not be valid ones
        run_once(module, [_other_values(value) for value in example])
    remembered = state.changes()
    second = run_once(module, example)
    before = ModuleState(module)
    started = time.perf_counter()
    third = run_once(module, example)
    forward_s = time.perf_counter() - started
    growing = before.changes()
    state.restore()
    leaves = [pytree.tree_leaves(output) for output in (first, second, third)]
    if not same_bits(leaves[0], leaves[1]) or not same_bits(leaves[1], leaves[2]):
        raise GraphError(_other_answer(type(module).__name__, list(dict.fromkeys([*growing, *remembered, *made]))))
    if growing:
        raise GraphError(
            f"{_listing(growing)} of {type(module).__name__} changes with every call: a cloud that does not share it "
            "may give other answers"
        )
    return Observed(third, forward_s, state, bool(watching.dims or watching.numbers), bool(made))


def run_once(module: torch.nn.Module, inputs: Sequence[torch.Tensor], what: str = "its own example") -> Any:
    """Run a module on copies of these inputs. Raises GraphError, one line that calls them `what`, where it fails."""
    try:
        with torch.no_grad():
            return module(*[value.detach().clone() for value in inputs])
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        line = " ".join(str(error).split())[:300]
        shapes = ", ".join(f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}" for value in inputs)
        raise GraphError(
            f"{type(module).__name__} fails on {what} ({shapes}): {type(error).__name__}: {line}{_hint(line, inputs)}"
        ) from error


def _check_leaves(model: str, output: Any) -> None:
    """Refuse an output that has something in it which cannot be compared, nor sent."""
    for leaf in pytree.tree_leaves(output):
        if not isinstance(leaf, _LEAVES):
            raise GraphError(
                f"{model} returns a {type(leaf).__module__}.{type(leaf).__qualname__}, where tensors, numbers, and "
                "tuples, lists, dicts and dataclasses of these can be returned"
            )


def _hint(line: str, inputs: Sequence[torch.Tensor]) -> str:
    wants_integers = any(word in line for word in ("Long", "Int", "integer"))
    if not wants_integers or not all(value.is_floating_point() for value in inputs):
        return ""
    return "; token ids need a dtype and a range: inputs={NAME: {dtype: int64, shape: [LENGTH], below: VOCABULARY}}"


def _other_values(value: torch.Tensor) -> torch.Tensor:
    """The same elements in another order, so that each is still valid; floats are halved, too."""
    if value.is_quantized or value.layout is not torch.strided:
        return value
    order = torch.randperm(value.numel(), generator=torch.Generator().manual_seed(1))
    shuffled = value.reshape(-1)[order.to(value.device)].reshape(value.shape)
    return shuffled * 0.5 if value.is_floating_point() else shuffled


def _other_answer(model: str, names: Sequence[str]) -> str:
    if names:
        return f"{model} keeps {_listing(names)} from one call to the next, which a cloud would not have"
    return (
        f"{model} gives another answer to the same input each time: it draws random numbers, or keeps something "
        "outside of its attributes"
    )


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(repr(name) for name in names[:_NAMES]) + more
