"""Every file that a run leaves behind: written by the verb itself, read by its reader, and shown by `midcut report`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import midcut_models
from midcut.api import planning
from midcut.cli.verbs.report import main as report
from midcut.config.settings import InputFolder
from midcut.edge.dwelling import PlanningCounts
from midcut.edge.frontend.stream import stream
from midcut.edge.frontend.summary import summarise
from midcut.errors import FileError
from midcut.reporting.load import read_results
from midcut.results.files import json_line, json_text, write_json
from midcut.results.plan import Plan, read_plan, write_plan
from midcut.results.simulation import read_simulation
from midcut.results.stream import read_records, read_summary, write_summary
from midcut.results.sweep import read_sweep
from midcut.testing import chain_placements
from midcut.types import Forecast

pytestmark = pytest.mark.timeout(1800)  # half a minute where nothing else runs
DIGITS = Path(midcut_models.__file__).parent / "digits"
MIDCUT = [sys.executable, "-m", "midcut.cli"]
PLANNERS = {
    "algorithm1": ["planner=algorithm1"],
    "weighted_sum": ["planner=weighted_sum"],
    "latency_limit": ["planner=epsilon_constraint", "planner.max_latency_s=0.3"],
    "unmet_limit": ["planner=epsilon_constraint", "planner.max_latency_s=0.000001"],
    "cost_limit": ["planner=epsilon_constraint", "planner.max_cost_usd=0.00001"],
    "knee": ["planner=knee"],
}
WEIGHTLESS = set(PLANNERS) - {"algorithm1", "weighted_sum"}
PLANS = {
    **{f"plan/{name}": words for name, words in PLANNERS.items()},
    "plan/codecs": ["planner=knee", "codec=[raw,fp16]"],
    "plan/first_cut_alone": ["cuts.last_cut=0", "plot=true"],
    "plan/last_cut_alone": ["planner=knee", "cuts.first_cut=-1", "plot=true"],
}
SWEEPS = {
    "sweep/planners": ["plan", "planner=algorithm1,weighted_sum,knee"],
    "sweep/failed": ["plan", "planner.w=0.2,7"],
    "sweep/limits": ["plan", "planner=epsilon_constraint", "planner.max_cost_usd=1e-6,3e-6,1e-5"],
    "sweep/simulate": ["simulate", "w=0,0.5,1", "scenario.samples=3", "strategy=[algorithm1,knee]"],
}
STRATEGIES = {
    "simulate/all": [
        "strategy=[algorithm1,weighted_sum,knee,epsilon_constraint]", "strategy.epsilon_constraint.max_latency_s=0.3",
        "w=[0,0.5,1]", "population=3",
    ],
    "simulate/cost_limit": ["strategy=epsilon_constraint", "strategy.epsilon_constraint.max_cost_usd=0.00001"],
    "simulate/knee": ["strategy=knee", "codec=[raw,fp16]", "dwell=[2]"],
}  # fmt: skip
STREAMS = {
    **{f"stream/{name}": words for name, words in PLANNERS.items()},
    "stream/graded": [f"input.labels={DIGITS / 'labels.csv'}", "calibration.enabled=false"],
    "stream/codecs": ["planner=knee", "codec=[raw,fp16]"],
    "stream/no_telemetry": ["telemetry=[]"],
}
ALONE = {"stream/no_cloud": ["planner=knee"]}
"""Every request of it is a fallback."""
# One process for all runs that need no torch: to start one takes longer than to plan.
PROGRAM = """
import json, os, sys
from midcut.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["midcut", *words]
    os.environ.pop("HYDRA_FULL_ERROR", None)  # which `main` sets for the rest of its process
    try:
        main()
    except SystemExit as end:
        print(words, end.code, file=sys.stderr)
"""


def run_all(folder, commands):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=folder, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with one run of everything, below the name of each."""
    folder = tmp_path_factory.mktemp("runs")
    sweeps = [[verb, "-m", *words, f"hydra.sweep.dir={name}"] for name, (verb, *words) in SWEEPS.items()]
    plans = [["plan", *words, f"hydra.run.dir={name}"] for name, words in PLANS.items()]
    few = ["scenario.samples=4"]
    simulations = [["simulate", *few, *words, f"hydra.run.dir={name}"] for name, words in STRATEGIES.items()]
    run_all(folder, [*plans, *sweeps, *simulations])
    cloud = subprocess.Popen(
        [*MIDCUT, "cloud", "model=mnist", "server.port=0"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        url = cloud.stdout.readline().split()[4]
        edge = ["edge", "model=mnist", "telemetry=constant", "input=folder", f"input.path={DIGITS}", "input.limit=2"]
        edge += ["cuts.last_cut=10", "input.plot=false"]  # what is after cut 10 needs the cloud
        streams = {name: (url, words) for name, words in STREAMS.items()}
        streams |= {name: ("http://127.0.0.1:9", words) for name, words in ALONE.items()}
        run_all(
            folder,
            [[*edge, f"cloud_url={at}", *words, f"hydra.run.dir={name}"] for name, (at, words) in streams.items()],
        )
    finally:
        cloud.terminate()
        cloud.communicate()
    return folder


def lines(records):
    return b"".join(map(json_line, records))


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_read_back_whole(runs, name):
    path = runs / name / "plan.json"
    plan = read_plan(path)
    assert json_text(plan) == path.read_bytes()
    assert (plan.w is None) == (name.split("/")[1] in WEIGHTLESS | {"codecs", "last_cut_alone"})
    if name.endswith("_limit"):
        assert plan.met is (name != "plan/unmet_limit")
    if name.endswith("alone"):
        assert len(plan.rows) == 1


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_read_back_whole(runs, name):
    path = runs / name / "sweep.jsonl"
    jobs = read_sweep(path)
    assert lines(jobs) == path.read_bytes()
    assert [job.status for job in jobs] == (["completed", "failed"] if name == "sweep/failed" else ["completed"] * 3)
    assert all((job.result is None) == (job.error is not None) for job in jobs)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_simulation_is_read_back_whole(runs, name):
    path = runs / name / "simulation.json"
    assert json_text(read_simulation(path)) == path.read_bytes()


@pytest.mark.parametrize("name", [*STREAMS, *ALONE])
def test_a_stream_is_read_back_whole(runs, name):
    summary, records = read_summary(runs / name / "summary.json"), read_records(runs / name / "results.jsonl")
    assert json_text(summary) == (runs / name / "summary.json").read_bytes()
    assert lines(records) == (runs / name / "results.jsonl").read_bytes()
    assert len(records) == summary.requests == 2
    assert [bool(record.fallback) for record in records] == [name in ALONE] * 2
    assert summary.fallbacks == (2 if name in ALONE else 0)
    if name == "stream/no_telemetry":
        assert records[0].predicted == {}
        assert records[0].decision.observation.clock_mhz is None


def test_a_report_on_all_of_them(runs, tmp_path, capsys):
    assert report([str(runs), "--out", str(tmp_path)]) == 0, capsys.readouterr().err
    text = (tmp_path / "report.md").read_text()
    for name in (*PLANS, *STREAMS, *ALONE):
        assert name.replace("_", "\\_") in text
    results = read_results([runs])
    assert len(results.plans) == len(PLANS) + 3 + 1 + 3  # those of the sweeps' jobs, one of which failed
    assert len(results.streams) == len(STREAMS) + len(ALONE)
    assert {sweep.name for sweep in results.sweeps} == set(SWEEPS)


def test_a_stream_that_was_stopped_before_its_first_image(tmp_path):
    async def stopped():
        stop = asyncio.Event()
        stop.set()
        return await stream(None, None, InputFolder(path=str(DIGITS)), tmp_path / "run/results.jsonl", stop)

    (tmp_path / "run").mkdir()
    summary = summarise("mnist", asyncio.run(stopped()), PlanningCounts())
    write_summary(tmp_path / "run/summary.json", summary)
    assert read_summary(tmp_path / "run/summary.json") == summary
    assert read_records(tmp_path / "run/results.jsonl") == []
    assert report([str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0


def test_forecasts_of_infinity_are_null_and_can_be_shown(tmp_path):
    """No planner that ships takes such a forecast; one of somebody else may."""
    placements = chain_placements([1000.0, 1000.0])
    rows = np.array([np.inf, 1.0])
    plan_rows = planning._plan_rows(Forecast(placements, rows, np.zeros(2), np.array([np.nan, 1.0]), rows))
    pick = {name: getattr(plan_rows[1], name) for name in plan_rows[1].__struct_fields__}
    plan = Plan(model="chain", w=0.5, **pick, after="x", observation={}, planning_s=0.1, based_on={}, rows=plan_rows)
    write_plan(tmp_path / "run/plan.json", plan)
    first, second = read_plan(tmp_path / "run/plan.json").rows
    assert (first.edge_s, first.cloud_s, first.latency_s, first.cost_usd) == (None, None, None, None)
    assert (second.latency_s, second.cost_usd) == (2.0, 1.0)
    assert report([str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "made/here/a.json"
    write_json(path, {"a": 1}, "thing")
    with pytest.raises(FileError, match=r"thing for .*a\.json not written: no good"):
        write_json(path, {"a": 2}, "thing", lambda _: "no good")
    path.with_name("b.json").mkdir()
    with pytest.raises(FileError, match=r"cannot write .*b\.json: "):
        write_json(path.with_name("b.json"), {"a": 3}, "thing")
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["a.json", "b.json"]  # and no half-written file
    assert path.read_bytes() == b'{\n "a": 1\n}\n'
