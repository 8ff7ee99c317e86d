from __future__ import annotations

import numpy as np
import pytest
from bed.links import PAYLOAD_SHARE
from evaluation.matrix.points import choose_cuts, draw
from evaluation.site import Conditions

from midcut.types import Forecast, Placements


def test_same_seed_same_points_within_their_ranges():
    points = draw("vgg16", 50, seed=3)
    assert points == draw("vgg16", 50, seed=3)
    assert points != draw("vgg16", 50, seed=4)
    assert points[:5] == draw("vgg16", 5, seed=3)  # more of them begin with the same
    assert all(5_000 <= point.bandwidth_kbps <= 50_000 for point in points)
    assert all(5.0 <= point.ping_ms <= 100.0 for point in points)
    assert all(600.0 <= point.clock_mhz <= 1500.0 for point in points)
    # Uniform in the logarithm: about half lie under the geometric middle, 15.8 Mbit/s.
    assert 15 <= sum(point.bandwidth_kbps < 15_811 for point in points) <= 35


def test_other_models_may_have_slow_links():
    assert min(point.bandwidth_kbps for point in draw("mnist", 100, seed=0)) < 3_000


def forecast(request_bytes, latency_s):
    count = len(request_bytes)
    zero, number = np.zeros(count), np.arange(count)
    columns = Placements(
        model="some",
        cut=number,
        layer=number,
        payload_bytes=np.array(request_bytes, dtype=float),
        request_bytes=np.array(request_bytes, dtype=float),
        reply_bytes=zero,
        on_edge=number == count - 1,
        nodes=count - 1,
        layers=count - 1,
    )
    return Forecast(columns, np.array(latency_s, dtype=float), zero, zero, zero)


# 1 Mbit/s of payload: 125 kB take one second.
SLOW = Conditions(clock_mhz=1500, bandwidth_kbps=1000 / PAYLOAD_SHARE, ping_ms=5)


def test_cuts_that_nobody_would_take_are_left_out():
    # The better end takes 0.2 s, so that 0.4 s on the wire, 50 kB, is the limit.
    predicted = forecast([10_000, 400_000, 50_000, 60_000, 0], [0.3, 1, 1, 1, 0.2])
    assert choose_cuts(predicted, SLOW, 3, ()) == ([0, 2, 4], [1, 3])
    # What a policy picks is measured in any case.
    assert choose_cuts(predicted, SLOW, 3, {1}) == ([0, 1, 2, 4], [3])


def test_there_are_enough_cuts_where_the_wire_allows():
    # With 5 wanted the one with 60 kB, 0.48 s, comes in; 400 kB would take 3.2 s.
    predicted = forecast([10_000, 400_000, 50_000, 60_000, 0], [0.3, 1, 1, 1, 0.2])
    assert choose_cuts(predicted, SLOW, 5, ()) == ([0, 2, 3, 4], [1])


def test_both_ends_are_measured_whatever_they_take():
    predicted = forecast([4_000_000, 1000, 1000, 0], [40, 1, 1, 0.2])
    measured, left_out = choose_cuts(predicted, SLOW, 2, ())
    assert measured == [0, 3]
    assert left_out == []


@pytest.mark.parametrize("count", [2, 5, 12])
def test_no_more_cuts_than_wanted(count):
    predicted = forecast([100] * 29 + [0], [1.0] * 30)
    measured, left_out = choose_cuts(predicted, SLOW, count, ())
    assert len(measured) == count
    assert measured[0] == 0
    assert measured[-1] == 29
    assert not left_out
