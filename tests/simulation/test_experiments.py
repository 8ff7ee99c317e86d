"""The experiments reproduce the paper's numbers, those of another study, and those printed in tools/README.md."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from midcut.results.simulation import FILE, read_simulation

README = (Path(__file__).parents[2] / "tools" / "README.md").read_text(encoding="utf-8").replace("−", "-")
# Experiment -> results of an independent program for the same setting, in percent.
STUDY = {
    "figure5": (13.6, 35.3),
    "figure6": (-65.5, 42.5, -70.3, 28.7),
    "mnist": (-27.1, 3.3),
    "vgg16_owned": (-97.5, 42.2),
}


def simulate(folder, *overrides):
    command = [sys.executable, "-m", "midcut.cli", "simulate", *overrides, f"hydra.run.dir={folder}"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return read_simulation(folder / FILE)


@pytest.mark.parametrize("experiment", STUDY)
def test_published_numbers(tmp_path, experiment):
    claims = simulate(tmp_path, f"experiment={experiment}").claims
    assert [claim.simulated for claim in claims] == pytest.approx(STUDY[experiment], abs=0.1)
    for claim in claims:
        assert abs(claim.simulated - claim.published) < 1.5
        row = next(line for line in README.splitlines() if f"{claim.published:+.2f} %" in line)
        numbers = [f"{claim.simulated:+.2f}"]
        if claim.population:
            numbers += [f"{value:+.2f}" for value in (claim.population.mean, claim.population.p5, claim.population.p95)]
        cells = [cell.strip() for cell in row.split("|")]
        assert re.findall(r"[+-]\d+\.\d\d", " ".join(cells[4:6])) == numbers


@pytest.mark.parametrize(("experiment", "points_off"), [("one_setting_mnist", 1000), ("one_setting_vgg16", 20)])
def test_no_setting_gives_all_of_them(tmp_path, experiment, points_off):
    claims = simulate(tmp_path, f"experiment={experiment}", "population=0").claims
    assert max(abs(claim.simulated - claim.published) for claim in claims) > points_off


def test_figure7_falls_in_steps(tmp_path):
    series = [row for row in simulate(tmp_path, "experiment=figure7").series if row.strategy == "algorithm1"]
    cost = [row.cost_usd for row in series]
    latency = [row.latency_s for row in series]
    assert [row.w for row in series] == pytest.approx([step / 100 for step in range(101)])
    assert cost[-1] == min(cost)
    assert latency[-1] == max(latency)
    assert sum(before != after for before, after in pairwise(cost)) == 14
    assert "| 14 steps |" in README


def test_same_seed_same_bytes(tmp_path):
    for name in ("one", "two"):
        simulate(tmp_path / name, "experiment=figure6", "population=50")
    assert (tmp_path / "one" / FILE).read_bytes() == (tmp_path / "two" / FILE).read_bytes()
