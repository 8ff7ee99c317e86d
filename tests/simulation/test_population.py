"""Whole configurations against hand-written numpy, and repetitions against separate runs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from midcut.cli.verbs.simulate import summary
from midcut.config.composition import compose
from midcut.errors import MidcutError
from midcut.profiles import write_profile
from midcut.results.simulation import read_simulation, write_simulation
from midcut.simulation.assembly import assemble
from midcut.simulation.run import simulate

CLAIM = (
    "claims=[{where: Figure 6, what: words, metric: cost_usd, strategy: algorithm1, against: cost_optimal,"
    " published: 40.0}]"
)


@pytest.fixture
def composed(tmp_path):
    """Simulates `midcut simulate OVERRIDES`."""

    def run(*overrides):
        return simulate(*assemble(compose("simulate", overrides), {}, tmp_path))

    return run


def test_a_configuration_in_hand_written_numpy(composed, tmp_path, profile_of):
    # Two nodes of 3 and 2 ms at 1 GHz, all of it by the clock; 0.5 and 0.4 ms in the cloud; 400 bytes at every cut.
    for role, seconds in (("edge", (0.003, 0.002)), ("cloud", (0.0005, 0.0004))):
        write_profile(profile_of({1000.0: seconds}, role=role), tmp_path / f"{role}.json")
    result = composed(
        "model=module", "model.module.title=two", f"edge_profile={tmp_path}", f"cloud_profile={tmp_path}",
        "predictor/edge@truth.edge=profile", "predictor/link@truth.link=eq3", "truth.link.all_edge_pays_link=false",
        "scenario.bandwidth_kbps.unit=100", "scenario.seed=7", "w=0.5",
    )  # fmt: skip
    rng = np.random.default_rng(7)
    bandwidth = np.maximum(1, rng.poisson(9, 20)) * 100.0
    clock = np.clip(rng.normal(1000, 350, 20), 600, 1500)
    edge = np.array([0.0, 0.003, 0.005]) * (1000.0 / clock)[:, None]
    cloud = np.array([0.0009, 0.0004, 0.0])
    link = np.array([1.0, 1.0, 0.0]) * (400 * 8 / (1000 * bandwidth) + 120 / 2000)[:, None]
    latency = edge + link + cloud
    cost = edge * 0.224 / 3600 + cloud * 0.1664 / 3600
    by_name = {series.strategy: series for series in result.series}
    assert by_name["edge_only"].latency_s == pytest.approx(latency[:, 2].mean(), rel=1e-12)
    assert by_name["cloud_only"].cost_usd == pytest.approx(cost[:, 0].mean(), rel=1e-12)
    # The planning predictors expect base64 in JSON and a whole ping for the link, so they prefer the edge even more.
    assert by_name["latency_optimal"].latency_s == pytest.approx(latency.min(axis=1).mean(), rel=1e-12)
    assert by_name["cost_optimal"].cost_usd == pytest.approx(cost.min(axis=1).mean(), rel=1e-12)
    assert result.cuts == (0, 1, 2)
    assert result.after == ("input", "node0", "node1")
    errors = {error.part: error for error in result.errors}
    assert errors["edge"].mape == errors["cloud"].mape == errors["cost"].mape == 0.0
    assert errors["link"].bias > 0.5


@pytest.mark.parametrize("strategies", [(), ("+planner@strategy.linucb=linucb",)], ids=["all", "a learner beside them"])
def test_repetitions_are_runs_with_other_seeds(composed, strategies):
    claim = CLAIM.replace("published", "w: 0.8, published")
    base = ("predictor/edge=power_law", "w=[0.5,0.8]", claim, *strategies)
    result = composed(*base, "population=12")
    assert ("linucb" in {series.strategy for series in result.series}) == bool(strategies)
    alone = [composed(*base, f"scenario.seed={seed}") for seed in range(12)]
    for series in result.series:
        rows = [next(r for r in run.series if (r.strategy, r.w) == (series.strategy, series.w)) for run in alone]
        for metric, intervals in (("latency_s", series.latency_ratio), ("cost_usd", series.cost_ratio)):
            for against, interval in intervals.items():
                means = [next(r for r in run.series if r.strategy == against) for run in alone]
                ratios = [getattr(a, metric) / getattr(b, metric) for a, b in zip(rows, means, strict=True)]
                expected = [np.mean(ratios), *np.percentile(ratios, [5, 95])]
                assert [interval.mean, interval.p5, interval.p95] == pytest.approx(expected, rel=1e-12)
            assert set(intervals) == {"latency_optimal", "cost_optimal"}
    (claim,) = result.claims
    simulated = [run.claims[0].simulated for run in alone]
    assert claim.population.mean == pytest.approx(np.mean(simulated))
    assert claim.population.p95 == pytest.approx(np.percentile(simulated, 95))
    assert claim.simulated == alone[0].claims[0].simulated  # the chosen seed is 0 here


def test_free_divisors_have_no_ratio(composed):
    result = composed("cost=owned", "population=3", CLAIM)
    assert (
        result.claims[0].simulated is result.claims[0].population is None
    )  # inference on the user's own edge costs nothing
    assert all(set(series.cost_ratio) <= {"latency_optimal"} for series in result.series)
    assert all(set(series.latency_ratio) == {"latency_optimal", "cost_optimal"} for series in result.series)


def test_listed_samples_have_no_repetitions(composed):
    result = composed("scenario=clocks", "population=50", CLAIM)
    assert result.population == 0
    assert result.claims[0].population is None
    assert result.samples == 10
    assert all(series.latency_ratio == series.cost_ratio == {} for series in result.series)


def test_reading_back_what_was_written(composed, tmp_path):
    result = composed("w=[0,1]", "dwell=[2]", "population=4", CLAIM.replace("published", "w: 1, published"))
    write_simulation(tmp_path / "simulation.json", result)
    assert read_simulation(tmp_path / "simulation.json") == result
    assert "NaN" not in (tmp_path / "simulation.json").read_text()


def test_what_a_sweep_records(composed):
    single, several = (
        summary(composed("w=0.3", "title=mine")),
        summary(composed("w=[0.3,0.7]", "strategy=[knee,algorithm1]")),
    )
    assert (single["title"], single["model"], single["w"]) == ("mine", "alexnet", 0.3)
    assert set(single["algorithm1"]) == {"latency_s", "cost_usd", "latency_regret", "objective_regret"}
    assert several["w"] == [0.3, 0.7]
    assert several["algorithm1"]["latency_s"][0] == single["algorithm1"]["latency_s"]
    assert several["knee"]["latency_s"] > 0.0  # it follows no weight: one number
    json.dumps([single, several])


CLAIM_ON = "{where: Figure 6, what: cost, metric: cost_usd, against: oracle, published: 1,"
BAD = {
    "NaN": (["scenario.clock_mhz.mean=nan"], "scenario.clock_mhz.mean must be a finite number, got nan"),
    "bounds swapped": (["scenario.clock_mhz.low=2000"], "low=2000 must not exceed scenario.clock_mhz.high=1500"),
    "no samples": (["scenario.samples=0"], "scenario.samples must be from 1 to 10,000,000, got 0"),
    "no weight": (["w=[]"], "got none"),
    "a word for a weight": (["w=cheap"], "got 'cheap'"),
    "a range without end": (["w=0:1:1e-9"], "at most 10000 steps"),
    "a taken name": (["+strategy@strategy.oracle=knee"], "a planner must go by another name"),
    "another weight in a claim": ([f"claims=[{CLAIM_ON} strategy: algorithm1, w: 0.3}}]"], "claims[0].w=0.3 is not"),
    "negative population": (["population=-1"], "population must be at least 0, got -1"),
    "too many decisions": (["scenario.samples=1000000", "w=0:1:0.001"], "250,000,000, got 1,000,000 x 1,001"),
    "negative dwell": (["dwell=[3,-2]"], "dwell must be at least 0, got -2"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused(composed, name):
    overrides, message = BAD[name]
    with pytest.raises(MidcutError) as caught:
        composed(*overrides)
    assert message in str(caught.value)
