"""Sweeps on other engines than Hydra's own: joblib's processes, Optuna's search."""

from __future__ import annotations

import json

import pytest
import yaml

from midcut.cli.sweeps import ResultWithObjectives, with_objectives
from midcut.errors import ConfigError

RESULT = {"model": "alexnet", "w": 0.5, "met": True, "algorithm1": {"latency_s": 0.2, "cost_usd": 3e-6}, "cut": 7}


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def joblib():
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the extra `sweep`")


@pytest.fixture
def optuna():
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra `search`")


@pytest.mark.usefixtures("joblib")
def test_parallel_jobs_leave_whole_lines(midcut, tmp_path):
    finished = midcut(
        *("plan", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep"),
        *("planner=algorithm1,weighted_sum", "planner.w=0,0.3,0.7,1"),
    )
    assert finished.returncode == 0, finished.stderr
    lines = {line["job"]: line for line in rows(tmp_path / "sweep/sweep.jsonl")}
    assert sorted(lines) == list(range(8))
    wanted = [
        [f"planner={name}", f"planner.w={w}"] for name in ("algorithm1", "weighted_sum") for w in (0, 0.3, 0.7, 1)
    ]
    assert [lines[job]["overrides"] for job in range(8)] == wanted
    for job, line in lines.items():
        plan = json.loads((tmp_path / f"sweep/{job}/plan.json").read_text())
        assert {name: plan[name] for name in line["result"]} == line["result"]
        if line["result"]["w"] in (0, 1):
            objective = "cost_usd" if line["result"]["w"] else "latency_s"
            assert line["result"][objective] == min(row[objective] for row in plan["rows"])


@pytest.mark.usefixtures("joblib")
def test_a_job_that_fails_in_a_process_of_its_own_has_a_line_too(midcut, tmp_path):
    finished = midcut("plan", "-m", "hydra/launcher=joblib", "planner.w=0.2,7", "hydra.sweep.dir=sweep")
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == "midcut plan: planner.w must be from 0 (fast) to 1 (cheap), got 7.0"
    lines = {line["job"]: line for line in rows(tmp_path / "sweep/sweep.jsonl")}
    assert [lines[job]["status"] for job in (0, 1)] == ["completed", "failed"]
    assert lines[1]["error"] == "ForecastError: planner.w must be from 0 (fast) to 1 (cheap), got 7.0"


@pytest.mark.usefixtures("optuna")
def test_a_search_finds_the_front_of_what_it_tried(midcut, tmp_path):
    finished = midcut(
        *("plan", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=12", "hydra.sweeper.n_jobs=1"),
        *("hydra.sweeper.direction=[minimize,minimize]", "hydra.sweeper.sampler.seed=4", "hydra.sweep.dir=sweep"),
        *("objectives=[latency_s,cost_usd]", "planner.w=interval(0,1)", "cuts.modules=true,false"),
        "predictor/edge=power_law,profile",
    )
    assert finished.returncode == 0, finished.stderr
    tried = [(line["result"]["latency_s"], line["result"]["cost_usd"]) for line in rows(tmp_path / "sweep/sweep.jsonl")]
    assert len(tried) == 12
    front = {point for point in tried if not any(a <= point[0] and b <= point[1] and (a, b) != point for a, b in tried)}
    assert 1 < len(front) < len(set(tried)), "a search worth the name"
    solutions = yaml.safe_load((tmp_path / "sweep/optimization_results.yaml").read_text())["solutions"]
    assert {tuple(map(float, solution["values"])) for solution in solutions} == front


@pytest.mark.usefixtures("optuna")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objectives=[latency_s]"], "direction has 2 entries, but objectives has 1: write e.g. objectives=["),
        (
            ["objectives=[latency_s,costs]"],
            "midcut plan: objectives: the result has no number 'costs'; there are: w,",
        ),
    ],
)
def test_objectives_that_do_not_fit_are_one_line(midcut, overrides, message):
    finished = midcut(
        *("plan", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "planner.w=interval(0,1)"),
        *("hydra.sweeper.direction=[minimize,minimize]", *overrides),
    )
    assert finished.returncode == 1
    assert message in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr


def test_what_a_sweeper_sees_of_a_result():
    assert with_objectives(RESULT, []) is RESULT
    two = with_objectives(RESULT, ["algorithm1.cost_usd", "cut"])
    assert isinstance(two, ResultWithObjectives)
    assert (list(two), two.result) == ([3e-6, 7.0], RESULT)
    assert float(with_objectives(RESULT, ["w"])) == 0.5


@pytest.mark.parametrize("name", ["met", "algorithm1", "model", "algorithm1.latency", ""])
def test_only_numbers_are_objectives(name):
    with pytest.raises(ConfigError) as caught:
        with_objectives(RESULT, [name])
    assert str(caught.value) == (
        f"objectives: the result has no number {name!r}; there are: w, algorithm1.latency_s, algorithm1.cost_usd, cut"
    )
