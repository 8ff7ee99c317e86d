"""What is found where, and one line for what cannot be read."""

from __future__ import annotations

import pytest

from midcut.cli.verbs.report import main
from midcut.errors import FileError
from midcut.reporting.load import read_results
from midcut.reporting.sweep_curves import job_outcomes, sweep_curves, swept_settings
from midcut.reporting.sweep_merging import merge_sweeps

LOPSIDED = (
    '{"title": "", "model": "", "scenario": {}, "policy": {}, "truth": {}, "cost": "", "samples": 2, "population": 0, '
    '"cuts": [], "layers": [], "after": [], "weights": [], "series": [], "clock_mhz": [1]}'
)


def test_folders_are_searched_and_named_by_what_differs(simulation, write_run, tmp_path):
    write_run(simulation(title="a"), tmp_path / "runs/simulate/1")
    write_run(simulation(title="b"), tmp_path / "runs/simulate/2")
    found = read_results([tmp_path / "runs", tmp_path / "runs/simulate/2"])  # twice the same is once
    assert {name: one.title for name, one in found.simulations.items()} == {"1": "a", "2": "b"}


def test_jobs_come_by_number(simulation, write_run, tmp_path):
    for job in (10, 9, 1):
        write_run(simulation(title=str(job)), tmp_path / str(job))
    assert list(read_results([tmp_path]).simulations) == ["1", "9", "10"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (None, "", "no result of simulate, fit, plan, edge or evaluate in it or below"),
        ("simulation.json", "{", "simulation.json: not JSON (Input data was truncated); `midcut simulate` writes one"),
        ("simulation.json", '{"title": 3}', "simulation.json: Expected `str`, got `int` - at `$.title`"),
        ("simulation.json", LOPSIDED, "simulation.json: $.clock_mhz has 1 entries, not 2 or none"),
        ("plan.json", "[]", "plan.json: Expected `object`, got `array`; `midcut plan` writes one"),
        ("fit.json", "{}", "missing required field `device`"),
        ("sweep.jsonl", '{"job": 0}\n', "sweep.jsonl, line 1: Object missing required field `verb`"),
        ("summary.json", '{"other": 1}', "summary.json: Object missing required field `model`"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, capsys, file, text, message):
    if file:
        (tmp_path / file).write_text(text)
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    kind = {"summary.json": "stream's summary "}.get(file, f"{file.split('.')[0]} ") if file else ""
    assert error.startswith(f"midcut report: {kind}{tmp_path}")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="nowhere: no such folder; give run directories"):
        read_results([tmp_path / "nowhere"])
    with pytest.raises(FileError, match="file: not a folder"):
        read_results([tmp_path / "file"])


def test_results_that_cannot_be_written_are_one_line(simulation, write_run, tmp_path, capsys):
    write_run(simulation(), tmp_path / "one")
    (tmp_path / "taken").write_text("")
    assert main([str(tmp_path / "one"), "--out", str(tmp_path / "taken")]) == 1
    assert f"{tmp_path}/taken: cannot write the report: " in capsys.readouterr().err


def test_jobs_over_w_become_one_simulation(simulation, write_run, sweep_file, tmp_path):
    whole = simulation(weights=(0.0, 0.5, 1.0))
    for job, w in enumerate((0.0, 0.5, 1.0)):
        write_run(simulation(weights=(w,)), tmp_path / f"runs/sweep/{job}")
    write_run(simulation(weights=(0.5,), cost="owned"), tmp_path / "runs/sweep/3")
    write_run(simulation(weights=(0.5,)), tmp_path / "runs/alone")
    sweep_file(tmp_path / "runs/sweep", [{"overrides": [f"w={w}"]} for w in (0, 0.5, 1)])
    found = read_results([tmp_path])
    together = merge_sweeps(found.simulations, [sweep.name for sweep in found.sweeps])
    assert list(together) == ["alone", "sweep", "sweep/3"]
    assert together["sweep"].weights == (0.0, 0.5, 1.0)
    assert sorted(map(repr, together["sweep"].series)) == sorted(map(repr, whole.series))
    assert together["sweep"].claims == whole.claims  # said once
    assert together["sweep"].fronts == ()  # these need all weights at once
    assert together["sweep/3"].cost == "owned"


def test_a_sweeps_curves(sweep_file, tmp_path):
    sweep_file(
        tmp_path,
        [
            {"overrides": [f"w={w}", f"cost={cost}"], "result": {"title": "x", "w": w, "algorithm1": result}}
            for cost in ("rented", "owned")
            for w in (1.0, 0.0, 0.5)
            for result in [{"latency_s": 0.1 + w, "cost_usd": 2e-6 - 1e-6 * w}]
        ]
        + [{"overrides": ["w=2", "cost=owned"], "result": None, "status": "failed", "error": "ConfigError: w"}],
    )
    (sweep,) = read_results([tmp_path]).sweeps
    assert swept_settings(sweep.jobs) == {"w": ["1.0", "0.0", "0.5", "2"], "cost": ["rented", "owned"]}
    assert job_outcomes(sweep.jobs[0]) == {"algorithm1": (1.1, 1e-6)}
    assert job_outcomes(sweep.jobs[-1]) == {}
    setting, (rented, owned) = sweep_curves(sweep)
    assert (setting, rented.name, owned.name) == ("w", "Algorithm 1, cost=rented", "Algorithm 1, cost=owned")
    assert rented.points == ((0.0, 0.1, 2e-6), (0.5, 0.6, 1.5e-6), (1.0, 1.1, 1e-6))


def test_a_streams_result_counts_by_its_median(sweep_file, tmp_path):
    result = {"model": "mnist", "latency_s": {"median": 0.2, "p95": 1.0}, "cost_usd": {"median": 1e-6, "total": 1.0}}
    sweep_file(tmp_path, [{"overrides": ["a=1"], "verb": "edge", "result": result}])
    (sweep,) = read_results([tmp_path]).sweeps
    assert job_outcomes(sweep.jobs[0]) == {"": (0.2, 1e-6)}
    assert sweep_curves(sweep) is None
