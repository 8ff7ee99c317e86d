from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation.matrix.measure import missing_points
from evaluation.options import Options

from midcut.results.evaluation import read_evaluation

EVALUATE = Path(__file__).parents[3] / "tools" / "evaluate"


def evaluate(*arguments):
    return subprocess.run(
        [sys.executable, EVALUATE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_help_names_every_experiment():
    finished = evaluate("--help")
    assert finished.returncode == 0
    for name in ("matrix", "trace", "steps", "throttle", "figure6", "slow_start", "all"):
        assert f"\n  {name} " in finished.stdout


def test_an_experiment_that_is_none_is_refused(tmp_path):
    finished = evaluate("matrices", "--out", tmp_path)
    assert finished.returncode == 2
    assert "invalid choice: 'matrices'" in finished.stderr


@pytest.mark.root
@pytest.mark.usefixtures("a_bed_can_be_made")
def test_a_small_matrix_and_its_resumption(tmp_path):
    first = evaluate("matrix", "--quick", "--points", 1, "--passes", 2, "--cuts", 3, "--out", tmp_path)
    assert first.returncode == 0, first.stderr
    (point,) = [json.loads(line) for line in (tmp_path / "matrix" / "points.jsonl").read_text().splitlines()]
    assert point["settled"]["seen"]
    assert len(point["requests"]) == 2 * len(point["cuts"])
    sent = [request for request in point["requests"] if request["cut"] == 0]
    # A request over the bed takes at least the round trip that was set; what it says of its parts adds up.
    assert all(request["latency_s"] > point["conditions"]["ping_ms"] / 1000 for request in sent)
    assert all(
        request["latency_s"] >= request["edge_s"] + request["link_s"] + request["cloud_s"] - 1e-6
        for request in point["requests"]
    )
    evaluation = read_evaluation(tmp_path / "matrix" / "evaluation.json")
    assert evaluation.values["points"] == 1
    assert 0.0 <= evaluation.values["mnist.default.error"] < 1.0
    # Everything is there already: nothing is measured again.
    again = evaluate("matrix", "--quick", "--points", 1, "--out", tmp_path, "--resume")
    assert again.returncode == 0, again.stderr
    assert "mnist 1/1" not in again.stdout
    assert read_evaluation(tmp_path / "matrix" / "evaluation.json").bed == evaluation.bed
    # Points of another core are another experiment's.
    assert point["core_mhz"] == 6000.0
    other = Options(out=tmp_path, models=("mnist",), points=1, core_mhz=3000.0)
    assert len(missing_points(other, [point], "mnist")) == 1
    assert not missing_points(replace(other, core_mhz=None), [point], "mnist")
