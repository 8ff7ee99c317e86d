"""`midcut.plan` and `midcut.simulate` beside the verbs of these names."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import midcut
from midcut.errors import MidcutError


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
