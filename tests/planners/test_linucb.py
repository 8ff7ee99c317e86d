"""LinUCB: the worked example, regret against the oracle over 20 seeds, and after a step of the link."""

from __future__ import annotations

import numpy as np
import pytest

from midcut.config.settings import CutSettings
from midcut.errors import ConfigError
from midcut.planning.cuts import legal_cuts
from midcut.planning.placements import placements
from midcut.profiles import find_profile
from midcut.protocols import Learner
from midcut.testing import PlannerSuite
from midcut.types import Forecast, InferenceResult, Observation
from midcut_planners.linucb import LinUcb, tail_features
from midcut_predictors.link import RoundTrip
from midcut_predictors.profiled import CloudProfile, EdgeProfile


class TestLinUcb(PlannerSuite):
    pareto = False
    weighs = False

    def make(self):
        return LinUcb()


class OneFeature(LinUcb):
    """Arms (0, 1), (.05, .5), (.2, 0) of front seconds and a single feature."""

    def _use(self, placed):
        if self._scale is None:
            self._scale, self._precision, self._moments = np.ones(1), self._beta * np.eye(1), np.zeros(1)
        self._placements, self._features = placed, np.array([[1.0], [0.5], [0.0]])

    def estimates(self, forecast):
        return forecast.edge_s + self._tail_estimate(forecast.placements)


def test_the_worked_example():
    from midcut.testing import chain_placements

    placed, zero = chain_placements([1, 1, 1]), np.zeros(3)
    forecast = Forecast(placed, np.array([0.0, 0.05, 0.2]), zero, zero, zero)
    planner = OneFeature(alpha=0.1, beta=1.0, discount=1.0, forced=False)
    seen = []
    for estimates in ([-0.1, 0.0, 0.2], [0.0793, 0.0896, 0.2], [0.1423, 0.1211, 0.2]):
        np.testing.assert_allclose(planner.estimates(forecast), estimates, atol=5e-5)
        seen.append(int(planner.choose(forecast, 0.5)))
        planner.learn(planner._features[seen[-1]], 0.3)
    assert seen == [0, 0, 1]


@pytest.fixture(scope="module")
def world():
    return {model: World(model) for model in ("alexnet", "vgg16")}


class World:
    """True seconds of a model's cuts on the shipped machines."""

    def __init__(self, model):
        table = find_profile("pi4", "edge", model).table
        self.placed = placements(table, legal_cuts(table, CutSettings()))
        self.predictors = EdgeProfile(self.placed), RoundTrip(self.placed), CloudProfile(self.placed)

    def forecast(self, bandwidth_kbps):
        seen = Observation(clock_mhz=1500.0, bandwidth_kbps=float(bandwidth_kbps), ping_ms=20.0)
        edge_s, link_s, cloud_s = (predictor.seconds(seen) for predictor in self.predictors)
        return Forecast(self.placed, edge_s, link_s, cloud_s, np.zeros(len(self.placed)))


def regrets(planner, world, bandwidths, seed):
    """Relative regret to the oracle of every request; delays vary by 5 %. The planner sees the edge's seconds only."""
    rng = np.random.default_rng(seed)
    rows = []
    for bandwidth in bandwidths:
        true = world.forecast(bandwidth)
        zero = np.zeros(len(true))
        seen = Forecast(world.placed, true.edge_s, zero, zero, zero)
        row = int(planner.choose(seen, 0.5))
        noise = rng.normal(1.0, 0.05)
        on_edge = bool(world.placed.on_edge[row])
        planner.answered(
            world.placed[row],
            Observation(),
            InferenceResult(
                "", None, int(world.placed.cut[row]), "edge" if on_edge else "cloud", "", float(true.edge_s[row]),
                float(true.link_s[row] * noise), float(true.cloud_s[row] * noise), 0.0, 0.0, 0, {},
            ),
        )  # fmt: skip
        rows.append(true.latency_s[row] / true.latency_s.min() - 1.0)
    return np.array(rows)


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("model", ["alexnet", "vgg16"])
def test_the_last_100_of_500_requests_are_within_3_percent_of_the_oracle(world, model, forced):
    means = []
    for seed in range(20):
        bandwidth = np.random.default_rng(1000 + seed).uniform(2_000, 50_000)
        planner = LinUcb(forced=forced)
        means.append(regrets(planner, world[model], np.full(500, bandwidth), seed)[-100:].mean())
    unforced = np.array(means)
    # Every fifth request is sent at all costs with `forced`: where the edge alone is best, that is its price.
    assert unforced.mean() <= (0.25 if forced else 0.03), unforced


def test_after_a_step_of_the_link_forgetting_finds_the_best_cut_again(world):
    bandwidths = np.concatenate([np.full(250, 50_000.0), np.full(250, 5_000.0)])
    means = {}
    for discount in (1.0, 0.95):
        runs = [
            regrets(LinUcb(discount=discount), world["alexnet"], bandwidths, seed)[-50:].mean() for seed in range(20)
        ]
        means[discount] = float(np.mean(runs))
    assert means[0.95] <= 0.03
    assert means[0.95] <= means[1.0]


def test_it_is_a_learner_and_features_are_of_what_follows_the_cut(world):
    assert isinstance(LinUcb(), Learner)
    features = tail_features(world["alexnet"].placed)
    assert features.shape == (23, 8)
    assert features[0, :6].tolist()[::2] == [5.0, 3.0, 7.0]  # convolutions, dense layers, activations
    assert features[0, 1] == pytest.approx(655_566_528, rel=1e-6)
    assert (features[-1] == 0.0).all()
    assert (np.diff(features[:, 0]) <= 0.0).all()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("alpha", -1.0),
        ("anchor", 0.0),
        ("beta", 0.0),
        ("discount", 0.0),
        ("discount", 1.1),
        ("importance", 2.0),
        ("horizon", 0),
    ],
)
def test_bad_knobs_get_one_line(knob, value):
    with pytest.raises(ConfigError, match=rf"planner linucb: {knob}={value} is out of bounds"):
        LinUcb(**{knob: value})
