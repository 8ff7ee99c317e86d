"""Per-node profiles: sums by hand, the clock law against scipy."""

from __future__ import annotations

import logging
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy.optimize import nnls

from midcut.config.settings import CutSettings
from midcut.errors import FileError
from midcut.planning.cuts import legal_cuts
from midcut.planning.placements import placements
from midcut.profiles import find_profile, write_profile
from midcut.testing import LatencyPredictorSuite
from midcut.types import Observation
from midcut_predictors.paper import CloudLinear
from midcut_predictors.profiled import CloudProfile, EdgeProfile, fit_clock_law


def everywhere(profile):
    return placements(profile.table, legal_cuts(profile.table, CutSettings()))


def test_clock_law_is_non_negative_least_squares():
    rng = np.random.default_rng(2)
    slowdown = 1500 / np.array([600.0, 800.0, 1100.0, 1500.0])
    node_s = np.abs(rng.normal(size=(4, 300)) + rng.normal(size=300) * slowdown[:, None])
    core, memory = fit_clock_law(slowdown, node_s)
    for node in range(300):
        expected, _ = nnls(np.column_stack([slowdown, np.ones(4)]), node_s[:, node])
        np.testing.assert_allclose((core[node], memory[node]), expected, rtol=1e-9, atol=1e-12)
    assert (core == 0).any()
    assert (memory == 0).any(), "both corners are met"


@pytest.mark.parametrize("model", ["alexnet", "vgg16", "mnist"])
def test_shipped_edge_profile_predicts_every_clock_it_has(model):
    profile = find_profile("pi4", "edge", model)
    edge = EdgeProfile(everywhere(profile))
    for run in profile.runs:
        expected = [sum(run.node_s[:cut]) for cut in range(len(run.node_s) + 1)]
        np.testing.assert_allclose(edge.seconds(Observation(clock_mhz=run.clock_mhz)), expected, rtol=1e-9, atol=1e-15)


def test_edge_between_the_clocks(profile_of, tmp_path):
    # 1000 MHz: nodes 3, 2 ms; 500 MHz: nodes 6, 2 ms. So core 3 and 0, memory 0 and 2 ms.
    profile = profile_of({1000.0: (0.003, 0.002), 500.0: (0.006, 0.002)})
    path = write_profile(profile, tmp_path / "p.json")
    edge = EdgeProfile(everywhere(profile), str(path))
    # At 750 MHz: 3 * 1000 / 750 = 4 ms, and 4 + 2 = 6 ms.
    np.testing.assert_allclose(edge.seconds(Observation(clock_mhz=750.0)), [0.0, 0.004, 0.006], rtol=1e-12, atol=1e-15)
    many = edge.seconds(Observation(clock_mhz=np.array([[750.0], [1000.0]])))
    np.testing.assert_allclose(many, [[[0.0, 0.004, 0.006]], [[0.0, 0.003, 0.005]]], rtol=1e-12, atol=1e-15)


def test_one_clock_scales_all_of_it(profile_of, tmp_path):
    profile = profile_of({1000.0: (0.003, 0.002)})
    edge = EdgeProfile(everywhere(profile), str(write_profile(profile, tmp_path / "p.json")))
    np.testing.assert_allclose(edge.seconds(Observation(clock_mhz=500.0)), [0.0, 0.006, 0.010], rtol=1e-12)


def test_unknown_clock_needs_none(profile_of, tmp_path):
    profile = profile_of({None: (0.003, 0.002)})
    edge = EdgeProfile(everywhere(profile), str(write_profile(profile, tmp_path / "p.json")))
    assert edge.needs == frozenset()
    np.testing.assert_allclose(edge.seconds(Observation()), [0.0, 0.003, 0.005], rtol=1e-12)


def test_nodes_add_up_to_the_whole(profile_of, tmp_path):
    # Timers around the nodes cost 25 %: nodes add up to 5 ms, the whole took 4 ms.
    profile = profile_of({1000.0: (0.003, 0.002)}, whole_s=0.004)
    path = str(write_profile(profile, tmp_path / "p.json"))
    clock = Observation(clock_mhz=1000.0)
    np.testing.assert_allclose(EdgeProfile(everywhere(profile), path).seconds(clock), [0.0, 0.0024, 0.004], rtol=1e-12)
    unscaled = EdgeProfile(everywhere(profile), path, match_whole=False)
    np.testing.assert_allclose(unscaled.seconds(clock), [0.0, 0.003, 0.005], rtol=1e-12)


def test_cloud_sums_what_is_left(profile_of, tmp_path):
    profile = profile_of({1000.0: (0.006, 0.004), 2000.0: (0.003, 0.002)}, role="cloud")
    cloud = CloudProfile(everywhere(profile), str(write_profile(profile, tmp_path / "p.json")))
    seconds = cloud.seconds(Observation())
    np.testing.assert_allclose(seconds, [0.005, 0.002, 0.0], rtol=1e-12)
    assert seconds[-1] == 0.0


@pytest.mark.parametrize("predictor", [EdgeProfile, CloudProfile])
def test_another_graph_is_refused(predictor):
    vgg16 = everywhere(find_profile("pi4", "edge", "vgg16"))
    wrong = replace(vgg16, model="alexnet", graph="")
    with pytest.raises(FileError, match=r"has 22 nodes and 21 layers .* the model has 40 and 39; profile it again"):
        predictor(wrong)


@pytest.mark.parametrize("predictor", [EdgeProfile, CloudProfile, CloudLinear])
def test_an_equally_long_graph_with_another_hash_is_refused(predictor, tmp_path):
    role = "edge" if predictor is EdgeProfile else "cloud"
    modelled = find_profile("pi4" if role == "edge" else "cloud", role, "alexnet")
    alexnet = everywhere(modelled)
    assert alexnet.graph
    other = replace(alexnet, graph="00000000ffffffff")
    predictor(other)  # a modelled profile holds for the architecture
    path = str(write_profile(msgspec.structs.replace(modelled, modelled=False), tmp_path / "measured.json"))
    predictor(alexnet, path)
    predictor(replace(alexnet, graph=""), path)
    with pytest.raises(FileError) as error:
        predictor(other, path)
    assert f"of 'alexnet' as {role} was measured on another graph, {alexnet.graph}, than is split here, 0000" in str(
        error.value
    )
    assert "(cuts.capture, num_classes or the torch version differ); profile it again" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("predictor", [EdgeProfile, CloudProfile, CloudLinear])
def test_seconds_of_several_images_are_refused(predictor, profile_of, tmp_path):
    profile = profile_of({1000.0: (0.003, 0.002)}, role="edge" if predictor is EdgeProfile else "cloud")
    path = str(write_profile(profile, tmp_path / "one.json"))
    predictor(everywhere(profile), path)
    path = str(write_profile(msgspec.structs.replace(profile, batch=8), tmp_path / "eight.json"))
    with pytest.raises(FileError, match=r"was measured with 8 images at once, .* profile again with batch=1"):
        predictor(everywhere(profile), path)


def test_a_clock_outside_the_profile_is_said_once(caplog):
    alexnet = everywhere(find_profile("pi4", "edge", "alexnet"))
    edge = EdgeProfile(alexnet)
    with caplog.at_level(logging.WARNING):
        for inside in (575.0, 1000.0, 1570.0, np.array([580.0, 1500.0])):  # 600 to 1500 MHz, and 5 % at either end
            edge.seconds(Observation(clock_mhz=inside))
        assert not caplog.records
        for outside in (560.0, 3400.0, np.array([1000.0, 3400.0])):
            edge.seconds(Observation(clock_mhz=outside))
        EdgeProfile(alexnet).seconds(Observation(clock_mhz=np.array([[1000.0], [3400.0]])))
    assert [record.getMessage() for record in caplog.records] == [
        f"clock {clock} MHz is outside the range, 600 to 1500 MHz, of profile 'pi4' (Raspberry Pi 4 Model B): "
        "the prediction extrapolates; for another machine: midcut profile model=alexnet, then edge_profile=FILE"
        for clock in (560, 3400)
    ]


def test_modelled_seconds_are_said_to_be(profile_of, tmp_path):
    measured = profile_of({1000.0: (0.003, 0.002), 500.0: (0.006, 0.002)})
    edge = EdgeProfile(everywhere(measured), str(write_profile(measured, tmp_path / "p.json")))
    assert edge.based_on == "profile of board, 500 to 1000 MHz, 1 thread"
    cloud = CloudProfile(everywhere(find_profile("cloud", "cloud", "mnist")))
    assert cloud.based_on == "profile of 2-core virtual machine (modelled), 1 thread"


class TestEdgeProfile(LatencyPredictorSuite):
    def placements(self):
        return everywhere(find_profile("pi4", "edge", "alexnet"))

    def make(self, placements):
        return EdgeProfile(placements)


class TestCloudProfile(TestEdgeProfile):
    def make(self, placements):
        return CloudProfile(placements)
