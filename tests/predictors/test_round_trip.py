"""The link of what is really sent, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from midcut.errors import ConfigError, ForecastError
from midcut.testing import LatencyPredictorSuite
from midcut.types import Observation, Placements
from midcut_predictors.link import Eq3, RoundTrip


def placements() -> Placements:
    column = np.arange(3)
    return Placements(
        model="any",
        cut=column,
        layer=column,
        payload_bytes=np.array([600_000.0, 30_000.0, 4_000.0]),
        request_bytes=np.array([800_500.0, 40_500.0, 0.0]),
        reply_bytes=np.array([5_500.0, 5_500.0, 0.0]),
        on_edge=column == 2,
        nodes=2,
        layers=2,
    )


LINK = Observation(bandwidth_kbps=8000.0, ping_ms=30.0)


def test_request_reply_and_a_whole_ping():
    # 8 Mbit/s is 1 MB/s: 0.8005 + 0.0055 + 0.03 = 0.836; 0.0405 + 0.0055 + 0.03 = 0.076; nothing sent: 0.
    np.testing.assert_allclose(RoundTrip(placements()).seconds(LINK), [0.836, 0.076, 0.0], rtol=1e-15)


def test_a_codecs_own_seconds_come_on_top_where_something_is_sent():
    coded = replace(placements(), codec=("raw", "fp16", "raw"), codec_s=np.array([0.0, 0.004, 0.0]))
    np.testing.assert_allclose(RoundTrip(coded).seconds(LINK), [0.836, 0.080, 0.0], rtol=1e-15)
    np.testing.assert_array_equal(Eq3(coded).seconds(LINK), Eq3(placements()).seconds(LINK))


def test_a_downlink_of_its_own_and_overhead():
    # Reply at 44 Mbit/s: 5500 * 8 / 44e6 = 0.001; overhead 0.002: 0.8005 + 0.001 + 0.03 + 0.002 = 0.8335.
    link = RoundTrip(placements(), downlink_kbps=44_000.0, overhead_s=0.002)
    np.testing.assert_allclose(link.seconds(LINK), [0.8335, 0.0735, 0.0], rtol=1e-15)


def test_many_observations():
    bandwidth = np.array([[1000.0], [8000.0]])
    ping = np.array([10.0, 30.0, 90.0])
    seconds = RoundTrip(placements()).seconds(Observation(bandwidth_kbps=bandwidth, ping_ms=ping))
    assert seconds.shape == (2, 3, 3)
    np.testing.assert_array_equal(seconds[1, 1], RoundTrip(placements()).seconds(LINK))


@pytest.mark.parametrize("make", [RoundTrip, Eq3])
@pytest.mark.parametrize("bad", [0.0, -5.0, math.nan, math.inf, None])
def test_bandwidth_refused(make, bad):
    with pytest.raises(ForecastError, match="bandwidth_kbps"):
        make(placements()).seconds(Observation(bandwidth_kbps=bad, ping_ms=30.0))


@pytest.mark.parametrize("make", [RoundTrip, Eq3])
def test_ping_refused(make):
    with pytest.raises(ForecastError, match=r"ping_ms must be a finite number 0 or more, got -1\.0"):
        make(placements()).seconds(Observation(bandwidth_kbps=1.0, ping_ms=-1.0))
    assert make(placements()).seconds(Observation(bandwidth_kbps=1.0, ping_ms=0)).shape == (3,)


@pytest.mark.parametrize("knobs", [{"downlink_kbps": 0.0}, {"downlink_kbps": math.nan}, {"overhead_s": -1.0}])
def test_knobs_refused(knobs):
    with pytest.raises(ConfigError, match=f"predictor.link.{next(iter(knobs))}"):
        RoundTrip(placements(), **knobs)


class TestRoundTrip(LatencyPredictorSuite):
    def make(self, placements):
        return RoundTrip(placements, overhead_s=0.001)
