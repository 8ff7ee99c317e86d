"""Chooses the placement of a request whose inputs have other sizes than those that forecasts are made for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midcut.edge.second_choice import choose_again
from midcut.planning.tiers import SECOND
from midcut.planning.work import estimated_s
from midcut.types import Placement
from midcut.wire.oip import FILE, RAW

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from midcut.graph import Partition
    from midcut.planning.policy import Policy
    from midcut.types import CutTable, Decision, Floats, Forecast, Ints, Observation, Placements


class SizeChoice:
    """Scales a decision's forecast to other sizes, and asks the planner again. Used on the event loop only.

    Bytes are those of the other sizes, each codec at its usual ratio. Seconds of computation are scaled by
    multiply-adds, or by bytes for nodes that move more than they compute: an estimate, which no profile has measured.

    Args:
        table: of the model, as forecasts are made for it.
        policy: gives the policy in use; None keeps the decision's cut.
    """

    def __init__(self, table: CutTable, policy: Callable[[], Policy] | None) -> None:
        self._table, self._policy = table, policy
        self._work_s = _work_before(table)
        self._decision: Decision | None = None
        self._made: dict[Partition, Decision] = {}

    def decide(self, decision: Decision, partition: Partition) -> Decision:
        """The decision for inputs of the shapes that `partition` is prepared for."""
        if self._decision is not decision:
            self._decision, self._made = decision, {}
        if partition not in self._made:
            self._made[partition] = self._decide(decision, partition)
        return self._made[partition]

    def _decide(self, decision: Decision, partition: Partition) -> Decision:
        policy, forecast = None if self._policy is None else self._policy(), decision.forecast
        if policy is None or forecast is None or policy.placements is not forecast.placements:
            return self._keep(decision, partition)
        sized = replace(policy, placements=_at_sizes(forecast.placements, self._table, partition.table))
        scaled = self._scale(forecast, sized, decision.observation, partition.table)
        on_offer = _on_offer(sized.placements, partition)
        chosen = choose_again(sized, scaled.only(on_offer))
        if chosen is None:
            return self._keep(decision, partition)
        index = int(np.flatnonzero(on_offer)[chosen])
        return replace(decision, placement=sized.placements[index], index=index, forecast=scaled)

    def _keep(self, decision: Decision, partition: Partition) -> Decision:
        """The decision's placement without a forecast, or the last cut where that placement cannot be used."""
        placement, last = decision.placement, self._table.last
        usable = placement.codec != FILE and placement.cut in partition.legal
        if not usable or any(hop.cut not in (*partition.legal, last) for hop in placement.hops):
            placement = Placement(last, RAW)
        return replace(decision, placement=placement, index=-1, forecast=None, held=decision.held or "other sizes")

    def _scale(self, forecast: Forecast, sized: Policy, observation: Observation, table: CutTable) -> Forecast:
        """The forecast for another table of the same cuts. `sized` has the placements with that table's bytes."""
        before, after = forecast.placements, sized.placements
        work_s = _work_before(table)
        stops = [placed.cut for placed in _hops(before)]

        def ratio(start: Ints, stop: Ints) -> Floats:
            usual_s, now_s = (work[stop] - work[start] for work in (self._work_s, work_s))
            return np.divide(now_s, usual_s, out=np.ones(len(usual_s)), where=usual_s > 0.0)

        first, last = np.zeros_like(stops[0]), np.full_like(stops[0], table.last)
        link_s = forecast.link_s + _more_s(before, after, observation.bandwidth_kbps)
        between = dict(forecast.between)
        if before.onward is not None and after.onward is not None:
            kbps = observation.value(SECOND["bandwidth_kbps"])
            between["relay"] = between["relay"] * ratio(stops[0], stops[1])
            between["second_link"] = between["second_link"] + _more_s(before.onward, after.onward, kbps)
        edge_s, cloud_s = forecast.edge_s * ratio(first, stops[0]), forecast.cloud_s * ratio(stops[-1], last)
        return sized.complete(observation, edge_s, np.maximum(link_s, 0.0), cloud_s, between=between)


def _work_before(table: CutTable) -> Floats:
    """Estimated seconds of the nodes before each cut, shape (N + 1,)."""
    return np.concatenate([[0.0], np.cumsum([estimated_s(node) for node in table.nodes])])


def _hops(placements: Placements) -> list[Placements]:
    return [placements] if placements.onward is None else [placements, *_hops(placements.onward)]


def _at_sizes(placements: Placements, usual: CutTable, table: CutTable) -> Placements:
    """The placements with the bytes of another table of the same cuts."""
    payload_bytes, usual_bytes = (
        np.array([cut.payload_bytes for cut in each.cuts], dtype=np.float64) for each in (table, usual)
    )
    growth = np.divide(payload_bytes, usual_bytes, out=np.ones(len(usual_bytes)), where=usual_bytes > 0.0)
    return replace(
        placements,
        payload_bytes=payload_bytes[placements.cut],
        request_bytes=placements.request_bytes * growth[placements.cut],
        reply_bytes=placements.reply_bytes * growth[table.last],
        codec_s=placements.codec_s * growth[placements.cut],
        graph_nodes=table.nodes,
        onward=None if placements.onward is None else _at_sizes(placements.onward, usual, table),
    )


def _more_s(usual: Placements, placements: Placements, kbps: float | None) -> Floats:
    """Seconds that a link takes beyond those of the usual sizes; 0 where its bandwidth is unknown."""
    more_bytes = placements.request_bytes + placements.reply_bytes - usual.request_bytes - usual.reply_bytes
    link_s = more_bytes * 8 / 1000 / kbps if kbps else np.zeros(len(usual))
    return link_s + placements.codec_s - usual.codec_s


def _on_offer(placements: Placements, partition: Partition) -> NDArray[np.bool_]:
    """Which placements can be used at these sizes: there is no file of a picture, and fewer cuts may be exact."""
    legal = np.zeros(partition.table.last + 1, dtype=np.bool_)
    legal[list(partition.legal)] = True
    usable = np.array([codec != FILE for codec in placements.codec]) & legal[placements.cut]
    for onward in _hops(placements)[1:]:
        usable &= legal[onward.cut] | onward.on_edge
    return usable
