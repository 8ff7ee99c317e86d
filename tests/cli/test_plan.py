"""`midcut plan` as users run it."""

from __future__ import annotations

import json

import pytest

from midcut.profiles import write_profile


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def result(tmp_path):
    (path,) = tmp_path.glob("outputs/plan/*/plan.json")
    return json.loads(path.read_text())


def test_the_weights_ends_are_the_fastest_and_the_cheapest_cut(midcut, tmp_path):
    finished = midcut("plan", "-m", "model=alexnet", "planner.w=0,1", "cost=rented", "hydra.sweep.dir=sweep")
    assert finished.returncode == 0, finished.stderr
    fast, cheap = sorted(rows(tmp_path / "sweep/sweep.jsonl"), key=lambda line: line["job"])
    all_rows = [json.loads((tmp_path / f"sweep/{job}/plan.json").read_text())["rows"] for job in (0, 1)]
    assert fast["result"]["latency_s"] == min(row["latency_s"] for row in all_rows[0])
    assert cheap["result"]["cost_usd"] == min(row["cost_usd"] for row in all_rows[1])


def test_a_sweep_has_a_line_for_every_job_also_for_one_that_failed(midcut, tmp_path):
    finished = midcut("plan", "-m", "planner.w=0.2,7", "cost=owned,rented", "hydra.sweep.dir=sweep")
    assert finished.returncode == 1
    assert "w must be from 0 (fast) to 1 (cheap), got 7" in finished.stderr
    lines = rows(tmp_path / "sweep/sweep.jsonl")
    assert sorted(line["status"] for line in lines) == ["completed", "completed", "failed", "failed"]
    assert {tuple(line["overrides"]) for line in lines} == {
        (f"planner.w={w}", f"cost={cost}") for w in ("0.2", "7") for cost in ("owned", "rented")
    }


def test_the_table_marks_the_pick_and_the_file_holds_all(midcut, tmp_path):
    finished = midcut("plan", "model=vgg16", "policy=paper", "planner.w=0.5")
    assert finished.returncode == 0, finished.stderr
    plan = result(tmp_path)
    marked = [line for line in finished.stdout.splitlines() if line.startswith(">") and "faster" not in line]
    assert len(marked) == 1
    assert marked[0].split()[1] == str(plan["cut"])
    assert len(plan["rows"]) == 40  # cut 0 and one per leaf module of VGG16
    assert plan["based_on"] == {
        "edge": "fit to Raspberry Pi 4 Model B (modelled), 600 to 1500 MHz",
        "cloud": "profile of 2-core virtual machine (modelled), 1 thread",
    }
    assert f"edge: {plan['based_on']['edge']}" in finished.stdout
    assert finished.stderr.count("profiles used") == finished.stderr.count(plan["based_on"]["cloud"]) == 1


def test_the_papers_policy_outside_the_fitted_clocks(midcut):
    finished = midcut("plan", "policy=paper", "model=mnist", "telemetry.constant.clock_mhz=3400")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("warning") == finished.stderr.count("clock 3400 MHz is outside the range, 600 to") == 1


def test_piece_by_piece_beats_the_preset(midcut):
    finished = midcut("plan", "policy=paper", "predictor/link=round_trip", "--cfg", "job")
    assert finished.returncode == 0, finished.stderr
    assert "RoundTrip" in finished.stdout
    assert "PowerLaw" in finished.stdout


def test_presets_and_experiments_compose(midcut):
    for arguments in (
        ["experiment=paper_alexnet"],
        ["experiment=plan_vgg16_slow_link"],
        ["telemetry=linux"],
    ):
        finished = midcut("plan", *arguments, "--cfg", "job")
        assert finished.returncode == 0, finished.stderr


def test_a_limit_that_placements_keep(midcut, tmp_path):
    finished = midcut("plan", "planner=epsilon_constraint", "planner.max_latency_s=0.3")
    assert finished.returncode == 0, finished.stderr
    plan = result(tmp_path)
    within = [row for row in plan["rows"] if row["latency_s"] <= 0.3]
    assert (plan["cost_usd"], plan["met"]) == (min(row["cost_usd"] for row in within), True)
    assert plan["w"] is None
    assert "> with latency at most 0.3 s, of 23 placements: " in finished.stdout


def test_a_limit_that_no_placement_keeps(midcut, tmp_path):
    arguments = ("plan", "planner=epsilon_constraint", "planner.max_latency_s=0.001")
    finished = midcut(*arguments)
    assert finished.returncode == 0, finished.stderr
    plan = result(tmp_path)
    assert (plan["latency_s"], plan["met"]) == (min(row["latency_s"] for row in plan["rows"]), False)
    assert "no placement has latency at most 0.001 s, this is the nearest; of 23 placements: 0 are faster" in (
        finished.stdout
    )
    strict = midcut(*arguments, "planner.strict=true")
    assert strict.returncode == 1
    assert strict.stderr.startswith("midcut plan: no placement has latency at most 0.001 s, the nearest has 0.")
    assert len(strict.stderr.splitlines()) == 1


def test_the_only_placement_within_a_strict_limit_has_no_runner_up(midcut, tmp_path):
    arguments = ("plan", "planner=epsilon_constraint", "planner.strict=true")
    assert midcut(*arguments, "planner.max_latency_s=9").returncode == 0
    fastest = min(row["latency_s"] for row in result(tmp_path)["rows"])
    finished = midcut(*arguments, f"planner.max_latency_s={fastest * (1 + 1e-9)}", "hydra.run.dir=only")
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "only/plan.json").read_text())["latency_s"] == fastest


def test_a_planner_without_a_weight(midcut, tmp_path):
    finished = midcut("plan", "planner=knee")
    assert finished.returncode == 0, finished.stderr
    assert result(tmp_path)["w"] is None
    assert "> of 23 placements: " in finished.stdout
    assert "w=" not in finished.stdout
    refused = midcut("plan", "planner=epsilon_constraint")
    (line,) = refused.stderr.splitlines()
    assert line.startswith("midcut plan: planner.max_latency_s: epsilon_constraint takes exactly one of")
    assert line.endswith("max_latency_s, max_cost_usd, max_first and max_second, got none")


def test_a_plot(midcut, tmp_path):
    finished = midcut("plan", "plot=true")
    assert finished.returncode == 0, finished.stderr
    (path,) = tmp_path.glob("outputs/plan/*/plan.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_module_goes_by_its_title(midcut, tmp_path, profile_of):
    for role in ("edge", "cloud"):
        write_profile(profile_of({1000.0: (0.003, 0.002)}, role=role), tmp_path / "mine" / f"{role}.json")
    arguments = ("plan", "model=module", "edge_profile=mine", "cloud_profile=mine")
    finished = midcut(*arguments, "model.module.title=two")
    assert finished.returncode == 0, finished.stderr
    assert result(tmp_path)["model"] == "two"
    assert "has no profile of 'module' as edge; it has: two as cloud, two as edge" in midcut(*arguments).stderr


@pytest.mark.parametrize("planner", ["weighted_sum", "knee"])
@pytest.mark.parametrize("kbps", [12, 2, 0.5])
def test_a_dying_link_is_left_alone(midcut, tmp_path, planner, kbps):
    finished = midcut(
        "plan", "model=alexnet", f"planner={planner}", "telemetry=constant", f"telemetry.constant.bandwidth_kbps={kbps}"
    )
    assert finished.returncode == 0, finished.stderr
    (path,) = tmp_path.glob("outputs/plan/*/plan.json")
    assert json.loads(path.read_text())["latency_s"] < 10.0
