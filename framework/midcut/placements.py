"""Lays a model's legal cuts out as columns for the predictors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midcut import wire
from midcut.types import Placements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.types import CutTable


def placements(table: CutTable, legal: Sequence[int]) -> Placements:
    """Placements for the cuts `legal`, with the bytes the wire format really takes for each."""
    cuts = [table.cuts[index] for index in legal]
    on_edge = np.array([cut.index == table.last for cut in cuts], dtype=np.bool_)
    request = [0 if cut.index == table.last else wire.request_bytes(table, cut.index) for cut in cuts]
    return Placements(
        model=table.model,
        cut=np.array([cut.index for cut in cuts], dtype=np.intp),
        layer=np.array([cut.layer for cut in cuts], dtype=np.intp),
        payload_bytes=np.array([cut.payload_bytes for cut in cuts], dtype=np.float64),
        request_bytes=np.array(request, dtype=np.float64),
        reply_bytes=np.where(on_edge, 0.0, float(wire.reply_bytes(table))),
        on_edge=on_edge,
        nodes=len(table.nodes),
        layers=table.layers,
        graph=table.graph,
    )
