"""What providers bill: hand-computed prices, in forecasts and in results."""

from __future__ import annotations

import numpy as np
import pytest

from midcut.errors import ConfigError, ForecastError
from midcut.planning.policy import Forecaster
from midcut.planning.pricing import request_usd
from midcut.testing import CostModelSuite, chain_placements
from midcut.types import Observation, Usage
from midcut_costs.billed import Billed
from midcut_costs.busy_seconds import Rented


class TestBilled(CostModelSuite):
    def make(self):
        return Billed(edge_usd_per_busy_hour=0.2, cloud_usd_per_busy_hour=0.1, usd_per_kwh=0.3, edge_busy_w=5.0)


def usage(sent=1e6, received=5e3, **fields):
    return Usage(0.1, 0.2, 0.05, sent, received, 3, "raw", Observation.of(fields))


@pytest.mark.parametrize(
    ("settings", "usd"),
    [
        ({"edge_usd_per_busy_hour": 3.6}, 0.1 * 0.001),
        ({"cloud_usd_per_busy_hour": 7.2}, 0.05 * 0.002),
        ({"usd_per_gb_up": 0.09}, 0.09e-3),
        ({"usd_per_gb_down": 0.09}, 0.09 * 5e-6),
        ({"usd_per_request": 2e-7}, 2e-7),
        ({"usd_per_kwh": 0.36, "edge_busy_w": 5.0}, 0.1 * 5.0 * 0.36 / 3.6e6),
        ({"cloud_usd_per_hour": 3.6, "rate_hz": 10.0}, 1e-4),
        ({"edge_usd_per_hour": 1.8, "cloud_usd_per_hour": 1.8, "rate_hz": 10.0}, 1e-4),
    ],
)
def test_each_thing_that_is_billed(settings, usd):
    assert request_usd(Billed(**settings), usage()) == pytest.approx(usd, rel=1e-12)


def test_what_is_not_sent_pays_no_traffic_and_no_request():
    billed = Billed(usd_per_gb_up=1.0, usd_per_gb_down=1.0, usd_per_request=1.0)
    assert request_usd(billed, usage(sent=0.0, received=0.0)) == 0.0


def test_rate_and_price_can_be_observed():
    billed = Billed(cloud_usd_per_hour=3.6, cloud_usd_per_busy_hour=1.0, live_price=True)
    assert billed.needs == {"rate_hz", "cloud_price_usd_per_hour"}
    seen = usage(rate_hz=5.0, cloud_price_usd_per_hour=36.0)
    assert request_usd(billed, seen) == pytest.approx(2e-4 + 0.05 * 0.01)
    with pytest.raises(ForecastError, match="the observation has no cloud_price_usd_per_hour"):
        request_usd(billed, usage(rate_hz=5.0))


class Seconds:
    needs: frozenset[str] = frozenset()

    def __init__(self, *seconds):
        self._seconds = np.array(seconds)

    def seconds(self, observation):
        return (
            self._seconds
            if observation.clock_mhz is None
            else self._seconds * np.asarray(observation.clock_mhz)[:, None]
        )


def test_a_forecast_prices_the_bytes_of_every_placement_and_many_observations_at_once():
    placed = chain_placements([600_000, 200_000, 4_000])
    billed = Billed(usd_per_gb_up=0.1, cloud_usd_per_busy_hour=3.6, live_price=True)
    forecaster = Forecaster(placed, Seconds(0, 0.1, 0.2), Seconds(0.6, 0.2, 0), Seconds(0.02, 0.01, 0), billed)
    assert forecaster.needs == {"cloud_price_usd_per_hour"}
    one = forecaster.forecast(Observation.of({"cloud_price_usd_per_hour": 7.2}))
    expected = placed.request_bytes * 1e-10 + np.array([0.02, 0.01, 0.0]) * 0.002
    np.testing.assert_allclose(one.cost_usd, expected, rtol=1e-12)
    many = forecaster.forecast(
        Observation.of({"clock_mhz": np.array([1.0, 2.0]), "cloud_price_usd_per_hour": np.array([7.2, 0.0])})
    )
    np.testing.assert_allclose(many.cost_usd, [expected, placed.request_bytes * 1e-10], rtol=1e-12)


def test_a_cost_model_of_seconds_alone_is_priced_as_before():
    assert request_usd(Rented(3.6, 7.2), usage()) == pytest.approx(0.1 * 0.001 + 0.05 * 0.002)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"usd_per_gb_up": -1.0}, "cost.usd_per_gb_up must be a finite price, 0 or more, got -1"),
        ({"usd_per_kwh": float("nan")}, "cost.usd_per_kwh must be a finite price"),
        ({"rate_hz": 0.0}, "cost.rate_hz must be over 0, or null for the observed rate, got 0"),
    ],
)
def test_bad_prices_get_one_line(settings, message):
    with pytest.raises(ConfigError, match=message):
        Billed(**settings)
