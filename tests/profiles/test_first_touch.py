"""Models that nobody profiled: estimates, this machine measured by itself, and the cache of both."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from midcut.config.composition import compose
from midcut.profiles import Role, find_profile, read_profile
from midcut.profiles import own as own_module
from midcut.profiles.estimating import estimate
from midcut.profiles.filling import fill_profiles
from midcut.profiles.own import own_profile


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIDCUT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("model", ["alexnet", "vgg16"])
@pytest.mark.parametrize(("device", "role"), [("pi4", Role.edge), ("cloud", Role.cloud)])
def test_an_estimate_is_near_the_modelled_device(model, device, role):
    shipped = find_profile(device, role, model)
    estimated = estimate(shipped.table, device, role)
    assert estimated.modelled
    assert estimated.machine.name == shipped.machine.name
    assert estimated.runs[-1].whole_s == pytest.approx(shipped.runs[-1].whole_s, rel=0.5)
    assert estimated.runs[-1].clock_mhz == shipped.runs[-1].clock_mhz


@pytest.mark.usefixtures("single_threaded")
def test_a_machine_is_measured_once_and_again_for_other_threads(tiny, tiny_model, monkeypatch):
    first = own_profile(tiny, tiny_model.example, Role.edge, "native", 1)
    profile = read_profile(first)
    assert (profile.modelled, profile.threads, profile.role) == (False, 1, Role.edge)
    assert sum(profile.runs[0].node_s) > 0.0
    measured = []
    monkeypatch.setattr(own_module, "measure", lambda *_, **__: measured.append(1) or profile.runs[0])
    assert own_profile(tiny, tiny_model.example, Role.edge, "native", 1) == first
    assert not measured
    assert own_profile(tiny, tiny_model.example, Role.edge, "native", 2) != first
    assert own_profile(tiny, tiny_model.example, Role.edge, "another executor", 1) != first
    assert len(measured) == 2


@pytest.mark.usefixtures("single_threaded")
def test_a_damaged_cache_is_measured_anew_and_an_unwritable_one_costs_only_itself(
    tiny, tiny_model, monkeypatch, tmp_path
):
    path = own_profile(tiny, tiny_model.example, Role.edge, "native", 1)
    path.write_text("{broken")
    assert read_profile(own_profile(tiny, tiny_model.example, Role.edge, "native", 1)).model == "tiny"
    (tmp_path / "file").touch()
    monkeypatch.setenv("MIDCUT_CACHE", str(tmp_path / "file"))
    assert read_profile(own_profile(tiny, tiny_model.example, Role.edge, "native", 1)).model == "tiny"


def test_profiles_that_exist_need_no_model(tmp_path):
    cfg = compose("plan", ["model=vgg16"])
    assert fill_profiles(cfg, "plan", tmp_path) == "vgg16"
    assert (cfg.edge_profile, cfg.cloud_profile) == ("pi4", "cloud")
    assert not list(tmp_path.iterdir())


def test_any_model_is_planned_and_simulated_in_one_command(tmp_path):
    (tmp_path / "my_net.py").write_text(
        "import torch\n"
        "def net():\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(),"
        " torch.nn.Linear(288, 4))\n"
    )
    mine = ("model=module", "model.module.path=my_net.net", "model.module.input_shapes=[[3,8,8]]")
    for verb, extra in (("plan", ()), ("simulate", ("scenario.samples=3",))):
        command = [sys.executable, "-m", "midcut.cli", verb, *mine, *extra, "hydra.run.dir=run"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "an estimate from operations and bytes" in done.stderr
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert "Raspberry Pi 4 Model B (estimated from operations and bytes)" in plan["based_on"]["edge"]
    assert [row["cut"] for row in plan["rows"]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("executor", ["native", "onnxruntime"])
def test_auto_plans_with_this_machine_in_the_runtime_that_an_edge_would_take(tmp_path, executor):
    if executor != "native":
        pytest.importorskip(executor)
    before = torch.get_num_threads()
    try:
        cfg = compose("plan", ["model=mnist", "edge_profile=auto", "cloud_profile=auto", f"executor={executor}"])
        fill_profiles(cfg, "plan", tmp_path, "http://cloud")
    finally:
        torch.set_num_threads(before)
    assert not read_profile(cfg.edge_profile).modelled
    assert read_profile(cfg.edge_profile).executor.split(" ")[0] == ("" if executor == "native" else executor)
    assert read_profile(cfg.cloud_profile).modelled
