"""What a cloud tells of its load and price, against sums written out."""

from __future__ import annotations

import math

import pytest

from midcut.cloud.load import CloudLoad
from midcut.config.settings import PriceSettings
from midcut.errors import ConfigError
from midcut.wire.rate_estimate import RecentRate


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_without_a_price_only_the_load_is_told():
    assert CloudLoad(PriceSettings()).conditions() == {"cloud_load": 0.0}


def test_price_rises_with_what_the_workers_computed_and_falls_when_they_rest():
    clock = Clock()
    load = CloudLoad(PriceSettings(0.5, slope_usd_per_hour=2.0, window_s=5.0), clock)
    for number in range(2000):  # 20 ms of work and 5 ms of waiting, ten times a second: 0.2 busy seconds a second
        clock.now_s = number / 10
        load.computed(0.02, 0.005)
    told = load.conditions()
    assert told["cloud_price_usd_per_hour"] == pytest.approx(0.5 + 2.0 * 0.2, rel=0.02)
    assert told["cloud_price_slope_usd_per_hour"] == 2.0
    assert told["cloud_load"] == pytest.approx(0.25, rel=1e-6)
    clock.now_s += 5.0
    fell = load.conditions()["cloud_price_usd_per_hour"] - 0.5
    assert fell == pytest.approx((told["cloud_price_usd_per_hour"] - 0.5) / math.e, rel=1e-9)
    clock.now_s += 500.0
    assert load.conditions()["cloud_price_usd_per_hour"] == pytest.approx(0.5)


def test_the_load_falls_while_nobody_asks():
    clock = Clock()
    load = CloudLoad(PriceSettings(window_s=5.0), clock)
    load.computed(0.1, 10.0)
    for idle_s, left in ((0.0, 1.0), (5.0, 1 / math.e), (50.0, math.exp(-10))):
        clock.now_s = idle_s
        assert load.conditions()["cloud_load"] == pytest.approx(100.0 * left)


def test_recent_rate_is_the_sum_of_fading_amounts():
    rate, amounts = RecentRate(3.0), [(0.0, 2.0), (1.5, 1.0), (1.5, 4.0), (7.0, 0.5)]
    for at_s, amount in amounts:
        rate.add(at_s, amount)
    expected = sum(amount * math.exp(-(9.0 - at_s) / 3.0) for at_s, amount in amounts) / 3.0
    assert rate.at(9.0) == pytest.approx(expected, rel=1e-12)
    assert RecentRate(3.0).at(1.0) == 0.0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"base_usd_per_hour": -1.0}, r"price.base_usd_per_hour must be at least 0, got -1"),
        ({"base_usd_per_hour": math.nan}, r"price.base_usd_per_hour must be at least 0, got nan"),
        ({"base_usd_per_hour": 1.0, "slope_usd_per_hour": math.inf}, r"price.slope_usd_per_hour must be finite"),
        ({"slope_usd_per_hour": 1.0}, r"price.slope_usd_per_hour needs price.base_usd_per_hour, which may be 0"),
        ({"window_s": 0.0}, r"price.window_s must be over 0, got 0"),
    ],
)
def test_a_price_that_is_none_is_one_clear_line(settings, text):
    with pytest.raises(ConfigError, match=text):
        PriceSettings(**settings)
