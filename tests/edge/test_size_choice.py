"""What a request of another size does where the planner picks nothing for it, or nothing is on offer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import structlog

from midcut.edge.size_choice import SizeChoice
from midcut.errors import ForecastError
from midcut.planning.placements import placements
from midcut.planning.policy import Policy
from midcut.types import Observation, Placement


class Once:
    """A planner that picks one placement, then raises an error."""

    w = None

    def __init__(self, picks, error):
        self.picks, self.error, self.asked = picks, error, 0

    def choose(self, forecast, w):  # noqa: ARG002
        self.asked += 1
        if self.asked > 1 and self.error is not None:
            raise self.error
        return np.intp(forecast.find(self.picks))


class AtThisSize:
    """A model that is prepared for another size, at which fewer cuts are exact."""

    def __init__(self, table, legal):
        self.table, self.legal = table, legal


class Constant:
    needs = frozenset()

    def __init__(self, rows):
        self.rows = rows

    def seconds(self, observation):  # noqa: ARG002
        return np.ones(self.rows)

    def cost_usd(self, edge_s, link_s, cloud_s):  # noqa: ARG002
        return edge_s


def decided(table, cuts, planner):
    laid_out = placements(table, cuts)
    part = Constant(len(laid_out))
    policy = Policy(laid_out, part, part, part, part, planner=planner)
    return SizeChoice(table, lambda: policy), policy.decide(Observation())


@pytest.mark.parametrize(
    ("cuts", "legal", "error", "used"),
    [
        ((4, 9), (4, 9), ForecastError("no placement is within the limit"), Placement(4)),
        ((4, 9), (4, 9), RuntimeError("a bug in a plugin"), Placement(4)),
        ((4, 9), (5, 9), ForecastError("no placement is within the limit"), Placement(9)),
        ((4,), (5, 9), None, Placement(9)),  # a pinned cut that is not exact at this size
    ],
)
def test_a_planner_that_picks_nothing_costs_no_answer(tiny, cuts, legal, error, used):
    sizes, decision = decided(tiny.table, cuts, Once(Placement(4), error))
    with structlog.testing.capture_logs() as logs:
        other = sizes.decide(decision, AtThisSize(tiny.table, legal))
    assert (other.placement, other.forecast, other.held) == (used, None, "other sizes")
    assert [entry["log_level"] for entry in logs if entry["log_level"] != "debug"] == (
        ["error"] if isinstance(error, RuntimeError) else []
    )


def test_a_route_past_a_cut_that_is_not_exact_at_this_size_is_not_kept(tiny):
    sizes, decision = decided(tiny.table, (4, 9), Once(Placement(4), None))
    routed = replace(decision, placement=Placement(4, onward=Placement(6)), forecast=None)
    for legal, used in (((4, 6, 9), routed.placement), ((4, 9), Placement(9))):
        assert sizes.decide(routed, AtThisSize(tiny.table, legal)).placement == used
