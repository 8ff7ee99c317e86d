"""What is misspelt or misplaced on the command line gets the setting that was meant."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("simulate", "samples=100"), "Could not override 'samples'; did you mean scenario.samples=100?"),
        (("plan", "w=0.3"), "Could not override 'w'; did you mean planner.w=0.3?"),
        (("plan", "planner.W=0.3"), "Could not override 'planner.W'; did you mean planner.w=0.3?"),
        (
            ("plan", "bandwidth=5000"),
            "Could not override 'bandwidth'; did you mean telemetry.constant.bandwidth_kbps=5000?",
        ),
        (("plan", "ping_ms=3"), "Could not override 'ping_ms'; did you mean telemetry.constant.ping_ms=3?"),
        (("edge", "port=80"), "Could not override 'port'; did you mean input.port=80?"),
        (("edge", "input=folder", "port=80"), "Could not override 'port'; did you mean server.port=80?"),
        (("cloud", "workers=2"), "Could not override 'workers'; did you mean cloud.workers=2?"),
        (("plan", "planner=epsilon_constraint", "max_latency_s=1"), "did you mean planner.max_latency_s=1?"),
        (("plan", "model", "vgg16"), "'model vgg16' is no setting; settings are written NAME=VALUE: model=vgg16"),
        (("plan", "vgg16"), "'vgg16' is no setting; settings are written NAME=VALUE: model=vgg16"),
        (("plan", "--model=vgg16"), "--model=vgg16: settings have no dashes in front: model=vgg16"),
    ],
)
def test_the_setting_that_was_meant(midcut, arguments, line):
    finished = midcut(*arguments)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith(f"midcut {arguments[0]}: ")
    assert finished.stderr.rstrip().endswith(line)
    assert len(finished.stderr.splitlines()) == 1


def test_flags_of_hydra_keep_their_values(midcut):
    finished = midcut("plan", "--cfg", "job", "-p", "planner", "model=vgg16")
    assert finished.returncode == 0, finished.stderr
    assert "algorithm1" in finished.stdout.lower()


def test_help_shows_the_settings_of_the_chosen_components(midcut):
    text = midcut("edge", "model=module", "input=folder", "planner=knee", "--help").stdout
    assert "model.module.kwargs=" in text
    assert "input.pattern=" in text
    assert "model.alexnet" not in text
    assert "planner.w=" not in text


def test_a_pipe_gets_whole_names(midcut, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    listed = midcut("plugins").stdout
    assert "epsilon_constraint" in listed
    assert "largest weighted sum" in listed or "weighted sum" in listed
    assert all(line.split()[0] for line in listed.splitlines() if line.strip())
    rows = [line for line in listed.splitlines() if line.startswith("planner")]
    assert len(rows) >= 4
    assert "…" not in midcut("plan", "model=vgg16").stdout


def test_a_sweep_ends_with_a_table(midcut, tmp_path):
    finished = midcut("plan", "-m", "planner.w=0,1,7", "hydra.sweep.dir=sweep")
    assert finished.returncode == 1
    lines = [line.split() for line in finished.stdout.splitlines()]
    head = next(index for index, words in enumerate(lines) if words[:2] == ["job", "planner.w"])
    assert [words[:2] for words in lines[head + 1 : head + 4]] == [["0", "0"], ["1", "1"], ["2", "7"]]
    assert "w must be from 0 (fast) to 1 (cheap), got 7" in " ".join(lines[head + 3])
    first = json.loads((tmp_path / "sweep" / "0" / "plan.json").read_text())
    assert f"{first['latency_s'] * 1e3:.2f}" in lines[head + 1]
