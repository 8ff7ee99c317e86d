"""A digest of what a model answers to a fixed input, by which two sides notice that they compute something else.

The fingerprint compares what the sides have, the probe what comes out: it also finds differences in libraries, kernels
and code that no hash covers. Digests are compared within a tolerance, since kernels of other processors add in another
order.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midcut.tensors import is_tensor, to_numpy
from midcut.types import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from midcut.types import Tensor

# Share of an output's standard deviation by which digests may differ: kernels of float32 stay below 0.001, a
# difference of one step of an 8-bit network is about 0.01, networks with other settings are beyond 0.1.
TOLERANCE: Final = 0.02
# Share of its root mean square, for outputs that are nearly constant.
NOISE: Final = 1e-4
_PROJECTIONS: Final = 4


def probe(run: Callable[[Sequence[Tensor]], Sequence[Any]], example: Sequence[Tensor]) -> Probe | None:
    """Run a model on a fixed input; None where it does not take that.

    Args:
        run: computes the outputs, tensors and ints.
        example: inputs of the right shapes. The elements of those that are not floats are used, because other
            numbers may not be valid.
    """
    generator = np.random.RandomState(0)
    inputs = [_input(value, generator) for value in example]
    given = hashlib.sha256()
    for value in inputs:
        given.update(f"torch.{_dtype(value)} {tuple(value.shape)}".encode())
        if not _is_float(value):
            for data in _elements(value):
                given.update(data)
    try:
        outputs = run(inputs)
    except Exception:  # noqa: BLE001 - a model may refuse this input in any way; the fingerprint still protects
        return None
    digests = tuple(_digest(value, generator) for value in outputs if is_tensor(value))
    return Probe(given.hexdigest()[:16], digests)


def difference(one: Probe | None, other: Probe | None) -> str:
    """Why two probes of one model cannot come from the same computation; `""` where they can, or one is missing."""
    if one is None or other is None or one.inputs != other.inputs:
        return ""
    if len(one.outputs) != len(other.outputs):
        return f"{len(one.outputs)} outputs here, {len(other.outputs)} there"
    for position, (a, b) in enumerate(zip(one.outputs, other.outputs, strict=True)):
        if len(a) != len(b) or len(a) < 3:
            return f"output {position} has another form"
        (deviation, mean, *rest), (other_deviation, other_mean, *other_rest) = a, b
        spread = max(deviation, other_deviation)
        allowed = TOLERANCE * spread + NOISE * max(abs(mean), abs(other_mean), spread)
        off = max(abs(x - y) for x, y in zip((mean, *rest), (other_mean, *other_rest), strict=True))
        if off > allowed or not math.isfinite(off):
            share = f"{off / spread:.0%}" if spread else f"{off:.2g}"
            return f"output {position} differs by {share} of its standard deviation, allowed are {TOLERANCE:.0%}"
    return ""


def _input(example: Tensor, generator: Any) -> Tensor:
    if not _is_float(example):
        return example.copy() if isinstance(example, np.ndarray) else example.clone()
    numbers = generator.random_sample(tuple(example.shape))
    if isinstance(example, np.ndarray):
        return numbers.astype(example.dtype)
    import torch  # noqa: PLC0415 - only where the model takes torch's tensors

    return torch.from_numpy(numbers).to(example.dtype)


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _is_float(value: Tensor) -> bool:
    return "float" in _dtype(value)


def _elements(value: Tensor) -> Iterable[bytes | memoryview]:
    if isinstance(value, np.ndarray):
        return (np.ascontiguousarray(value).tobytes(),)
    from midcut.graph.content import elements  # noqa: PLC0415 - torch

    return elements(value)


def _digest(value: Tensor, generator: Any) -> tuple[float, ...]:
    """Standard deviation and mean of the elements, the share that is not finite, and random projections."""
    array = to_numpy(value)
    if np.iscomplexobj(array):
        array = np.stack((array.real, array.imag), -1)
    numbers = array.astype(np.float64).reshape(-1)
    finite = np.isfinite(numbers)
    numbers = np.where(finite, numbers, 0.0)
    if not numbers.size:
        return (0.0, 0.0, 0.0, *[0.0] * _PROJECTIONS)
    mean = float(numbers.mean())
    centred = numbers - mean
    projections = [
        float(centred @ generator.choice((-1.0, 1.0), numbers.size)) / math.sqrt(numbers.size)
        for _ in range(_PROJECTIONS)
    ]
    lost = float(1.0 - finite.mean())
    return tuple(float(f"{number:.9g}") for number in (float(numbers.std()), mean, lost, *projections))
