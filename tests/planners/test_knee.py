"""The knee of the front: by hand, and against plain Python over random forecasts with ties."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from midcut.testing import PlannerSuite, chain_placements
from midcut.types import Forecast
from midcut_planners.knee import Knee

few = st.integers(0, 6).map(float)
real = st.floats(0.0, 1e6, allow_subnormal=False)
pairs = st.one_of(
    st.lists(st.tuples(few, few), min_size=1, max_size=9), st.lists(st.tuples(real, real), min_size=1, max_size=30)
)


def forecast_of(latency, cost) -> Forecast:
    latency, cost = np.asarray(latency, dtype=float), np.asarray(cost, dtype=float)
    return Forecast(chain_placements([0] * latency.shape[-1]), latency, latency * 0.0, latency * 0.0, cost)


def brute_force(values) -> int:
    front = [
        row
        for row, point in enumerate(values)
        if values.index(point) == row
        and not any(other[0] <= point[0] and other[1] <= point[1] and other != point for other in values)
    ]
    fastest = min(front, key=lambda row: values[row][0])
    cheapest = min(front, key=lambda row: values[row][1])

    def distance(row):
        if fastest == cheapest:
            return 0.0
        latency, cost = values[row]
        latency_span = values[cheapest][0] - values[fastest][0]
        cost_span = values[fastest][1] - values[cheapest][1]
        return (latency - values[fastest][0]) / latency_span + (cost - values[cheapest][1]) / cost_span

    return min(front, key=lambda row: (distance(row), values[row][0]))


def test_by_hand():
    # The front is (0, 10), (1, 4), (2, 3), (10, 0); (3, 9) is dominated. Scaled: (0, 1), (.1, .4), (.2, .3), (1, 0).
    # Sums: 1, 0.5, 0.5, 1: a tie, and the faster of the two wins. The dominated one moves neither end.
    assert Knee().choose(forecast_of([0, 3, 2, 1, 10], [10, 9, 3, 4, 0]), 0.5) == 3
    # A placement that is slower than the cheapest one and dearer than the fastest one is not on the front: scaled
    # over everything, (1, 4) and (2, 3) would not tie.
    assert Knee().choose(forecast_of([0, 2, 1, 10, 100], [10, 2.9, 4, 0, 50]), 0.5) == 1


def test_points_above_the_line_are_no_knee():
    # (0.6, 0.9) lies above the line between (0, 1) and (1, 0): the fastest end is taken.
    assert Knee().choose(forecast_of([1.0, 0.6, 0.0], [0.0, 0.9, 1.0]), 0.5) == 2


def test_a_front_of_one_or_two():
    assert Knee().choose(forecast_of([2, 1, 2], [2, 1, 1]), 0.5) == 1
    assert Knee().choose(forecast_of([2, 1], [1, 2]), 0.5) == 1, "the faster end"


@settings(max_examples=500)
@given(values=pairs)
def test_it_is_brute_force(values):
    latency, cost = zip(*values, strict=True)
    assert int(Knee().choose(forecast_of(latency, cost), 0.5)) == brute_force(values)


def test_bulk_equals_brute_force_over_pieces():
    rng = np.random.default_rng(9)
    values = rng.integers(0, 30, (100, 90, 40, 2)).astype(float)  # 360,000 values: three pieces
    picks = Knee().choose(forecast_of(values[..., 0], values[..., 1]), np.array([0.0, 1.0]).reshape(2, 1, 1))
    assert picks.shape == (2, 100, 90)
    for i, j in [(0, 0), (36, 35), (36, 36), (72, 73), (99, 89), *rng.integers(0, 90, (50, 2)).tolist()]:
        expected = brute_force(list(map(tuple, values[i, j])))
        assert picks[:, i, j].tolist() == [expected, expected]


class TestKnee(PlannerSuite):
    def make(self):
        return Knee()
