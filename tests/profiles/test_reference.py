"""The shipped profiles belong to the graphs that are captured, and are what their tool makes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from midcut.profiles import find_profile

TOOL = Path(__file__).parents[2] / "tools" / "make" / "reference_profiles.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("reference_profiles", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("model", "nodes", "layers"),
    [("mnist", 13, 13), ("alexnet", 22, 21), pytest.param("vgg16", 40, 39, marks=pytest.mark.slow)],
)
def test_same_graph_and_same_seconds(tool, model, nodes, layers):
    loaded, table = tool._load_tables([model])[model]
    for device, role, constants in (("pi4", "edge", tool.PI4), ("cloud", "cloud", tool.CLOUD)):
        shipped = find_profile(device, role, model)
        assert (len(shipped.table.nodes), shipped.table.layers) == (nodes, layers)
        assert shipped.table.nodes == table.nodes
        assert shipped.table.cuts == table.cuts
        assert shipped.table.graph == table.graph, "a predictor would refuse the shipped profile"
        fastest = shipped.runs[-1]
        again = [core + memory for core, memory in tool.node_seconds(table, loaded.module, constants)]
        assert fastest.node_s == pytest.approx(again, rel=1e-12)


def test_alexnet_by_hand():
    # First convolution on the Pi at 1500 MHz: 64 x 55 x 55 outputs x 363 multiply-adds x 2 = 140,553,600 operations,
    # twice for its kernel of 11: 0.2811072 GFLOP * 0.05404549 s + 80 us; and 774,400 bytes * 0.004446947 s/MB.
    # Second dense layer: (4096 * 4096 + 4096) * 4 bytes = 67.125 MB * 0.56693981 s/GB + 80 us.
    profile = find_profile("pi4", "edge", "alexnet")
    node_s = dict(zip((node.name for node in profile.table.nodes), profile.runs[-1].node_s, strict=True))
    assert node_s["features_0"] == pytest.approx(0.2811072 * 0.0540454940 + 80e-6 + 0.7744 * 0.00444694677, rel=1e-8)
    assert node_s["classifier_4"] == pytest.approx(0.067125248 * 0.56693981 + 80e-6, rel=1e-7)
    assert node_s["flatten"] == 80e-6
    # At 600 MHz only what follows the clock is 2.5 times slower.
    slow = dict(zip((node.name for node in profile.table.nodes), profile.runs[0].node_s, strict=True))
    assert slow["classifier_4"] - node_s["classifier_4"] == pytest.approx(80e-6 * 1.5, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "layers", "edge_s", "cloud_s"),
    [("alexnet", 21, 0.145, 0.145 / 5.3), ("vgg16", 21, 2.17, 2.17 / 8.4), ("mnist", 13, 0.003, 0.003 / 7.2)],
)
def test_the_figures_profiles(model, layers, edge_s, cloud_s):
    edge, cloud = find_profile("paper_edge", "edge", model), find_profile("paper_cloud", "cloud", model)
    assert len(edge.table.nodes) == edge.table.layers == layers
    assert edge.table == cloud.table
    assert cloud.runs[0].whole_s == pytest.approx(cloud_s, rel=1e-12)
    for run in edge.runs:
        assert run.whole_s == pytest.approx(edge_s * 1500 / run.clock_mhz, rel=1e-12)
    # A layer's share is that of its nodes in the profile it is made of; VGG16's second is conv1_2 with its ReLU.
    pi4 = find_profile("pi4", "edge", model)
    nodes = {node.name: second for node, second in zip(pi4.table.nodes, pi4.runs[-1].node_s, strict=True)}
    parts = {"alexnet": ["features_1"], "vgg16": ["features_2", "features_3"], "mnist": ["_1"]}[model]
    share = sum(nodes[part] for part in parts) / sum(nodes.values())
    assert edge.runs[-1].node_s[1] == pytest.approx(share * edge_s, rel=1e-9)
