"""Finds the output that a task needs, and names classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from midcut.errors import ConfigError
from midcut.tensors import is_tensor, to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from midcut.types import Floats

_log = structlog.get_logger("midcut.task")
_PREFERRED = ("logits", "scores", "out", "output", "output_0")


def choose(
    outputs: Mapping[str, Any], name: str | None, fits: Callable[[NDArray[Any]], bool], task: str, shape: str
) -> NDArray[Any]:
    """The output with a name, as an array, or else the first that fits, well-known names first.

    Raises:
        ConfigError: there is no such output, or it does not fit; the message lists what there is.
    """
    tensors = {key: to_numpy(value) for key, value in outputs.items() if is_tensor(value)}
    if name is not None and name not in tensors:
        raise ConfigError(f"task.output={name} is no output of this model; there are: {describe(outputs)}")
    names = [name] if name is not None else [*(key for key in _PREFERRED if key in tensors), *tensors]
    for key in names:
        if fits(tensors[key]):
            return tensors[key]
    raise ConfigError(f"task={task} needs an output of shape {shape}; there are: {describe(outputs)}")


class NotFinite:
    """The reason for an answer without a class: NaN or infinity decides it, as after an overflow. Logged once."""

    def __init__(self, task: str) -> None:
        self._task, self._logged = task, False

    def reason(self, what: str) -> dict[str, str]:
        """The field of an answer that says so; `what` is not finite."""
        reason = f"the model's {what} are not finite"
        if not self._logged:
            self._logged = True
            _log.warning("no answer", task=self._task, reason=reason)
        return {"reason": reason}


def are_decided(scores: NDArray[Any], axis: int) -> bool:
    """Whether all largest scores are finite: neither NaN nor infinite; -inf masks what is never chosen."""
    return bool(np.isfinite(scores.max(axis=axis)).all())


def is_float(value: NDArray[Any]) -> bool:
    """Whether the elements are floats."""
    return value.dtype.kind == "f"


def softmax(scores: NDArray[Any]) -> Floats:
    """Probabilities along the last axis, in float64; NaN where the largest score is not finite."""
    shifted = scores.astype(np.float64)
    with np.errstate(invalid="ignore"):
        shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    probabilities: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(scores: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-x)) of each element, in its own dtype."""
    wide = np.exp(-np.abs(scores))
    values: NDArray[Any] = np.where(scores >= 0, 1 / (1 + wide), wide / (1 + wide)).astype(scores.dtype)
    return values


def largest(values: Floats, count: int) -> list[int]:
    """Positions of the largest elements of a vector, the largest first, equal ones in their order."""
    if count < len(values):
        likely = np.flatnonzero(values >= np.partition(values, -count)[-count])
    else:
        likely = np.arange(len(values))
    order: list[int] = likely[np.argsort(-values[likely], kind="stable")][:count].tolist()
    return order


def describe(outputs: Mapping[str, Any]) -> str:
    """The outputs with dtype and shape in words."""
    return ", ".join(f"{name} {_kind(value)}" for name, value in outputs.items()) or "none"


def label(labels: Sequence[str], index: int) -> str:
    """The name of a class, `""` where it has none."""
    return labels[index] if 0 <= index < len(labels) else ""


def _kind(value: Any) -> str:
    if is_tensor(value):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__
