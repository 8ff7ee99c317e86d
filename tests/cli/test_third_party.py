"""A third-party package is built, installed and used by name, with its typed setting and its preset."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import midcut_models

PACKAGE = Path(__file__).parents[1] / "third_party" / "midcut-budget"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package built as a wheel and installed into a folder of its own."""
    source = tmp_path_factory.mktemp("source") / "midcut-budget"
    shutil.copytree(PACKAGE, source)
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--target", folder, source),
        ],
        check=True,
        timeout=600,
    )
    return folder


def test_it_is_listed_with_its_version(midcut, installed):
    finished = midcut("plugins", "--json", path=[installed])
    (row,) = [row for row in json.loads(finished.stdout)["components"] if row["name"] == "budget"]
    assert (row["kind"], row["distribution"], row["version"]) == ("planner", "midcut-budget", "1.2.0")


def test_it_plans(midcut, installed, tmp_path):
    finished = midcut("plan", "planner=budget", "planner.x=2", path=[installed])
    assert finished.returncode == 0, finished.stderr
    assert len(list(tmp_path.glob("outputs/plan/*/plan.json"))) == 1


def test_help_offers_it_and_its_preset(midcut, installed):
    assert (
        "  planner         algorithm1, budget, epsilon_constraint, generous, knee, linucb, throughput, weighted_sum\n"
        in midcut("plan", "--help", path=[installed]).stdout
    )


def test_its_preset_composes(midcut, installed):
    finished = midcut("plan", "planner=generous", "--cfg", "job", path=[installed])
    assert finished.returncode == 0, finished.stderr
    assert "x: 0.25" in finished.stdout
    assert "midcut_budget.planner.Budget" in finished.stdout


def test_it_sweeps_beside_the_built_in_ones(midcut, installed, tmp_path):
    finished = midcut(
        "plan", "-m", "planner=budget,algorithm1,generous", "planner.w=0.1,0.9", "hydra.sweep.dir=s", path=[installed]
    )
    assert finished.returncode == 0, finished.stderr
    assert len((tmp_path / "s" / "sweep.jsonl").read_text().splitlines()) == 6


def test_it_is_simulated_beside_the_built_in_ones(midcut, installed, tmp_path):
    overrides = ("strategy=[budget,algorithm1]", "strategy.budget.x=2", "w=[0,1]")
    finished = midcut("simulate", *overrides, "hydra.run.dir=run", path=[installed])
    assert finished.returncode == 0, finished.stderr
    simulation = json.loads((tmp_path / "run/simulation.json").read_text())
    assert {row["strategy"] for row in simulation["series"] if row["planner"]} == {"budget", "algorithm1"}


def test_a_misspelt_setting_of_it_is_refused(midcut, installed):
    finished = midcut("plan", "planner=budget", "planner.y=2", path=[installed])
    assert finished.returncode == 1
    assert "planner.y" in finished.stderr


def test_it_can_be_switched_off(midcut, installed):
    finished = midcut("plan", "planner=budget", path=[installed], MIDCUT_DISABLE_PLUGINS="all")
    assert finished.returncode == 1
    assert "no planner is named 'budget'" in finished.stderr


def test_its_own_tests_pass(installed, tmp_path):
    shutil.copytree(PACKAGE / "tests", tmp_path / "tests")
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path / "tests"],
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_it_weighs_energy_and_period_which_it_has_never_heard_of(midcut, installed, tmp_path):
    aims = {"energy_j": ("latency_s", "energy_j"), "period_s": ("period_s", "cost_usd")}
    for name, aim in aims.items():
        for w, column in zip((0, 1), aim, strict=True):
            chosen = ("objective=[energy,period]", f"aim.first={aim[0]}", f"aim.second={aim[1]}")
            folder = tmp_path / f"{name}-{w}"
            finished = midcut(
                "plan", "planner=budget", *chosen, f"planner.w={w}", f"hydra.run.dir={folder}", path=[installed]
            )
            assert finished.returncode == 0, finished.stderr
            plan = json.loads((folder / "plan.json").read_text())
            rows = [row | row["objectives"] for row in plan["rows"]]
            assert (plan | plan["objectives"])[column] == min(row[column] for row in rows)


def test_its_task_answers_for_every_image(midcut, installed, tmp_path):
    folder = Path(midcut_models.__file__).with_name("digits")
    words = ("model=mnist", "task=above", "task.share=0.01", "input=folder", f"input.path={folder}", "input.limit=3")
    quiet = ("telemetry=constant", "cloud_url=http://127.0.0.1:9", "input.plot=false", "hydra.run.dir=run")
    finished = midcut("edge", *words, *quiet, path=[installed])
    assert finished.returncode == 0, finished.stderr
    rows = [json.loads(line) for line in (tmp_path / "run/results.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    assert all(row["answer"]["task"] == "above" and row["answer"]["found"][0]["share"] >= 0.01 for row in rows)
