"""Finds the output that a task needs, and names classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PREFERRED = ("logits", "scores", "out", "output", "output_0")


def choose(
    outputs: Mapping[str, Any], name: str | None, fits: Callable[[torch.Tensor], bool], task: str, shape: str
) -> torch.Tensor:
    """The output with a name, or else the first that fits, well-known names first.

    Raises:
        ConfigError: there is no such output, or it does not fit; the message lists what there is.
    """
    tensors = {key: value for key, value in outputs.items() if isinstance(value, torch.Tensor)}
    if name is not None and name not in tensors:
        raise ConfigError(f"task.output={name} is no output of this model; there are: {describe(outputs)}")
    names = [name] if name is not None else [*(key for key in _PREFERRED if key in tensors), *tensors]
    for key in names:
        if fits(tensors[key]):
            return tensors[key]
    raise ConfigError(f"task={task} needs an output of shape {shape}; there are: {describe(outputs)}")


def describe(outputs: Mapping[str, Any]) -> str:
    """The outputs with dtype and shape in words."""
    return ", ".join(f"{name} {_kind(value)}" for name, value in outputs.items()) or "none"


def label(labels: Sequence[str], index: int) -> str:
    """The name of a class, `""` where it has none."""
    return labels[index] if 0 <= index < len(labels) else ""


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__
