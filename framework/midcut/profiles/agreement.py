"""Measures what codecs do to a model's payloads on pictures: bytes, seconds, top-1 agreement and output error."""

from __future__ import annotations

from collections import defaultdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from midcut.errors import ConfigError, MalformedError
from midcut.profiles.profile import Coding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.graph import Partition
    from midcut.protocols import Codec
    from midcut.types import Tensor, ValueSpec


def measure_codings(
    partition: Partition,
    inputs: Sequence[Tensor],
    codecs: Mapping[str, tuple[Codec, str]],
    clock_mhz: float | None,
    advance: Callable[[], None],
) -> tuple[Coding, ...]:
    """Send every picture through every cut and codec, and compare the output with the unsplit model's.

    Args:
        inputs: for each picture, the model's only input; `check_pictures` says whether they are of several kinds.
        codecs: name -> codec and its settings in one line.
        clock_mhz: of this machine, None if unknown.
        advance: called after each picture, for progress.

    """
    found = {name: _Sums() for name in codecs}
    with torch.inference_mode():
        for value in inputs:
            expected = partition.run(0, partition.table.last, (value,))
            _measure_picture(partition, value, expected, {name: codec for name, (codec, _) in codecs.items()}, found)
            advance()
    return tuple(found[name].coding(name, settings, len(inputs), clock_mhz) for name, (_, settings) in codecs.items())


def check_pictures(partition: Partition, inputs: Sequence[Tensor]) -> None:
    """Run the unsplit model on pictures until one has another answer than the first.

    Raises:
        ConfigError: all pictures, and all pixels of them, get one class, so that agreement would say nothing.
    """
    found: set[int] = set()
    with torch.inference_mode():
        for value in inputs:
            found.update(_classes(partition.run(0, partition.table.last, (value,))[0]).unique().tolist())
            if len(found) > 1:
                return
    raise ConfigError(
        f"agreement: all {len(inputs)} pictures get class {min(found)}, so that any codec would agree: give "
        "pictures of several kinds"
    )


class _Sums:
    """What was measured of one codec, by value and by cut."""

    def __init__(self) -> None:
        self.bytes: dict[str, list[int]] = defaultdict(list)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.encode_s: dict[str, list[float]] = defaultdict(list)
        self.agreement: dict[int, list[float]] = defaultdict(list)
        self.error: dict[int, list[float]] = defaultdict(list)

    def coding(self, name: str, settings: str, pictures: int, clock_mhz: float | None) -> Coding:
        return Coding(
            codec=name,
            settings=settings,
            pictures=pictures,
            clock_mhz=clock_mhz,
            value_bytes={value: float(np.mean(sizes)) for value, sizes in self.bytes.items()},
            value_s={value: float(np.median(seconds)) for value, seconds in self.seconds.items()},
            encode_s={value: float(np.median(seconds)) for value, seconds in self.encode_s.items()},
            agreement={cut: float(np.mean(shares)) for cut, shares in self.agreement.items()},
            error={cut: float(np.mean(errors)) for cut, errors in self.error.items()},
        )


def _measure_picture(
    partition: Partition,
    value: Tensor,
    expected: Sequence[Any],
    codecs: Mapping[str, Codec],
    found: Mapping[str, _Sums],
) -> None:
    values: Sequence[Any] = (value,)
    at, last = 0, partition.table.last
    for cut in partition.legal:
        if cut == last:
            return
        values, at = partition.run(at, cut, values), cut
        for name, codec in codecs.items():
            received = [
                sent if isinstance(sent, int) else _send(codec, spec, sent, found[name])
                for spec, sent in zip(partition.table.cuts[cut].values, values, strict=True)
            ]
            exact = all(map(_are_equal, received, values))
            output = expected if exact else partition.run(cut, last, received)
            found[name].agreement[cut].append(float((_classes(output[0]) == _classes(expected[0])).float().mean()))
            found[name].error[cut].append(0.0 if exact else _error(output[0], expected[0]))


def _send(codec: Codec, spec: ValueSpec, value: Tensor, sums: _Sums) -> Tensor:
    """Encode and decode one value; one that the codec does not take crosses as it is."""
    began = perf_counter()
    try:
        encoded = codec.encode(value)
        encode_s = perf_counter() - began
        received = codec.decode(encoded, spec)
    except MalformedError:
        return value
    sums.seconds[spec.name].append(perf_counter() - began)
    sums.encode_s[spec.name].append(encode_s)
    sums.bytes[spec.name].append(encoded.size_bytes)
    return received


def _are_equal(one: Any, other: Any) -> bool:
    return torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def _classes(output: Tensor) -> Tensor:
    """The class of each example, or of each pixel."""
    return output.argmax(dim=1 if output.dim() > 1 else 0)


def _error(output: Tensor, expected: Tensor) -> float:
    """||y' - y|| / ||y||."""
    return float((output - expected).norm() / expected.norm().clamp_min(torch.finfo(torch.float32).tiny))
