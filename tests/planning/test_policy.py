from __future__ import annotations

import numpy as np
import pytest

from midcut.errors import ForecastError
from midcut.planning import check_forecast
from midcut.planning.policy import Policy
from midcut.testing import FixedSeconds, chain_placements
from midcut.types import Observation

PLACED = chain_placements([150_000, 30_000, 600_000, 4_000])
EDGE_S = np.array([0.0, 0.1, 0.2, 3.0])
LINK_S = np.array([12.0, 6.0, 9.0, 0.0])
CLOUD_S = np.array([0.5, 4.5, 0.5, 0.0])


class EdgeSecondsAsCost:
    def cost_usd(self, edge_s, link_s, cloud_s):
        return edge_s + 0.0 * link_s + 0.0 * cloud_s


class Cheapest:
    w = 1.0

    def choose(self, forecast, _):
        check_forecast(forecast)
        return int(np.argmin(forecast.cost_usd))


def policy(reply_timeout_s=None, link_s=LINK_S):
    parts = (FixedSeconds(part_s) for part_s in (EDGE_S, link_s, CLOUD_S))
    return Policy(PLACED, *parts, EdgeSecondsAsCost(), Cheapest(), reply_timeout_s)


# Replies take 12.5, 10.5 and 9.5 s; the last cut sends no request.
@pytest.mark.parametrize(("reply_timeout_s", "index"), [(None, 0), (20.0, 0), (11.0, 1), (10.0, 2), (9.0, 3)])
def test_a_placement_slower_than_the_reply_timeout_is_not_picked(reply_timeout_s, index):
    decision = policy(reply_timeout_s).decide(Observation())
    assert decision.index == index
    assert decision.placement == PLACED[index]
    assert len(decision.forecast) == 4  # the forecast still has all placements


def test_the_runner_up_is_within_the_reply_timeout_too():
    with_timeout = policy(10.0)
    assert with_timeout.runner_up(with_timeout.decide(Observation()))["cut"] == PLACED[3].cut


def test_where_every_placement_exceeds_the_reply_timeout_the_planner_chooses_freely():
    assert policy(1.0, np.array([12.0, 6.0, 9.0, 2.0])).decide(Observation()).index == 0


def test_an_invalid_forecast_is_refused_in_spite_of_a_reply_timeout():
    with pytest.raises(ForecastError, match="latency_s = nan"):
        policy(10.0, np.array([np.nan, 1.0, 1.0, 1.0])).decide(Observation())
