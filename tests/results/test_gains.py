"""What cutting gains, against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from midcut.results.gains import Gain, MeanGains, alternatives, gains_text
from midcut.testing import pair_placements, random_forecast
from midcut.types import Forecast


def mean_gains(pairs):
    mean = MeanGains()
    for used, others in pairs:
        mean.add(used, others)
    return mean.gains()


def test_the_ends_are_running_all_at_one_side():
    forecast = random_forecast(np.random.default_rng(0), placements=5)
    found = alternatives(forecast)
    cloud, edge = int(np.flatnonzero(forecast.placements.cut == 0)[0]), int(forecast.placements.on_edge.argmax())
    assert found["cloud-only"] == {"latency_s": forecast.latency_s[cloud], "cost_usd": forecast.cost_usd[cloud]}
    assert found["edge-only"] == {"latency_s": forecast.latency_s[edge], "cost_usd": forecast.cost_usd[edge]}


def test_on_three_tiers_all_at_the_relay_is_not_all_in_the_cloud():
    seconds, zero = np.array([0.6, 0.5, 0.4, 0.3, 0.2, 0.1]), np.zeros(6)
    forecast = Forecast(pair_placements([1000.0, 1000.0, 0.0]), seconds, zero, zero, zero)
    found = {name: each["latency_s"] for name, each in alternatives(forecast).items()}
    assert found == {"edge-only": 0.1, "relay-only": 0.4, "cloud-only": 0.6}
    gains = mean_gains([({"latency_s": 0.2, "cost_usd": 0.0}, alternatives(forecast))])
    assert "50.0% faster and not cheaper than relay-only; 66.7% faster" in gains_text(gains)


def test_the_mean_is_that_of_all_requests_together():
    used = ({"latency_s": 0.1, "cost_usd": 2.0}, {"latency_s": 0.3, "cost_usd": 2.0})
    others = (
        {"edge-only": {"latency_s": 0.2, "cost_usd": 1.0}, "cloud-only": {"latency_s": 0.4, "cost_usd": 4.0}},
        {"edge-only": {"latency_s": 0.6, "cost_usd": 1.0}},  # cut 0 was not on offer
    )
    gains = mean_gains(list(zip(used, others, strict=True)))
    assert gains["edge-only"] == Gain(pytest.approx(0.5), pytest.approx(-1.0))
    assert gains["cloud-only"] == Gain(pytest.approx(0.75), pytest.approx(0.5))
    assert gains_text(gains) == (
        "50.0% faster and 100.0% costlier than edge-only; 75.0% faster and 50.0% cheaper than cloud-only"
    )
    assert gains_text({"edge-only": Gain(0.0, 0.0)}) == "not faster and not cheaper than edge-only"
    assert mean_gains([]) == {}
