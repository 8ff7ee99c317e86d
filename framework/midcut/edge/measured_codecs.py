"""What codecs make of this model's payloads on this machine: packed sizes and seconds cannot be known before."""

from __future__ import annotations

import contextlib
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import torch

from midcut.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.graph import Partition
    from midcut.protocols import Codec
    from midcut.types import Encoded, ValueSpec

_REPEATS: Final = 3


class Measured(NamedTuple):
    """What encoding one value and decoding it again took."""

    size_bytes: int
    seconds: float


class MeasuredCodec:
    """A codec that answers with what was measured, where something was."""

    def __init__(self, codec: Codec, found: Mapping[ValueSpec, Measured]) -> None:
        self.name = codec.name
        self.agreement = codec.agreement
        self._codec = codec
        self._found = found

    def encode(self, value: torch.Tensor) -> Encoded:
        return self._codec.encode(value)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> torch.Tensor:
        return self._codec.decode(encoded, spec)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        found = self._found.get(spec)
        return self._codec.encoded_bytes(spec) if found is None else found.size_bytes

    def codec_s(self, spec: ValueSpec) -> float:
        found = self._found.get(spec)
        return self._codec.codec_s(spec) if found is None else found.seconds


def measure_codecs(codecs: Mapping[str, Codec], cut: Partition, inputs: Sequence[torch.Tensor]) -> dict[str, Codec]:
    """The codecs, their estimates replaced by what they make of one pass through the model, on the calling thread.

    Args:
        codecs: by name. `raw` alone is not measured: its bytes are the payload's, and it takes next to no time.
        cut: the model.
        inputs: for one pass; the closer to what will come, the better the sizes.
    """
    if set(codecs) == {"raw"}:
        return dict(codecs)
    found: dict[str, dict[ValueSpec, Measured]] = {name: {} for name in codecs}
    values, at = tuple(inputs), 0
    with torch.inference_mode():
        for index in cut.legal:
            if index == cut.table.last:
                break
            values, at = cut.run(at, index, values), index
            for spec, value in zip(cut.table.cuts[index].values, values, strict=True):
                if spec.is_tensor:
                    _measure(codecs, spec, value, found)
    return {name: MeasuredCodec(codec, found[name]) for name, codec in codecs.items()}


def _measure(
    codecs: Mapping[str, Codec], spec: ValueSpec, value: torch.Tensor, found: dict[str, dict[ValueSpec, Measured]]
) -> None:
    for name, codec in codecs.items():
        if spec not in found[name]:  # a value may cross several cuts
            with contextlib.suppress(MalformedError):  # it does not take this one
                found[name][spec] = min(
                    (_once(codec, spec, value) for _ in range(_REPEATS)), key=lambda one: one.seconds
                )


def _once(codec: Codec, spec: ValueSpec, value: torch.Tensor) -> Measured:
    start = perf_counter()
    encoded = codec.encode(value)
    codec.decode(encoded, spec)
    return Measured(encoded.size_bytes, perf_counter() - start)
