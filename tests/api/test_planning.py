"""`midcut.plan` and `midcut.simulate` beside the verbs of these names."""

from __future__ import annotations

import json
import subprocess
import sys

import hydra
import pytest

import midcut
from midcut.api.composing import compose
from midcut.api.planning import plan_once
from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.settings import CutSettings, Order
from midcut.errors import MidcutError
from midcut.graph import partition


def _verb(tmp_path, *words):
    subprocess.run(
        [sys.executable, "-m", "midcut.cli", *words, f"hydra.run.dir={tmp_path}"], check=True, capture_output=True
    )


def test_plan_is_the_verb_s(tmp_path):
    words = ("model=vgg16", "planner.w=0.3", "telemetry.constant.bandwidth_kbps=5000")
    plan = midcut.plan(*words)
    _verb(tmp_path, "plan", *words)
    written = json.loads((tmp_path / "plan.json").read_text())
    assert (plan.cut, plan.codec) == (written["cut"], written["codec"])
    assert [row["latency_s"] for row in plan.rows] == [row["latency_s"] for row in written["rows"]]
    assert plan.based_on == written["based_on"]


def test_a_program_that_is_a_hydra_application_itself_plans_and_goes_on(tmp_path):
    (tmp_path / "config.yaml").write_text("x: 1\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert midcut.plan("model=vgg16", "planner.w=0").rows
        assert hydra.compose("config").x == 1


NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.thin = torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.Conv2d(3, 1, 3, stride=4, padding=1)
        self.down, self.up = torch.nn.Conv2d(32, 1, 3, stride=4, padding=1), torch.nn.Conv2d(1, 64, 1)

    def forward(self, x):
        wide, thin = self.wide(x), torch.relu(self.thin(x))
        return torch.cat([self.up(thin), self.down(wide)], 1).mean((2, 3))
"""


@pytest.mark.parametrize("profile", ["pi4", "auto"])
def test_a_plan_by_a_profile_made_for_it_has_the_cuts_that_the_settings_ask_for(profile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "net_to_plan.py").write_text(NET)
    words = ("model=module", "model.module.path=net_to_plan.Net", "model.module.input_shapes=[[3,32,32]]")
    words += (f"edge_profile={profile}", "cuts.order=narrow", f"cuts.cache={tmp_path / 'captured'}")
    config, _ = compose("plan", words)
    table = plan_once(config, tmp_path).table
    model = build_each(Kind.MODEL, config.model)["module"].load()
    narrow, captured = (partition(model, CutSettings(order=order)).table for order in (Order.narrow, Order.captured))
    assert table.nodes == narrow.nodes != captured.nodes
    assert list((tmp_path / "captured").glob("*.json"))


def test_cloud_and_relay_have_estimates_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net_to_plan.py").write_text(NET)
    words = ("model=module", "model.module.path=net_to_plan.Net", "model.module.input_shapes=[[3,32,32]]", "tiers=3")
    words += ("telemetry.constant.others={second_bandwidth_kbps: 50000, second_ping_ms: 5}",)
    words += ("edge_profile=pi4", "cloud_profile=cloud")
    based_on = midcut.plan(*words, "relay_profile=pi4").based_on
    assert "Raspberry Pi 4" in based_on["relay"]
    assert based_on["cloud"] == midcut.plan(*words, "relay_profile=cloud").based_on["cloud"]


def test_simulate_is_the_verb_s(tmp_path):
    words = ("model=mnist", "w=[0,1]", "scenario.samples=50", "strategy=[knee,weighted_sum]")
    shares = []
    result = midcut.simulate(*words, progress=shares.append)
    _verb(tmp_path, "simulate", *words)
    written = json.loads((tmp_path / "simulation.json").read_text())
    assert [row["latency_s"] for row in result.rows] == [series["latency_s"] for series in written["series"]]
    assert result.simulation.policy == written["policy"]
    assert shares[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: midcut.plan("model=nothing_like_it"), "plan: .*nothing_like_it"),
        (lambda: midcut.plan("planner.w=7"), "planner.w"),
        (lambda: midcut.plan(("model", "vgg16")), "an override is a string such as 'model=vgg16'"),
        (lambda: midcut.simulate("w=7"), "w must be from 0"),
        (lambda: midcut.simulate("users=3"), "midcut simulate users=N"),
    ],
)
def test_an_override_that_is_not_possible_is_one_line(call, text):
    with pytest.raises(MidcutError, match=text) as caught:
        call()
    assert "\n" not in str(caught.value)
