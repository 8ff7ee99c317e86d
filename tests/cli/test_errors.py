"""Bad configs are refused in one line that says what is wrong and what would be right."""

from __future__ import annotations

import pytest

CASES = {
    "unknown planner": (["planner=algorithm2"], ["no planner is named 'algorithm2'", "did you mean 'algorithm1'?"]),
    "unknown source in a list": (["telemetry=[constant,gps]"], ["no telemetry is named 'gps'", "midcut offers"]),
    "misspelt setting": (["planner.weight=0.5"], ["planner.weight", "there are: prefilter, semantics, w"]),
    "mistyped setting": (["planner.w=fast"], ["w", "fast"]),
    "weight out of range": (["planner.w=1.5"], ["w must be from 0 (fast) to 1 (cheap), got 1.5"]),
    "an unknown enum value": (["planner.semantics=exact"], ["exact", "ratio"]),
    "cut out of range": (["cuts.first_cut=99"], ["first_cut"]),
    "unknown node": (["cuts.keep_on_edge=[features.99]"], ["features.99"]),
    "unknown policy": (["policy=best"], ["policy/best", "there are: default, gao, neurosurgeon, paper"]),
    "two models": (["model=[alexnet,vgg16]"], ["one model", "alexnet, vgg16"]),
    "missing telemetry": (["telemetry.constant.ping_ms=null"], ["ping_ms", "did not give"]),
    "negative price": (["cost.cloud_usd_per_hour=-1"], ["-1"]),
    "an unregistered target": (["planner._target_=os.system"], ["'os.system' is not the target of a registered"]),
    "a setting without a default": (["telemetry=replay"], ["telemetry.replay.path must be given"]),
    "an unresolved interpolation": (["edge_profile=${nope}"], ["'nope' not found"]),
    "two values for one choice": (["planner=algorithm1,weighted_sum"], ["add -m to sweep over them"]),
    "zero bandwidth": (["telemetry.constant.bandwidth_kbps=0"], ["bandwidth_kbps"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_bad_config_is_refused_in_one_line(midcut, name):
    arguments, expected = CASES[name]
    finished = midcut("plan", *arguments)
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith("midcut plan: ")
    for text in expected:
        assert text in finished.stderr


def test_a_missing_folder_of_images_is_refused_in_one_line(midcut):
    finished = midcut("edge", "model=mnist", "input=folder")
    assert finished.returncode == 1
    assert finished.stderr == "midcut edge: input.path must be given: input.path=...\n"


PRESETS = {
    "a float": ("planner:\n  w: high\n", "planner.w: Value 'high'"),
    "an int below": ("cuts:\n  first_cut: soon\n", "cuts.first_cut: Value 'soon'"),
    "a choice": ("cuts:\n  capture: jit\n", "cuts.capture: Invalid value 'jit'"),
    "a list": ("cuts:\n  keep_on_edge: 3\n", "cuts.keep_on_edge: Invalid value"),
    "a section": ("cuts: 3\n", "cuts: "),
    "a bound of a component": ("planner:\n  w: 3.0\n", "planner.w must be from 0"),
    "a bound of a source": ("telemetry:\n  constant:\n    ping_ms: -1\n", "telemetry.constant.ping_ms"),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_wrong_value_in_a_preset_names_its_key(midcut, tmp_path, name):
    text, expected = PRESETS[name]
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text(f"# @package _global_\n{text}")
    finished = midcut("plan", "--config-dir", "conf", "experiment=mine")
    (line,) = finished.stderr.splitlines()
    assert expected in line
