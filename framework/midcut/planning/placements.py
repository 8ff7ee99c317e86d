"""Lays a model's legal cuts out as columns for the predictors: each with each codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut import wire
from midcut.errors import ConfigError, MalformedError
from midcut.types import Placement, Placements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.protocols import Codec
    from midcut.types import Cut, CutTable, ValueSpec


def placements(table: CutTable, legal: Sequence[int], codecs: Mapping[str, Codec] | None = None) -> Placements:
    """Placements for the cuts `legal`, with the bytes the wire format really takes for each.

    Args:
        table: the model's cuts.
        legal: those on offer. The last one sends nothing and is one placement, whatever the codecs.
        codecs: on offer, by name; None for the bare bytes alone.
    """
    offered: Mapping[str, Codec | None] = {"raw": None} if codecs is None else codecs
    rows = [Placement(index, name) for index in legal for name in (offered if index != table.last else ("raw",))]
    cuts = [table.cuts[row.cut] for row in rows]
    on_edge = np.array([row.cut == table.last for row in rows], dtype=np.bool_)
    using = [offered.get(row.codec) for row in rows]
    reply = {name: float(wire.reply_bytes(table, codec)) for name, codec in offered.items()}
    request = [wire.request_bytes(table, row.cut, codec) for row, codec in zip(rows, using, strict=True)]
    return Placements(
        model=table.model,
        cut=np.array([row.cut for row in rows], dtype=np.intp),
        layer=np.array([cut.layer for cut in cuts], dtype=np.intp),
        payload_bytes=np.array([cut.payload_bytes for cut in cuts], dtype=np.float64),
        request_bytes=np.where(on_edge, 0.0, np.array(request, dtype=np.float64)),
        reply_bytes=np.where(on_edge, 0.0, np.array([reply.get(row.codec, 0.0) for row in rows])),
        on_edge=on_edge,
        nodes=len(table.nodes),
        layers=table.layers,
        graph=table.graph,
        codec=tuple(row.codec for row in rows),
        codec_s=np.where(on_edge, 0.0, np.array([_codec_s(cut, one) for cut, one in zip(cuts, using, strict=True)])),
    )


def accurate(codecs: Mapping[str, Codec], accuracy_floor: float | None) -> dict[str, Codec]:
    """The codecs whose agreement is known and no lower than the floor; all of them where there is no floor.

    Raises:
        ConfigError: none is left, or the floor is not from 0 to 1.
    """
    if not codecs:
        raise ConfigError("no codec is on offer: say codec=NAME, e.g. codec=raw")
    if accuracy_floor is None:
        return dict(codecs)
    if not 0.0 <= accuracy_floor <= 1.0:
        raise ConfigError(f"accuracy_floor must be from 0 to 1, got {accuracy_floor}")
    left = {
        name: codec
        for name, codec in codecs.items()
        if codec.agreement is not None and codec.agreement >= accuracy_floor
    }
    if not left:
        known = ", ".join(f"{name} {_known(codec)}" for name, codec in codecs.items())
        raise ConfigError(f"no codec keeps accuracy_floor={accuracy_floor:g}: {known}; a lossless one always does")
    return left


def _known(codec: Codec) -> str:
    if codec.agreement is None:
        return f"is unknown (codec.{codec.name}.agreement)"
    return f"has {codec.agreement:g}"


def _codec_s(cut: Cut, codec: Codec | None) -> float:
    """Encoding and decoding of all tensors at a cut, seconds."""
    return sum(_taken_s(codec, spec) for spec in cut.values if spec.is_tensor) if codec is not None else 0.0


def _taken_s(codec: Codec, spec: ValueSpec) -> float:
    try:
        codec.encoded_bytes(spec)
    except MalformedError:  # it does not take the dtype, which then travels as it is
        return 0.0
    return codec.codec_s(spec)
