"""A placement that will never be answered is neither picked, nor the unit of the others."""

from __future__ import annotations

import numpy as np
import pytest

from midcut.planning.policy import choose_in_time
from midcut.testing.fakes import random_forecast
from midcut.types import Forecast
from midcut_planners.algorithm1 import Algorithm1
from midcut_planners.knee import Knee
from midcut_planners.weighted_sum import WeightedSum


@pytest.mark.parametrize("planner", [WeightedSum(0.5), Knee(), Algorithm1(0.5)])
def test_many_observations_at_once_are_chosen_as_one_by_one(planner):
    generator = np.random.default_rng(3)
    drawn = random_forecast(generator, 6, (50,))
    forecast = Forecast(drawn.placements, drawn.cloud_s, drawn.edge_s, drawn.cloud_s, drawn.cost_usd)
    limit_s = float(np.median(forecast.link_s + forecast.cloud_s))
    weights = np.array([[0.0], [0.3], [1.0]])
    picks = choose_in_time(planner, forecast, weights, limit_s)
    assert picks.shape == (3, 50)
    for sample in range(50):
        for row, weight in enumerate((0.0, 0.3, 1.0)):
            assert picks[row, sample] == choose_in_time(planner, forecast.at(sample), weight, limit_s)
    late = forecast.link_s + forecast.cloud_s > limit_s
    assert late.any()
    picked_late = np.take_along_axis(late, picks.T, -1).T
    assert not picked_late[:, ~late.all(axis=-1)].any()
