"""`midcut plan objective=...` as users run it."""

from __future__ import annotations

import json

import pytest

LINK = ("model=alexnet", "telemetry.constant.bandwidth_kbps=16000")


def plan(midcut, tmp_path, *overrides):
    finished = midcut("plan", *overrides, "hydra.run.dir=run")
    assert finished.returncode == 0, finished.stderr
    return json.loads((tmp_path / "run/plan.json").read_text()), finished.stdout


def test_another_radio_another_cut(midcut, tmp_path):
    cuts = {}
    for radio in ("wifi", "3g"):
        energy = ("objective=energy", f"objective.energy.radio={radio}", "planner.w=1")
        found, text = plan(midcut, tmp_path, *LINK, *energy)
        cuts[radio] = found["cut"]
        assert found["objectives"]["energy_j"] == min(row["objectives"]["energy_j"] for row in found["rows"])
        assert "energy" in text
        assert "lower in energy_j" in text
    assert cuts["wifi"] != cuts["3g"]


def test_without_an_objective_nothing_changes(midcut, tmp_path):
    found, text = plan(midcut, tmp_path, *LINK)
    assert found["objectives"] == {}
    assert found["aim"] == ["latency_s", "cost_usd"]
    assert "are cheaper" in text


def test_an_objective_is_a_number_to_search_by(midcut, tmp_path):
    swept = ("objective=energy", "objectives=[energy_j]", "planner.w=0,1", "hydra.sweep.dir=sweep")
    finished = midcut("plan", "-m", *LINK, *swept)
    assert finished.returncode == 0, finished.stderr
    lines = [json.loads(line)["result"] for line in (tmp_path / "sweep/sweep.jsonl").read_text().splitlines()]
    assert len({line["energy_j"] for line in lines}) == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("objective=joule",), "no objective is named 'joule'"),
        (("objective=null",), "for no component write objective=[]"),
        (("aim.second=energy_j",), "aim.second=energy_j: the forecast has latency_s, cost_usd"),
        (("aim.first=watts",), "aim.first=watts"),
        (("aim.first=cost_usd",), "aim.first and aim.second are both cost_usd"),
        (("objective=energy", "objective.energy.busy_w=[-3]"), "busy_w must be a finite number, 0 or more, got -3"),
        (("objective=energy", "objective.energy.radio=5g"), "must be one of none, wifi, lte, 3g, got '5g'"),
        (
            ("objective=energy", "aim.first=energy_j", "aim.second=latency_s", "planner=epsilon_constraint",
             "planner.max_latency_s=0.2"),
            "give planner.max_first, the limit of energy_j",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_gets_one_line(midcut, overrides, message):
    finished = midcut("plan", *overrides)
    assert finished.returncode == 1
    (line,) = [line for line in finished.stderr.splitlines() if line.startswith("midcut plan:")]
    assert message in line
    assert "Traceback" not in finished.stderr


def test_a_simulation_has_the_mean_of_every_objective(midcut, tmp_path):
    chosen = ("objective=[energy,period]", "strategy=[weighted_sum]", "w=[0,1]", "scenario.samples=50")
    finished = midcut("simulate", *chosen, "hydra.run.dir=run")
    assert finished.returncode == 0, finished.stderr
    simulation = json.loads((tmp_path / "run/simulation.json").read_text())
    assert simulation["aim"] == ["latency_s", "energy_j"]
    fast, frugal = (row["objectives"] for row in simulation["series"] if row["planner"])
    assert set(fast) == {"energy_j", "period_s"}
    assert frugal["energy_j"] <= fast["energy_j"]
    best = [row for row in simulation["series"] if row["strategy"] == "weighted_sum" and row["w"] == 1.0]
    assert best[0]["objective_regret"] == 0.0


def test_the_report_shows_the_energy_of_every_radio(midcut, tmp_path):
    for radio in ("wifi", "3g"):
        energy = ("objective=energy", f"objective.energy.radio={radio}", "planner.w=1", "plot=true")
        finished = midcut("plan", *LINK, *energy, f"hydra.run.dir=runs/{radio}")
        assert finished.returncode == 0, finished.stderr
        assert (tmp_path / f"runs/{radio}/plan.png").stat().st_size > 0
    finished = midcut("report", "runs", "--out", "page")
    assert finished.returncode == 0, finished.stderr
    report = json.loads((tmp_path / "page/report.json").read_text())
    text = json.dumps(report)
    assert "energy_j" in text
    assert "energy [mJ]" in next((tmp_path / "page").glob("*.html")).read_text()


def test_dollars_a_month(midcut, tmp_path):
    found, text = plan(midcut, tmp_path, "cost=billed", "cost.usd_per_gb_up=0.09", "rate_hz=5")
    assert found["usd_per_month"] == pytest.approx(found["cost_usd"] * 5 * 730 * 3600)
    assert "5 requests a second cost" in text
    refused = midcut("plan", "cost=billed", "cost.usd_per_gb_up=dear")
    assert refused.returncode == 1
    assert "cost.usd_per_gb_up" in refused.stderr
    assert "Traceback" not in refused.stderr
