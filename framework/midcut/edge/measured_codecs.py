"""Measures codecs on this model's payloads and this machine: encoded sizes and seconds cannot be known before."""

from __future__ import annotations

import contextlib
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from PIL import Image

from midcut.errors import MalformedError
from midcut.profiles.codings import EstimatedCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.graph import Partition
    from midcut.protocols import Codec
    from midcut.types import LoadedModel, Tensor, ValueSpec

_REPEATS: Final = 3
# Side, mean, spread, colourfulness and fall of amplitude with frequency of the picture that stands for photographs.
_SIDE: Final = 512
_MEAN, _SPREAD, _COLOUR, _FALL = 118.0, 50.0, 0.12, 1.2


class Measured(NamedTuple):
    """The encoded size of one value, the seconds to encode and decode it, and those of encoding alone."""

    size_bytes: int
    seconds: float
    encode_s: float = 0.0


class MeasuredCodec(EstimatedCodec):
    """A codec whose estimates are measured figures for the values that were measured.

    Args:
        clock_mhz: of this machine as they were measured; None if unknown.
    """

    def __init__(self, codec: Codec, measured: Mapping[ValueSpec, Measured], clock_mhz: float | None = None) -> None:
        super().__init__(codec, clock_mhz)
        self._measured = measured

    def encoded_bytes(self, spec: ValueSpec) -> int:
        measured = self._measured.get(spec)
        return self._codec.encoded_bytes(spec) if measured is None else measured.size_bytes

    def codec_s(self, spec: ValueSpec) -> float:
        """Seconds to encode and to decode a value, together."""
        measured = self._measured.get(spec)
        return self._codec.codec_s(spec) if measured is None else measured.seconds

    def encode_s(self, spec: ValueSpec) -> float:
        measured = self._measured.get(spec)
        return self._codec.codec_s(spec) if measured is None else measured.encode_s


def measure_codecs(
    codecs: Mapping[str, Codec],
    partition: Partition,
    inputs: Sequence[Tensor],
    clock_mhz: Callable[[], float | None] = lambda: None,
) -> dict[str, Codec]:
    """Return the codecs with estimates measured on one pass through the model, on the calling thread.

    Args:
        codecs: by name. If `raw` is the only one, nothing is measured: its size is known and it takes hardly any time.
        partition: the model with its legal cuts.
        inputs: the model's inputs for one pass; the closer to real ones, the better the sizes.
        clock_mhz: the clock of this machine now; None if unknown.
    """
    if set(codecs) == {"raw"}:
        return dict(codecs)
    measured: dict[str, dict[ValueSpec, Measured]] = {name: {} for name in codecs}
    for index, values in partition.each_payload(inputs):
        for spec, value in zip(partition.table.cuts[index].values, values, strict=True):
            if spec.is_tensor:
                _measure_value(codecs, spec, value, measured)
    at_mhz = clock_mhz()
    return {name: MeasuredCodec(codec, measured[name], at_mhz) for name, codec in codecs.items()}


def _measure_value(
    codecs: Mapping[str, Codec], spec: ValueSpec, value: Tensor, measured: dict[str, dict[ValueSpec, Measured]]
) -> None:
    for name, codec in codecs.items():
        if spec not in measured[name]:  # a value may cross several cuts
            with contextlib.suppress(MalformedError):  # the codec does not support this value
                measured[name][spec] = min(
                    (_time_codec(codec, spec, value) for _ in range(_REPEATS)), key=lambda timing: timing.seconds
                )


def _time_codec(codec: Codec, spec: ValueSpec, value: Tensor) -> Measured:
    start = perf_counter()
    encoded = codec.encode(value)
    encode_s = perf_counter() - start
    codec.decode(encoded, spec)
    return Measured(encoded.size_bytes, perf_counter() - start, encode_s)


def typical_inputs(model: LoadedModel) -> Sequence[Tensor]:
    """Inputs on which codecs take about the bytes that they take on photographs.

    A picture with the spectrum of photographs (amplitudes fall with frequency) goes through the model's own
    preprocessing; a model that takes no pictures gets its example.
    """
    generator = np.random.RandomState(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_SIDE), np.fft.rfftfreq(_SIDE), indexing="ij"))
    frequency[0, 0] = 1.0
    planes = []
    for _ in range(4):  # one that all colours share, and one of each colour
        phases = np.exp(2j * np.pi * generator.random_sample(frequency.shape))
        plane = np.fft.irfft2(phases / frequency**_FALL, (_SIDE, _SIDE))
        planes.append(plane / plane.std())
    grey, *colours = planes
    rgb = np.stack([_MEAN + _SPREAD * (grey + _COLOUR * colour) for colour in colours], -1)
    try:
        return (model.preprocess(Image.fromarray(rgb.clip(0, 255).astype(np.uint8))),)
    except Exception:  # noqa: BLE001 - a model's own preprocessing may raise anything
        return model.example
