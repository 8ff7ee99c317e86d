"""The predictors `layers`, as a plugin's contract and against their fit."""

from __future__ import annotations

import numpy as np
import pytest

from midcut.config.settings import CutSettings
from midcut.errors import ConfigError, FileError
from midcut.planning.cuts import legal_cuts
from midcut.planning.placements import placements
from midcut.profiles import find_layer_fit, find_profile
from midcut.testing import LatencyPredictorSuite, chain_placements
from midcut.types import Observation
from midcut_predictors.layers import CloudLayers, EdgeLayers


def alexnet():
    table = find_profile("pi4", "edge", "alexnet").table
    return placements(table, legal_cuts(table, CutSettings()))


class TestEdge(LatencyPredictorSuite):
    def placements(self):
        return alexnet()

    def make(self, placements):
        return EdgeLayers(placements)


class TestCloud(LatencyPredictorSuite):
    def placements(self):
        return alexnet()

    def make(self, placements):
        return CloudLayers(placements, load=0.5)


def test_seconds_before_and_after_a_cut_add_up_to_its_nodes():
    placed, table = alexnet(), find_profile("pi4", "edge", "alexnet").table
    core, memory = find_layer_fit("pi4").seconds(table.nodes)
    at_750 = EdgeLayers(placed).seconds(Observation(clock_mhz=750.0))
    np.testing.assert_allclose(at_750[5], (2 * core + memory)[:5].sum(), rtol=1e-12)
    cloud = np.sum(find_layer_fit("cloud").seconds(table.nodes), axis=0)
    busy = CloudLayers(placed, load=1.0).seconds(Observation())
    np.testing.assert_allclose(busy[5], 2 * cloud[5:].sum(), rtol=1e-12)
    assert busy[-1] == 0.0


def test_what_cannot_be_predicted_gets_one_line():
    with pytest.raises(ConfigError, match="needs what each node of 'chain' computes"):
        EdgeLayers(chain_placements([1, 1]))
    with pytest.raises(FileError, match="is of role cloud; predictor/edge needs one of role edge"):
        EdgeLayers(alexnet(), "cloud")
    with pytest.raises(FileError, match=r"no layer_fit 'pi5'.*midcut fit what=layers"):
        EdgeLayers(alexnet(), "pi5")
    with pytest.raises(ConfigError, match=r"predictor.cloud.load must be a finite number, 0 or more, got -1"):
        CloudLayers(alexnet(), load=-1.0)
