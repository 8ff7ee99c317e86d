"""Seconds of models that were never profiled, from what each node computes.

`measured_layers.json` holds what `midcut profile repeats=9` measured of 14 networks, one thread of a server's CPU.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from midcut.errors import ConfigError, FileError
from midcut.graph import partition
from midcut.profiles import (
    Machine,
    Profile,
    Run,
    find_layer_fit,
    find_profile,
    read_layer_fit,
    write_layer_fit,
)
from midcut.profiles.layer_fitting import fit_layers, relative_nnls
from midcut.terms import LayerFeatures, Role
from midcut.types import Cut, CutTable, Node, ValueSpec

MEASURED = json.loads((Path(__file__).parent / "measured_layers.json").read_text())
MACHINE = Machine(name="a cloud machine", processor="x", cores=2, system="Linux")


def profile(model, nodes, node_s, payload_bytes=None, refused=(), whole_s=None, clocks=(None,)):
    sizes = [4] * (len(nodes) + 1) if payload_bytes is None else payload_bytes
    cuts = tuple(
        Cut(k, 0, ends_module=False, values=(ValueSpec("x", "uint8", (size,)),), refused="no" if k in refused else "")
        for k, size in enumerate(sizes)
    )
    runs = tuple(
        Run(clock, tuple(node_s if np.ndim(node_s) == 1 else node_s[i]), (0.0,) * len(nodes),
            float(np.sum(node_s if np.ndim(node_s) == 1 else node_s[i])) if whole_s is None else whole_s, 0.0, 1)
        for i, clock in enumerate(clocks)
    )  # fmt: skip
    return Profile(
        model=model, role=Role.edge, table=CutTable(model, "fx", tuple(nodes), cuts, "g", ""), machine=MACHINE,
        versions={}, threads=1, batch=1, modelled=False, origin="", runs=runs,
    )  # fmt: skip


def linear(macs, name="l"):
    return Node(name, "Linear", name, kind="linear", macs=macs)


@pytest.fixture(scope="module")
def measured():
    names = ("kind", "macs", "in_bytes", "out_bytes", "param_bytes", "kernel", "stride", "groups")
    profiles = []
    for item in MEASURED:
        nodes = []
        for number, row in enumerate(item["nodes"]):
            values = dict(zip(names, row, strict=True))
            values |= {"kernel": tuple(values["kernel"]), "stride": tuple(values["stride"])}
            nodes.append(Node(f"n{number}", "op", **values))
        profiles.append(
            profile(item["model"], nodes, item["node_s"], item["payload_bytes"], item["refused"], item["whole_s"])
        )
    return profiles


def test_a_linear_layer_between_two_measured_ones():
    two = [profile("one", [linear(1_000_000)], [1e-3]), profile("two", [linear(3_000_000)], [2e-3])]
    core, memory = fit_layers(two).seconds([linear(2_000_000)])
    assert core[0] + memory[0] == pytest.approx(1.5e-3, rel=1e-9)


def leave_one_out(profiles, features):
    """Error of the whole network's seconds, and regrets of the cuts picked with it, per network left out."""
    errors, regrets = [], []
    for left_out in profiles:
        fit = fit_layers([each for each in profiles if each is not left_out], features)
        predicted = np.sum(fit.seconds(left_out.table.nodes), axis=0)
        run = left_out.runs[0]
        true = np.array(run.node_s) * (run.whole_s / np.sum(run.node_s))
        errors.append(abs(predicted.sum() / run.whole_s - 1.0))
        regrets.append(np.mean(list(cut_regrets(true, predicted, left_out.table))))
    return np.array(errors), np.array(regrets)


def cut_regrets(true_s, predicted_s, table):
    """Over 13 bandwidths from 0.5 to 500 Mbit/s, and edges 2 to 32 times slower than the cloud."""
    sizes = np.array([cut.payload_bytes for cut in table.cuts], dtype=float)
    sizes[-1] = 0.0
    refused = np.array([bool(cut.refused) for cut in table.cuts])
    for bandwidth in np.geomspace(0.5e6, 500e6, 13):
        for slower in (2, 4, 8, 16, 32):
            true, predicted = (
                np.where(refused, np.inf, slower * before + before[-1] - before + sizes * 8 / bandwidth)
                for before in (np.concatenate([[0.0], np.cumsum(seconds)]) for seconds in (true_s, predicted_s))
            )
            yield true[predicted.argmin()] / true.min() - 1.0


def test_leave_one_model_out(measured):
    assert len(measured) >= 10
    errors, regrets = leave_one_out(measured, LayerFeatures.macs)
    assert np.median(errors) <= 0.15
    assert regrets.mean() <= 0.01
    published_errors, published_regrets = leave_one_out(measured, LayerFeatures.kang)
    assert np.median(errors) < np.median(published_errors)
    assert regrets.mean() < published_regrets.mean()


def test_every_kind_of_every_measured_network_has_a_name(measured):
    assert {node.kind for each in measured for node in each.table.nodes} <= {
        "activation", "cat", "conv", "copy", "depthwise", "elementwise", "linear", "norm", "pointwise", "pool",
        "reduce", "view",
    }  # fmt: skip


def test_views_take_no_time_and_an_unknown_kind_takes_what_light_ones_do(measured):
    fit = fit_layers(measured)
    kinds = ("view", "unheard_of")
    nodes = [Node(kind, "op", kind=kind, in_bytes=4_000_000, out_bytes=4_000_000) for kind in kinds]
    core, memory = fit.seconds(nodes)
    assert core[0] + memory[0] == 0.0
    assert 1e-5 < core[1] + memory[1] < 1e-1


def test_what_follows_the_clock_is_told_from_what_does_not():
    nodes = [linear(macs, f"l{macs}") for macs in (1_000_000, 2_000_000, 5_000_000)]
    nodes = [msgspec.structs.replace(node, param_bytes=7 * (i + 1) ** 2) for i, node in enumerate(nodes)]
    node_s = [[node.macs * 1e-9 * (1500 / clock) + node.param_bytes * 1e-4 for node in nodes] for clock in (750, 1500)]
    made = [profile(name, nodes, node_s, clocks=(750.0, 1500.0)) for name in ("one", "two")]
    core, memory = fit_layers(made).seconds([linear(3_000_000), Node("m", "op", kind="linear", param_bytes=10)])
    assert core == pytest.approx([3e-3, 0.0], abs=1e-9)
    assert memory == pytest.approx([0.0, 1e-3], abs=1e-9)


def test_relative_nnls_against_a_solver_that_is_not_ours():
    from scipy.optimize import lsq_linear

    rng = np.random.default_rng(0)
    columns = rng.random((40, 4)) * [1e9, 1e6, 1e3, 1.0]
    seconds = columns @ [1e-12, 0.0, 1e-6, 1e-4] * rng.uniform(0.9, 1.1, 40)
    relative = columns / seconds[:, None]
    expected = lsq_linear(relative / relative.max(0), np.ones(40), (0, np.inf), tol=1e-14).x / relative.max(0)
    assert relative_nnls(columns, seconds) == pytest.approx(expected, rel=1e-4, abs=1e-16)


def test_a_fit_survives_its_file(measured, tmp_path):
    fit = fit_layers(measured[:4])
    path = write_layer_fit(fit, tmp_path / "layers.json")
    assert read_layer_fit(path) == fit
    path.write_text(path.read_text().replace('"other"', '"odd"'))
    with pytest.raises(FileError, match=r"layers.json.*\$.kinds has no 'other'"):
        read_layer_fit(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made[:1], "needs profiles of two or more models, got 1"),
        (lambda made: [made[0], msgspec.structs.replace(made[1], role=Role.cloud)], "takes profiles of one machine"),
        (lambda made: [made[0], msgspec.structs.replace(made[1], batch=4)], "4 images at once"),
        (lambda made: [made[0], profile("old", [Node("x", "Linear")], [1.0])], "has no node features"),
    ],
)
def test_profiles_that_cannot_be_fitted_get_one_line(measured, change, message):
    with pytest.raises((ConfigError, FileError), match=message):
        fit_layers(change(measured[:2]))


def test_the_shipped_fits_predict_the_shipped_profiles():
    for device, role in (("pi4", "edge"), ("cloud", "cloud")):
        for model in ("alexnet", "vgg16"):
            shipped = find_profile(device, role, model)
            core, memory = find_layer_fit(device).seconds(shipped.table.nodes)
            assert (core + memory).sum() == pytest.approx(shipped.runs[-1].whole_s, rel=0.15)


def test_features_of_a_network_by_hand(tiny):
    by_kind = {node.kind: node for node in partition_of_known_network().table.nodes}
    conv, depthwise, pointwise = by_kind["conv"], by_kind["depthwise"], by_kind["pointwise"]
    assert (conv.macs, conv.kernel, conv.stride, conv.groups) == (8 * 16 * 16 * 3 * 9, (3, 3), (2, 2), 1)
    assert (conv.in_bytes, conv.out_bytes, conv.param_bytes) == (3 * 32 * 32 * 4, 8 * 16 * 16 * 4, (8 * 27 + 8) * 4)
    assert (depthwise.macs, depthwise.groups) == (8 * 16 * 16 * 9, 8)
    assert pointwise.macs == 4 * 8 * 16 * 16
    assert by_kind["linear"].macs == 4 * 16 * 16 * 10
    assert by_kind["view"].op in ("flatten", "chunk", "getitem")
    assert all(node.kind for node in tiny.table.nodes)


def partition_of_known_network():
    import torch
    from torch import nn

    from midcut.config.settings import CutSettings
    from midcut.types import LoadedModel

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.pointwise = nn.Conv2d(8, 4, 1)
            self.linear = nn.Linear(4 * 16 * 16, 10)

        def forward(self, x):
            x = self.pointwise(torch.relu(self.depthwise(self.conv(x))))
            first, second = x.chunk(2, 1)
            return self.linear(torch.cat([first, second], 1).flatten(1))

    torch.manual_seed(0)
    module = Net().eval()
    return partition(LoadedModel("net", module, (torch.rand(1, 3, 32, 32),), lambda image: image), CutSettings())
