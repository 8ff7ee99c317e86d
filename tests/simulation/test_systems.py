"""Whole systems compared: each picks as `midcut plan` would, and all are judged by one truth."""

from __future__ import annotations

import json

import pytest

from midcut.results.simulation import read_simulation


@pytest.fixture
def midcut(tmp_path, monkeypatch, capsys):
    import sys

    from midcut.cli import main

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # `main` sets it; it must not reach other tests' processes
        monkeypatch.setattr(sys, "argv", ["midcut", *arguments])
        try:
            main()
        except SystemExit as end:
            return str(end.code)
        return ""

    yield run
    capsys.readouterr()


def series(path):
    return {each.strategy: each for each in read_simulation(path).series}


def test_the_systems_of_table_1(midcut, tmp_path):
    assert midcut("simulate", "experiment=table1", "scenario.samples=60", "hydra.run.dir=run") == ""
    found = series(tmp_path / "run/simulation.json")
    names = {
        "paper",
        "midcut_fast",
        "midcut_half",
        "midcut_cheap",
        "kang_latency",
        "kang_energy",
        "lin",
        "gao",
        "dads",
        "ans",
    }
    assert names <= set(found)
    assert all({"energy_j", "period_s"} <= set(found[name].objectives) for name in names)
    # The default policy predicts what is taken as true, so that its ends are the optima.
    assert found["midcut_fast"].latency_s == found["latency_optimal"].latency_s
    assert found["midcut_cheap"].cost_usd == found["cost_optimal"].cost_usd
    assert found["kang_energy"].objectives["energy_j"] == min(found[name].objectives["energy_j"] for name in names)
    assert found["dads"].objectives["period_s"] <= found["midcut_fast"].objectives["period_s"]
    assert found["lin"].unmet == 0.0


def test_a_system_picks_what_midcut_plan_picks(midcut, tmp_path):
    words = ["policy=paper", "planner=weighted_sum", "planner.w=0.3"]
    fields = {"clock_mhz": 900.0, "bandwidth_kbps": 6000.0, "ping_ms": 30.0}
    scenario = [f"scenario.{name}={{kind: constant, value: {value}}}" for name, value in fields.items()]
    system = f"systems={{one: [{','.join(map(repr, words))}]}}"
    assert midcut("simulate", system, "scenario.samples=2", *scenario, "hydra.run.dir=run") == ""
    telemetry = [f"telemetry.constant.{name}={value}" for name, value in fields.items()]
    assert midcut("plan", *words, *telemetry, "hydra.run.dir=plan") == ""
    cut = json.loads((tmp_path / "plan/plan.json").read_text())["cut"]
    assert series(tmp_path / "run/simulation.json")["one"].picks == (cut, cut)


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ("{x: ['planner=nothing']}", "systems.x: "),
        ("{x: ['policy=neurosurgeon', 'aim.second=joules']}", "systems.x: aim.second=joules"),
        ("{oracle: ['planner=knee']}", "systems.oracle: that strategy is evaluated in any case"),
        ("{algorithm1: ['planner=knee']}", "systems.algorithm1: a planner of strategy= has that name"),
    ],
)
def test_a_system_that_cannot_be_gets_one_line(midcut, system, message):
    assert message in midcut("simulate", f"systems={system}", "scenario.samples=2")
