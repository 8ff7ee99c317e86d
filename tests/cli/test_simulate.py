"""`midcut simulate` as users run it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys

import pytest


def result(tmp_path, pattern="outputs/simulate/*"):
    (path,) = tmp_path.glob(f"{pattern}/simulation.json")
    return json.loads(path.read_text())


def test_the_same_command_gives_the_same_bytes(midcut, tmp_path):
    arguments = ("simulate", "w=[0,0.5,1]", "population=5", "dwell=[2]", "keep_samples=20")
    for folder in ("one", "two"):
        finished = midcut(*arguments, f"hydra.run.dir={folder}")
        assert finished.returncode == 0, finished.stderr
    first, second = ((tmp_path / folder / "simulation.json").read_bytes() for folder in ("one", "two"))
    assert first == second
    simulation = json.loads(first)
    assert simulation["policy"] == simulation["truth"] == {"edge": "profile", "link": "round_trip", "cloud": "profile"}
    assert len(simulation["clock_mhz"]) == simulation["samples"] == 20
    assert simulation["based_on"]["truth.cloud"] == "profile of 2-core virtual machine (modelled), 1 thread"


def test_the_table_has_every_strategy(midcut):
    finished = midcut("simulate", "strategy=[algorithm1,weighted_sum,knee]", "policy=paper", "w=0:1:0.05", COLUMNS="80")
    assert finished.returncode == 0, finished.stderr
    first = {line.split()[0] for line in finished.stdout.splitlines() if line}
    assert {"latency_optimal", "static_best", "oracle", "algorithm1", "weighted_sum", "knee"} <= first
    assert "5 of 21 weights shown" in finished.stdout
    assert "1,260 planner decisions in" in finished.stdout
    assert max(map(len, finished.stdout.splitlines())) <= 80


def test_a_sweep_over_the_weight(midcut, tmp_path):
    finished = midcut("simulate", "-m", "w=range(0,1.01,0.5)", "hydra.sweep.dir=sweep")
    assert finished.returncode == 0, finished.stderr
    lines = [json.loads(line) for line in (tmp_path / "sweep/sweep.jsonl").read_text().splitlines()]
    assert [line["result"]["w"] for line in lines] == [0.0, 0.5, 1.0]
    costs = [line["result"]["algorithm1"]["cost_usd"] for line in lines]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[-1]


def test_planning_predictors_may_differ_from_the_truth(midcut, tmp_path):
    finished = midcut(
        "simulate", "policy=paper", "predictor/link@truth.link=eq3", "truth.link.all_edge_pays_link=false"
    )
    assert finished.returncode == 0, finished.stderr
    simulation = result(tmp_path)
    assert simulation["policy"] == {"edge": "power_law", "link": "eq3", "cloud": "linear"}
    assert simulation["truth"] == {"edge": "profile", "link": "eq3", "cloud": "profile"}
    assert {error["part"] for error in simulation["errors"]} == {"edge", "link", "cloud", "latency", "cost"}


def test_the_same_planner_twice_with_different_settings(midcut, tmp_path):
    finished = midcut(
        "simulate", "scenario=clocks", "+strategy@strategy.offset=algorithm1", "strategy.offset.semantics=offset"
    )
    assert finished.returncode == 0, finished.stderr
    names = [row["strategy"] for row in result(tmp_path)["series"] if row["planner"]]
    assert names == ["algorithm1", "weighted_sum", "offset"]


def test_a_trace(midcut, tmp_path):
    (tmp_path / "trace.csv").write_text(
        "time_s,clock_mhz,bandwidth_kbps,ping_ms\n0,1500,9000,40\n10,600,900,120\n20,1500,20000,20\n"
    )
    finished = midcut("simulate", "scenario=trace", "scenario.path=trace.csv", "scenario.step_s=5", "w=0")
    assert finished.returncode == 0, finished.stderr
    simulation = result(tmp_path)
    assert simulation["time_s"] == [0.0, 5.0, 10.0, 15.0, 20.0]
    assert simulation["bandwidth_kbps"] == [9000.0, 9000.0, 900.0, 900.0, 20000.0]
    assert simulation["scenario"] | {"kind": "trace", "path": "trace.csv", "step_s": 5.0} == simulation["scenario"]


HEAD = "time_s,clock_mhz,bandwidth_kbps,ping_ms\n"
TRACES = {
    "empty": ("", "the trace is empty"),
    "a gap": (HEAD + "0,1000,9000,120\n1,1000,,120\n", "t.csv:3: bandwidth_kbps must be a number, got ''"),
    "NaN": (HEAD + "0,nan,9000,120\n", "t.csv:2: clock_mhz must be finite, got nan"),
    "negative bandwidth": (HEAD + "0,1000,-9000,120\n", "t.csv:2: bandwidth_kbps must not be negative, got -9000"),
    "unknown column": ("time_s,speed\n0,1\n", "t.csv:1: unknown column 'speed'; the columns are time_s, clock_mhz"),
    "no ping": ("time_s,clock_mhz,bandwidth_kbps\n0,1000,9000\n", "no ping_ms, which the predictors need"),
}


def one_line(finished):
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith("midcut simulate: ")
    return line


@pytest.mark.parametrize("name", TRACES)
def test_a_bad_trace_is_refused_in_one_line(midcut, tmp_path, name):
    text, message = TRACES[name]
    (tmp_path / "t.csv").write_text(text)
    assert message in one_line(midcut("simulate", "scenario=trace", "scenario.path=t.csv"))


CLAIM = "{where: Figure 6, what: cost, metric: cost_usd, against: oracle, published: 1,"
BAD = {
    "negative bandwidth": (
        ["scenario.bandwidth_kbps.kind=constant", "scenario.bandwidth_kbps.value=-3"],
        "scenario.bandwidth_kbps must be finite and over 0 at every sample, got -3",
    ),
    "unknown field": (["+scenario.humidity=3"], "humidity"),
    "misspelt setting": (["scenario.clock_mhz.mead=3"], "did you mean 'mean'?"),
    "unknown scenario": (["scenario=rain"], "there are: clocks, poisson, trace"),
    "weight out of range": (["w=[0.5,2]"], "w must be from 0 (fast) to 1 (cheap), got 2"),
    "half a range": (["w=0:1"], "w=0:1: a range of weights is start:stop:step, e.g. 0:1:0.01"),
    "unknown planner": (["strategy=[algorithm2]"], "no planner is named 'algorithm2'; did you mean 'algorithm1'?"),
    "unknown truth": (["predictor/edge@truth.edge=linear"], "no predictor/edge is named 'linear'"),
    "nothing of a list": (["strategy=null"], "strategy=[]"),
    "unknown in a claim": ([f"claims=[{CLAIM} strategy: best}}]"], "strategy: no strategy is named 'best' here"),
    "half a claim": (["claims=[{where: a}]"], "claims[0].what must be given"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_override_is_refused_in_one_line(midcut, name):
    overrides, message = BAD[name]
    assert message in one_line(midcut("simulate", *overrides))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("samples: [", "conf/scenario/mine.yaml:4: not YAML: expected the node content"),
        ("humidity: 3", "Key 'humidity' not in 'ScenarioDrawn'"),
        ("ping_ms: {value: wet}", "Value 'wet' of type 'str' could not be converted to Float"),
        ("ping_ms: {value: -1}\nsamples: 3", "scenario.clock_mhz.value must be given for kind=constant"),
    ],
)
def test_a_bad_config_file_of_the_user_is_refused_in_one_line(midcut, tmp_path, text, message):
    (tmp_path / "conf/scenario").mkdir(parents=True)
    (tmp_path / "conf/scenario/mine.yaml").write_text(f"defaults:\n  - /schema@_here_: scenario_drawn\n{text}\n")
    assert message in one_line(midcut("simulate", "--config-dir", "conf", "scenario=mine"))


def test_a_long_run_shows_how_far_it_is_and_ctrl_c_ends_it_in_one_line(tmp_path):
    terminal, inside = pty.openpty()
    arguments = ("simulate", "scenario.samples=300000", "w=0:1:0.01", "hydra.run.dir=long")
    long = subprocess.Popen(
        [sys.executable, "-m", "midcut.cli", *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=inside,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(inside)
    shown = b""
    try:
        while not re.search(rb"simulating.* [1-9]\d*%", shown):
            assert select.select([terminal], [], [], 240)[0], shown
            shown += os.read(terminal, 4096)
        long.send_signal(signal.SIGINT)
        # Read to the end: with a full terminal buffer the process would wait for ever when it erases its progress bar.
        with contextlib.suppress(OSError):  # raised as soon as the process has closed its end of the terminal
            while select.select([terminal], [], [], 240)[0]:
                shown += os.read(terminal, 65536)
        assert long.communicate(timeout=240) == (b"", None)
        assert long.returncode == 130
    finally:
        long.kill()
        os.close(terminal)
    assert shown.endswith(b"midcut simulate: interrupted\r\n")
    assert b"Traceback" not in shown
    assert not (tmp_path / "long/simulation.json").exists()


def test_numbers_stay_whole_on_a_narrow_terminal(midcut):
    finished = midcut("simulate", "experiment=one_setting_mnist", "population=5", "dwell=[2]", COLUMNS="80")
    assert finished.returncode == 0, finished.stderr
    assert "…" not in finished.stdout
    assert max(map(len, finished.stdout.splitlines())) <= 80
    (row,) = [line for line in finished.stdout.splitlines() if "-27.13" in line]
    assert re.fullmatch(r"section 4.2, in Figure 6's +-27.13 +-47.98 +-\d+\.\d \[-\d+\.\d, -\d+\.\d\] *", row)


def test_a_limit_that_is_not_met_is_in_the_table(midcut):
    finished = midcut("simulate", "strategy=[epsilon_constraint]", "strategy.epsilon_constraint.max_latency_s=0.01")
    assert finished.returncode == 0, finished.stderr
    assert "met %" in finished.stdout
    (row,) = [line for line in finished.stdout.splitlines() if line.startswith("epsilon_constraint")]
    assert row.split()[-1] == "100.0"


def test_each_cut_with_each_codec_is_a_separate_placement(midcut, tmp_path):
    finished = midcut("simulate", "codec=[raw,fp16]", "cuts.last_cut=5")
    assert finished.returncode == 0, finished.stderr
    simulation = result(tmp_path)
    assert simulation["cuts"] == [cut for cut in range(6) for _ in range(2)]
    assert simulation["codecs"] == ["raw", "fp16"] * 6
    by_name = {row["strategy"]: row for row in simulation["series"]}
    # Half the bytes over the same link: the smaller codec is the faster one at both ends.
    assert set(by_name["edge_only"]["picks"]) == {5}
    assert set(by_name["cloud_only"]["picks"]) == {0}
    for name in ("edge_only", "cloud_only"):
        assert set(by_name[name]["codecs"]) == {"fp16"}
        assert by_name[name]["distinct"] == 1
