"""An answer is given, and counted at a finite price, whatever becomes of its cost model."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from midcut.edge.answer_price import AnswerPrice
from midcut.errors import ForecastError
from midcut.types import Observation, Usage
from midcut_costs.billed import Billed


class Seconds:
    def cost_usd(self, edge_s, _, cloud_s):
        return edge_s + 2.0 * cloud_s


class Raising(Seconds):
    def __init__(self, error):
        self.error = error

    def request_usd(self, _):
        raise self.error


class Giving(Seconds):
    def __init__(self, usd):
        self.usd = usd

    def request_usd(self, _):
        return self.usd


class Hopeless(Giving):
    def cost_usd(self, *_):
        raise KeyError("edge")


def usage(**others):
    return Usage(1.0, 0.5, 3.0, 100, 10, 4, "raw", Observation(1500.0, 1000.0, 20.0, others=others))


@pytest.mark.parametrize(
    "cost", [Raising(ForecastError("no price")), Raising(ZeroDivisionError()), Giving(float("nan")), Giving(1e999),
             Giving(None)],
)  # fmt: skip
def test_a_price_that_cannot_be_known_is_that_of_the_seconds(cost):
    with capture_logs() as logs:
        price = AnswerPrice(cost)
        assert [price.usd(usage()) for _ in range(3)] == [7.0, 7.0, 7.0]
    assert [line["log_level"] for line in logs] == ["warning"]


def test_where_the_seconds_have_no_price_either_it_is_nothing():
    assert AnswerPrice(Hopeless(float("inf"))).usd(usage()) == 0.0


def test_a_clouds_live_price_counts_while_it_is_known():
    with capture_logs() as logs:
        price = AnswerPrice(Billed(edge_usd_per_busy_hour=3600.0, cloud_usd_per_busy_hour=3600.0, live_price=True))
        found = [price.usd(usage(cloud_price_usd_per_hour=7200.0)), price.usd(usage()), price.usd(usage())]
        found.append(price.usd(usage(cloud_price_usd_per_hour=7200.0)))
        price.usd(usage())
    assert found == pytest.approx([7.0, 4.0, 4.0, 7.0])
    assert len(logs) == 2  # a line for each time that it begins
