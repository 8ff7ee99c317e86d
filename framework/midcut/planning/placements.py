"""Lists the placements of a model, every legal cut with every codec, as columns of numbers for the predictors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from midcut import wire
from midcut.errors import ConfigError, MalformedError
from midcut.types import Placement, Placements
from midcut.wire.oip import FILE
from midcut.wire.route import ROUTE, ROUTE_REPLY_BYTES, route_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from midcut.protocols import Codec
    from midcut.types import Cut, CutTable, Floats, ValueSpec


_MOST_ROWS: Final = 20_000
_ROUNDING: Final = 1e-12


class Onward(NamedTuple):
    """The cuts and codecs with which a relay can pass a request on to its upstream.

    Attributes:
        legal: the cuts; beside them it can always run all that is left.
        codecs: by name; None to send tensors as they are.
        accuracy_floor: the least share of inputs whose class both codecs together may leave as it is; None asks none.
    """

    legal: Sequence[int]
    codecs: Mapping[str, Codec] | None = None
    accuracy_floor: float | None = None


def placements(
    table: CutTable,
    legal: Sequence[int],
    codecs: Mapping[str, Codec] | None = None,
    onward: Onward | None = None,
    reply_codec: Codec | None = None,
) -> Placements:
    """Placements for the cuts `legal`, with the exact number of bytes that each sends and receives.

    Args:
        table: the model's cuts.
        legal: the cuts on offer. The last one sends nothing, so it is a single placement without a codec.
        codecs: the codecs on offer, by name; None to send tensors as they are. The one that sends a picture's file is
            on offer at cut 0 only; everywhere else the edge decodes the picture, in the seconds that this codec states.
        onward: what a relay can do with the rest, for the placements of three tiers: all pairs of cuts k1 <= k2, with
            a codec each. Beyond 20,000 pairs only those with one codec for both hops, then only ends of modules.
        reply_codec: encodes what the cloud, or the relay, sends back; None sends it as it is.
    """
    first = _one_hop(table, legal, codecs, reply_codec)
    if onward is None:
        return first
    second = _one_hop(table, sorted({*onward.legal, table.last}), onward.codecs)
    pairs = _pairs(first, second)
    if onward.accuracy_floor is not None:
        # At worst, each codec changes the classes of other inputs.
        changed = _changed(first, codecs)[:, None] + _changed(second, onward.codecs)
        pairs &= changed <= 1.0 - onward.accuracy_floor + _ROUNDING
    rows, further = np.nonzero(pairs)
    if len(rows) > _MOST_ROWS:
        same = np.array([[a == b for b in second.codec] for a in first.codec]) | second.on_edge
        rows, further = np.nonzero(pairs & same)
    if len(rows) > _MOST_ROWS and not all(table.cuts[cut].ends_module for cut in legal):
        ends = [[cut for cut in cuts if _is_coarse(table, cut)] for cuts in (legal, onward.legal)]
        return placements(table, ends[0], codecs, onward._replace(legal=ends[1]))
    passes_on = ~second.on_edge[further]
    nothing = np.zeros(len(further))
    route_bytes = [_route_bytes(int(second.cut[row]), second.codec[row]) for row in further.tolist()]
    taken = first.take(rows)
    return replace(
        taken,
        request_bytes=taken.request_bytes + passes_on * np.array(route_bytes),
        reply_bytes=taken.reply_bytes + passes_on * float(ROUTE_REPLY_BYTES),
        # The relay's clock does not follow the edge's.
        onward=replace(second.take(further), encode_s=nothing, encode_mhz_s=nothing),
    )


def _pairs(first: Placements, second: Placements) -> NDArray[np.bool_]:
    """Which pairs of rows are placements.

    The relay does not go back. A picture's file is sent over one hop only, and the paper's message knows no relay.
    """
    one_hop = np.array([codec in (wire.PAPER, FILE) for codec in first.codec])
    no_codec = np.array([codec in (wire.PAPER, FILE) for codec in second.codec])
    in_order = second.cut >= first.cut[:, None]
    pairs: NDArray[np.bool_] = in_order & ~no_codec & (second.on_edge | ~one_hop[:, None])
    return pairs


def _changed(hop: Placements, codecs: Mapping[str, Codec] | None) -> Floats:
    """The share of inputs whose class each row's codec changes, as far as it is known; 0 where nothing is sent."""
    shares = [
        0.0 if at_end or codecs is None else 1.0 - _agreement(codecs.get(name), int(cut))
        for name, cut, at_end in zip(hop.codec, hop.cut, hop.on_edge, strict=True)
    ]
    return np.array(shares)


def _agreement(codec: Codec | None, cut: int) -> float:
    if codec is None:
        return 1.0
    agreement_at = getattr(codec, "agreement_at", None)
    agreement = codec.agreement if agreement_at is None else agreement_at(cut)
    return 0.0 if agreement is None else float(agreement)


def _is_coarse(table: CutTable, cut: int) -> bool:
    return cut in (0, table.last) or table.cuts[cut].ends_module


def _route_bytes(cut: int, codec: str) -> float:
    """What the parameter of a request that names the second hop takes."""
    return len(f',"{ROUTE}":"{route_text(Placement(cut, codec))}"')


def _one_hop(
    table: CutTable, legal: Sequence[int], codecs: Mapping[str, Codec] | None, reply_codec: Codec | None = None
) -> Placements:
    offered: Mapping[str, Codec | None] = {"raw": None} if codecs is None else codecs
    rows = [
        Placement(index, name)
        for index in legal
        for name in (offered if index != table.last else ("raw",))
        if (name != FILE or index == 0) and _is_accurate(offered.get(name), index)
    ]
    file_codec = offered.get(FILE)
    prepare_s = _coding(table.cuts[0], file_codec).seconds
    cuts = [table.cuts[row.cut] for row in rows]
    on_edge = np.array([row.cut == table.last for row in rows], dtype=np.bool_)
    row_codecs = [offered.get(row.codec) for row in rows]
    reply = {name: float(wire.reply_bytes(table, codec, reply_codec)) for name, codec in offered.items()}
    codings = [_coding(*pair) for pair in zip(cuts, row_codecs, strict=True)]
    reply_s = _coding(table.cuts[table.last], reply_codec).seconds
    answered_s = np.array([0.0 if row.codec == wire.PAPER else reply_s for row in rows])
    request = [wire.request_bytes(table, row.cut, codec) for row, codec in zip(rows, row_codecs, strict=True)]
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
        graph_nodes=table.nodes,
        codec=tuple(row.codec for row in rows),
        prepare_s=np.array([0.0 if row.codec == FILE else prepare_s for row in rows]),
        prepare_mhz=getattr(file_codec, "clock_mhz", None) or 0.0,
        codec_s=np.where(on_edge, 0.0, np.array([coding.seconds for coding in codings]) + answered_s),
        encode_s=np.where(on_edge, 0.0, np.array([coding.encode_s for coding in codings])),
        encode_mhz_s=np.where(on_edge, 0.0, np.array([coding.encode_mhz_s for coding in codings])),
    )


def accurate_codecs(codecs: Mapping[str, Codec], accuracy_floor: float | None) -> dict[str, Codec]:
    """The codecs whose agreement is known and at least `accuracy_floor`; all codecs where that is None.

    Raises:
        ConfigError: none is left.
    """
    if not codecs:
        raise ConfigError("no codec is on offer: give codec=NAME, e.g. codec=raw")
    if set(codecs) == {FILE}:
        raise ConfigError("codec=file sends pictures at cut 0 only; offer another codec too, e.g. codec='[file,raw]'")
    if accuracy_floor is None:
        return dict(codecs)
    offered = {
        name: codec
        for name, codec in codecs.items()
        if codec.agreement is not None and codec.agreement >= accuracy_floor
    }
    if not offered:
        agreements = ", ".join(
            f"{name} has agreement {codec.agreement:g}"
            if codec.agreement is not None
            else f"{name} has unknown agreement (codec.{name}.agreement)"
            for name, codec in codecs.items()
        )
        raise ConfigError(
            f"no codec satisfies accuracy_floor={accuracy_floor:g}: {agreements}; a lossless codec always does"
        )
    return offered


def _is_accurate(codec: Codec | None, cut: int) -> bool:
    """Whether a codec whose agreement was measured at each cut may be used at this one."""
    usable_at = getattr(codec, "usable_at", None)
    return usable_at is None or bool(usable_at(cut))


class _Coding(NamedTuple):
    """Seconds for all tensors at a cut; see `Placements` for the parts of them."""

    seconds: float = 0.0
    encode_s: float = 0.0
    encode_mhz_s: float = 0.0


def _coding(cut: Cut, codec: Codec | None) -> _Coding:
    if codec is None:
        return _Coding()
    specs = [spec for spec in cut.values if spec.is_tensor and _takes(codec, spec)]
    seconds = sum(codec.codec_s(spec) for spec in specs)
    clock_mhz = getattr(codec, "clock_mhz", None)
    if not clock_mhz:
        return _Coding(seconds)
    encode_s = sum(getattr(codec, "encode_s", codec.codec_s)(spec) for spec in specs)
    return _Coding(seconds, encode_s, encode_s * clock_mhz)


def _takes(codec: Codec, spec: ValueSpec) -> bool:
    """Whether a codec supports a tensor's dtype; one of another dtype is sent as it is."""
    try:
        codec.encoded_bytes(spec)
    except MalformedError:
        return False
    return True


def offered_placements(
    table: CutTable,
    legal: Sequence[int],
    codecs: Mapping[str, Codec] | None,
    tiers: int,
    accuracy_floor: float | None = None,
) -> Placements:
    """Placements over two tiers, or over three where the relay takes the same cuts and codecs."""
    return placements(table, legal, codecs, Onward(legal, codecs, accuracy_floor) if tiers == 3 else None)
