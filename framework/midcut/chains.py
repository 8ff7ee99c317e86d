"""Chains of codecs, as in `codec=int8-zstd`: the first stage encodes a tensor, each further one the bytes before it.

Any codec may be the first stage. What may follow says so in an attribute `stage` (see `midcut.protocols.Codec`).
Importing this imports no torch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from midcut.errors import ConfigError, MalformedError
from midcut.tensors import tensor_from_pieces, tensor_to_bytes
from midcut.types import Encoded, ValueSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.protocols import Codec
    from midcut.types import HeldModel, Tensor

SEPARATOR: Final = "-"
# What a codec may be in a chain: the values of its attribute `stage`.
FIRST, BYTES, ENTROPY = "first", "bytes", "entropy"
# The most that the first stage may make of a tensor: a multiple of its bytes, a table for each channel, and a header.
_MOST_GROWTH, _MOST_CHANNEL_BYTES, _MOST_HEADER_BYTES = 2, 64, 1024


def is_chain(name: str) -> bool:
    """Whether the name of a codec is that of a chain."""
    return SEPARATOR in name


def stage_names(chain: str) -> list[str]:
    """The names of the codecs that a chain consists of, in the order of encoding.

    Raises:
        ConfigError: one is empty, or stands there twice.
    """
    names = chain.split(SEPARATOR)
    if not all(names):
        raise ConfigError(f"codec {chain!r} has an empty stage; a chain names two codecs or more, e.g. int8-zstd")
    if len(set(names)) < len(names):
        raise ConfigError(f"codec {chain}: a chain names each codec once, e.g. int8-zstd")
    return names


def find_codec(name: str, codecs: Mapping[str, Codec]) -> Codec | None:
    """The codec of a name, or a chain of these codecs; None where there is none."""
    if name in codecs or not is_chain(name):
        return codecs.get(name)
    try:
        return Chain(name, [codecs[stage] for stage in stage_names(name)])
    except (KeyError, ConfigError):
        return None


def accepts(model: HeldModel, codec: str) -> bool:
    """Whether a cloud takes requests for a model with a codec, or with a chain of codecs."""
    if model.codecs is None or codec in model.codecs:
        return True
    return is_chain(codec) and set(codec.split(SEPARATOR)) <= set(model.stages)


def role(codec: Codec) -> str | None:
    """What a codec may be in a chain; None if it may be in none."""
    stage: str | None = getattr(codec, "stage", FIRST)
    return stage


class Chain:
    """Several codecs as one.

    How many bytes each stage made but for the last travels as a parameter, so that the receiver knows the size before
    it takes memory.

    Args:
        name: of the chain, the names of its stages with a `-` between.
        stages: in the order of encoding.

    Attributes:
        agreement: that of the only stage that is not exact; unknown for several.

    Raises:
        ConfigError: a stage that cannot stand where it does; the message says why.
    """

    def __init__(self, name: str, stages: Sequence[Codec]) -> None:
        _check(name, stages)
        self.name = name
        self._first, *self._further = stages
        lossy = [codec.agreement for codec in stages if codec.agreement != 1.0]
        self.agreement: float | None = 1.0 if not lossy else lossy[0] if len(lossy) == 1 else None

    def encode(self, value: Tensor) -> Encoded:
        encoded = self._first.encode(value)
        order = encoded.dim_order
        parameters = _numbered(0, encoded.parameters)
        for number, codec in enumerate(self._further, 1):
            size = parameters[f"bytes_{number}"] = encoded.size_bytes
            pieces = [memoryview(piece).cast("B") for piece in encoded.data]
            encoded = codec.encode(tensor_from_pieces(pieces, "uint8", (size,)))
            parameters |= _numbered(number, encoded.parameters)
        return Encoded(encoded.data, parameters, order)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        data: Sequence[bytes | bytearray | memoryview] = encoded.data
        for number, codec in reversed(list(enumerate(self._further, 1))):
            size = self._stated_size(encoded, number, spec)
            coded = Encoded(data, _of_stage(number, encoded.parameters))
            data = (tensor_to_bytes(codec.decode(coded, ValueSpec(spec.name, "uint8", (size,))))[0],)
        return self._first.decode(Encoded(data, _of_stage(0, encoded.parameters), encoded.dim_order), spec)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        size = self._first.encoded_bytes(spec)
        for codec in self._further:
            size = codec.encoded_bytes(_bytes_spec(size))
        return size

    def codec_s(self, spec: ValueSpec) -> float:
        seconds, size = self._first.codec_s(spec), self._first.encoded_bytes(spec)
        for codec in self._further:
            seconds += codec.codec_s(_bytes_spec(size))
            size = codec.encoded_bytes(_bytes_spec(size))
        return seconds

    def _stated_size(self, encoded: Encoded, number: int, spec: ValueSpec) -> int:
        size = encoded.parameters.get(f"bytes_{number}")
        channels = spec.shape[1] if len(spec.shape) > 1 else 1
        most = _MOST_GROWTH * spec.payload_bytes + _MOST_CHANNEL_BYTES * channels + _MOST_HEADER_BYTES
        if type(size) is not int or not 0 <= size <= most:
            raise MalformedError(
                f"codec {self.name}: parameter codec_bytes_{number} must be a size from 0 to {most}, got {size!r:.40}"
            )
        return size


def _check(name: str, stages: Sequence[Codec]) -> None:
    if len(stages) < 2:
        raise ConfigError(f"codec {name}: a chain has two stages or more, e.g. int8-zstd")
    for codec in stages:
        if role(codec) is None:
            raise ConfigError(f"codec {name}: {codec.name} cannot be in a chain")
    for before, codec in pairwise(stages):
        if role(before) == ENTROPY:
            raise ConfigError(
                f"codec {name}: {codec.name} cannot follow {before.name}, which leaves nothing to save: "
                f"{before.name} must be last"
            )
        if role(codec) == FIRST:
            raise ConfigError(
                f"codec {name}: {codec.name} encodes tensors, not the bytes that {before.name} makes: it must be first"
            )


def _bytes_spec(size: int) -> ValueSpec:
    return ValueSpec("", "uint8", (size,))


def _numbered(number: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {f"stage_{number}_{name}": value for name, value in parameters.items()}


def _of_stage(number: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"stage_{number}_"
    return {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}
