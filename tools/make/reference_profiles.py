#!/usr/bin/env python3
"""Make the profiles and the fit that come with midcut: a Raspberry Pi 4 edge and a 2-core VM cloud.

They are modelled, not measured: seconds per node from the node's operations and bytes, by constants
per device. The constants for convolutions and fully connected layers were calibrated elsewhere, on
public measurements of the devices called `raspi4` and `vm2core`; only the constants are known here,
so the measurements cannot be cited. The rates for pooling and element-wise operations, and
the least time of a node, are round numbers. Measure your own machine with `midcut profile`.

From them it makes `paper_edge` and `paper_cloud`, which the experiments figure5, figure6, figure7, mnist and
vgg16_owned use: the layers as the paper may have counted them, with the modelled shares of the seconds, and a sum
chosen so that the published numbers come out. Nothing says that the authors' machines were like that: many other
settings come as close.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from msgspec.structs import replace

from midcut import profiles
from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.profiles import Machine, Profile, Role, Run, write_fit, write_layer_fit, write_profile
from midcut.profiles.fitting import fit
from midcut.profiles.layer_fitting import fit_layers
from midcut.types import CutTable, Node

if TYPE_CHECKING:
    from pathlib import Path

    from midcut.types import LoadedModel

MODELS = ("alexnet", "vgg16", "mnist")
# The shipped layer fits are made from modelled profiles of these.
LAYER_MODELS = (
    "alexnet", "vgg16", "resnet18", "mobilenet_v2", "mobilenet_v3_large", "shufflenet_v2_x1_0", "squeezenet1_1",
    "densenet121", "googlenet", "efficientnet_b0",
)  # fmt: skip
# Seconds of the whole network on the edge at its full clock, and how many times faster the cloud is.
PAPER = {"alexnet": (0.145, 5.3), "vgg16": (2.17, 8.4), "mnist": (0.003, 7.2)}
PI_CLOCKS_MHZ = range(600, 1501, 100)
FULL_MHZ = 1500
FIT_SEED = 0


@dataclass(frozen=True)
class Device:
    """Seconds per unit of work, one thread.

    Attributes:
        conv_s_per_gflop: convolutions, per 10**9 operations (a multiply-add is two).
        conv_s_per_mb: convolutions, per 10**6 bytes written.
        linear_s_per_gb: fully connected layers, per 10**9 bytes of parameters.
        pool_s_per_gb: pooling, per 10**9 bytes read and written.
        unary_s_per_gb: element-wise operations, per 10**9 bytes written.
        node_s: overhead of every node.
    """

    machine: Machine
    conv_s_per_gflop: float
    conv_s_per_mb: float
    linear_s_per_gb: float
    pool_s_per_gb: float
    unary_s_per_gb: float
    node_s: float


PI4 = Device(
    machine=Machine(name="Raspberry Pi 4 Model B", processor="Cortex-A72", cores=4, system="modelled"),
    conv_s_per_gflop=0.05404549396327711,
    conv_s_per_mb=0.004446946769110204,
    linear_s_per_gb=0.5669398127898281,
    pool_s_per_gb=0.9,
    unary_s_per_gb=0.66,
    node_s=80e-6,
)
CLOUD = Device(
    machine=Machine(name="2-core virtual machine", processor="unknown", cores=2, system="modelled"),
    conv_s_per_gflop=0.005279319576218322,
    conv_s_per_mb=0.0010138628385963446,
    linear_s_per_gb=0.10326479914131899,
    pool_s_per_gb=0.3,
    unary_s_per_gb=0.2,
    node_s=16e-6,
)
LARGE_KERNEL, LARGE_KERNEL_FACTOR = 11, 2.0
"""AlexNet's first convolution takes about twice what its operations say."""
UNARY = ("ReLU", "relu", "relu_")
# VGG16 has 21 layers: each ends with an activation, a pooling layer or the network. A layer of the others is a module.
ENDS_LAYER = {"vgg16": ("ReLU", "MaxPool2d")}


def node_seconds(table: CutTable, module: torch.nn.Module, device: Device) -> list[tuple[float, float]]:
    """For every node the seconds that scale with the clock, and those that are limited by memory."""
    seconds = []
    for index, node in enumerate(table.nodes):
        read, written = (table.cuts[cut].payload_bytes for cut in (index, index + 1))
        layer = module.get_submodule(node.module) if node.module else None
        core, memory = device.node_s, 0.0
        if isinstance(layer, torch.nn.Conv2d):
            factor = LARGE_KERNEL_FACTOR if max(layer.kernel_size) >= LARGE_KERNEL else 1.0
            core += (
                device.conv_s_per_gflop * factor * _count_operations(layer, table.cuts[index + 1].values[0].shape) / 1e9
            )
            memory = device.conv_s_per_mb * written / 1e6
        elif isinstance(layer, torch.nn.Linear):
            memory = device.linear_s_per_gb * sum(p.numel() * p.element_size() for p in layer.parameters()) / 1e9
        elif "pool" in node.op.lower():
            core += device.pool_s_per_gb * (read + written) / 1e9
        elif node.op in UNARY:
            memory = device.unary_s_per_gb * written / 1e9
        seconds.append((core, memory))
    return seconds


def _count_operations(layer: torch.nn.Conv2d, shape: tuple[int, ...]) -> float:
    return 2.0 * layer.weight[0].numel() * shape[1] * shape[2] * shape[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), help=f"default: {' '.join(MODELS)}")
    names = parser.parse_args().models
    folder = profiles.SHIPPED
    edges, papers = [], []
    for name, (model, table) in _load_tables(names).items():
        edge = node_seconds(table, model.module, PI4)
        edges.append(_device_profile(table, PI4, Role.edge, [_run_at(clock, edge) for clock in PI_CLOCKS_MHZ]))
        print(write_profile(edges[-1], folder / "profiles" / "pi4" / f"{name}.json"))
        tail = _run_at(None, node_seconds(table, model.module, CLOUD))
        print(
            write_profile(
                _device_profile(table, CLOUD, Role.cloud, [tail]), folder / "profiles" / "cloud" / f"{name}.json"
            )
        )
        papers.append(_paper_profiles(edges[-1], tail))
        for device, profile in papers[-1].items():
            print(write_profile(profile, folder / "profiles" / device / f"{name}.json"))
    if tuple(names) == MODELS:
        print(write_fit(fit(edges, FIT_SEED), folder / "fits" / "pi4.json"))
        papers_edges = [paper["paper_edge"] for paper in papers]
        print(write_fit(fit(papers_edges, FIT_SEED), folder / "fits" / "paper_edge.json"))
        for path in _write_layer_fits():
            print(path)


def _write_layer_fits() -> list[Path]:
    tables = _load_tables(list(LAYER_MODELS))
    edges, clouds = [], []
    for model, table in tables.values():
        edge = node_seconds(table, model.module, PI4)
        edges.append(_device_profile(table, PI4, Role.edge, [_run_at(clock, edge) for clock in PI_CLOCKS_MHZ]))
        tail = _run_at(None, node_seconds(table, model.module, CLOUD))
        clouds.append(_device_profile(table, CLOUD, Role.cloud, [tail]))
    folder = profiles.SHIPPED / "layer_fits"
    return [
        write_layer_fit(fit_layers(made), folder / f"{name}.json") for name, made in (("pi4", edges), ("cloud", clouds))
    ]


def _load_tables(names: list[str]) -> dict[str, tuple[LoadedModel, CutTable]]:
    config = compose("profile", [f"model=[{','.join(names)}]"])
    loaded = {name: model.load() for name, model in build_each(Kind.MODEL, config.model).items()}
    return {name: (model, partition(model, CutSettings()).table) for name, model in loaded.items()}


def _run_at(clock_mhz: int | None, seconds: list[tuple[float, float]]) -> Run:
    slowdown = FULL_MHZ / clock_mhz if clock_mhz else 1.0
    node_s = tuple(core * slowdown + memory for core, memory in seconds)
    return Run(
        clock_mhz=clock_mhz,
        node_s=node_s,
        node_spread_s=(0.0,) * len(node_s),
        whole_s=sum(node_s),
        whole_spread_s=0.0,
        repeats=0,
    )


def _paper_profiles(edge: Profile, tail: Run) -> dict[str, Profile]:
    """The profiles of the paper's figures: layers as nodes, seconds in exact inverse proportion to the clock."""
    table, whole_s, faster = edge.table, *PAPER[edge.model]
    ends_layer = ENDS_LAYER.get(edge.model)
    ends = [
        cut.index
        for cut in table.cuts[1:]
        if cut.index == table.last
        or (cut.ends_module if ends_layer is None else table.nodes[cut.index - 1].op in ends_layer)
    ]
    layers = CutTable(
        model=table.model,
        capture=table.capture,
        # What a layer of several nodes computes is not that of its last one.
        nodes=tuple(Node(node.name, node.op, node.module) for node in (table.nodes[end - 1] for end in ends)),
        cuts=tuple(
            replace(table.cuts[end], index=layer, layer=layer, ends_module=layer > 0)
            for layer, end in enumerate([0, *ends])
        ),
        graph=f"{table.graph}-layers",
        weights="",
    )
    full = max(edge.runs, key=lambda run: run.clock_mhz or 0.0)
    runs = [_layer_run(clock, full, ends, whole_s * FULL_MHZ / clock) for clock in PI_CLOCKS_MHZ]
    return {
        "paper_edge": _paper_profile(layers, Role.edge, runs, "edge server of the paper's figures"),
        "paper_cloud": _paper_profile(
            layers, Role.cloud, [_layer_run(None, tail, ends, whole_s / faster)], "their cloud"
        ),
    }


def _layer_run(clock_mhz: int | None, nodes: Run, ends: list[int], whole_s: float) -> Run:
    shares = [sum(nodes.node_s[start:end]) / sum(nodes.node_s) for start, end in zip([0, *ends], ends, strict=False)]
    seconds = tuple(share * whole_s for share in shares)
    return Run(clock_mhz, seconds, (0.0,) * len(seconds), whole_s=sum(seconds), whole_spread_s=0.0, repeats=0)


def _paper_profile(table: CutTable, role: Role, runs: list[Run], name: str) -> Profile:
    return Profile(
        model=table.model,
        role=role,
        table=table,
        machine=Machine(name=name, processor="unknown", cores=4, system="fitted to published numbers"),
        versions={},
        threads=1,
        batch=1,
        modelled=True,
        origin=(
            "fitted, not measured: layers and shares of the profile modelled for this model, their sum chosen so that "
            "the numbers of Luger, Aral, Brandic 2023, section 4.2, come out; one of many settings that do"
        ),
        runs=tuple(runs),
    )


def _device_profile(table: CutTable, device: Device, role: Role, runs: list[Run]) -> Profile:
    # The seconds hold for any weights, and for any patch release of the tracer.
    unweighted = type(table)(table.model, table.capture, table.nodes, table.cuts, table.graph, weights="")
    return Profile(
        model=table.model,
        role=role,
        table=unweighted,
        machine=device.machine,
        versions={},
        threads=1,
        batch=1,
        modelled=True,
        origin=(
            "modelled, not measured: operations and bytes per node times constants per device, of which those for "
            "convolutions and fully connected layers were calibrated on public measurements (devices raspi4 and "
            "vm2core; the publications are not known here); see tools/make/reference_profiles.py"
        ),
        runs=tuple(runs),
    )


if __name__ == "__main__":
    main()
