"""Requests over a recorded link: transfers are integrated, and a picker sees only what its transfers have shown."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from midcut.reporting.figures_over_trace import draw_over_trace
from midcut.results.simulation import read_simulation
from midcut.simulation.link_capacity import LinkCapacity
from midcut.traces import Trace


def capacity(*rows):
    return LinkCapacity(Trace.from_rows([{"time_s": t, "bandwidth_kbps": kbps} for t, kbps in rows]))


def seconds(link, start_s, kbit):
    return float(link.transfer_s(np.array([start_s]), np.array([float(kbit)]))[0])


def test_a_transfer_takes_what_the_link_takes_from_its_start_on():
    link = capacity((0, 10), (1, 100_000))
    assert seconds(link, 0.0, 602 * 8) == pytest.approx(1 + (4816 - 10) / 100_000)
    outage = capacity((0, 1000), (1, 0), (3, 1000))  # the last row lasts 2 s
    assert seconds(outage, 0.5, 500) == pytest.approx(0.5)
    assert seconds(outage, 0.5, 501) == pytest.approx(2.501)
    assert seconds(outage, 1.5, 0) == 0.0
    assert seconds(outage, 4.5, 1000) == pytest.approx(1.0)  # the trace starts again
    assert seconds(outage, 0.0, 3000 * 100) == pytest.approx(500.0)
    assert seconds(capacity((0, 0)), 0.0, 1) == math.inf


def test_transfers_agree_with_steps_of_a_millisecond():
    generator = np.random.default_rng(5)
    rates = np.where(generator.random(40) < 0.3, 0.0, generator.uniform(100, 9000, 40))
    link = capacity(*((number / 10, rate) for number, rate in enumerate(rates)))
    per_ms = np.tile(np.repeat(rates, 100), 40) / 1e3
    carried = np.cumsum(per_ms)
    for start_ms, kbit in zip(generator.integers(0, 4000, 50), generator.uniform(1, 5000, 50), strict=True):
        before = carried[start_ms - 1] if start_ms else 0.0
        end_ms = int(np.searchsorted(carried, before + kbit)) + 1
        assert seconds(link, start_ms / 1e3, kbit) == pytest.approx((end_ms - start_ms) / 1e3, abs=1.1e-3)


@pytest.fixture
def simulated(midcut, tmp_path):
    def run(rows, *words):
        text = "".join(f"{t},{kbps}\n" for t, kbps in rows)
        (tmp_path / "link.csv").write_text("time_s,bandwidth_kbps\n" + text)
        finished = midcut(
            "simulate", "model=alexnet", "scenario=trace", "scenario.path=link.csv", "w=[0,0.5]", *words,
            "scenario.clock_mhz=1500", "scenario.ping_ms=20", "strategy=[weighted_sum]", "hydra.run.dir=run",
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        series = json.loads((tmp_path / "run/simulation.json").read_text())["series"]
        return {(row["strategy"], row["w"]): row for row in series}

    return run


def test_with_a_lag_the_picker_is_wrong_and_without_it_sees_the_link(simulated):
    rows = [(t, 50_000 if t % 8 < 4 else 300) for t in range(80)]
    perfect = simulated(rows, "scenario.observed=perfect")[("weighted_sum", 0.0)]["latency_s"]
    late = simulated(rows, "scenario.observed=perfect", "scenario.lag_s=4")[("weighted_sum", 0.0)]["latency_s"]
    assert late > 1.5 * perfect
    for observed in ("last_transfer", "decay"):
        series = simulated(rows, f"scenario.observed={observed}")
        assert series[("weighted_sum", 0.0)]["latency_regret"] > 0.0
        assert series[("oracle", 0.0)]["latency_regret"] == pytest.approx(0.0, abs=1e-9)


def test_a_request_without_a_reply_in_time_is_finished_at_the_edge(simulated):
    rows = [(0, 8000), (4, 0), (60, 8000), (61, 8000)]
    series = simulated(rows, "reply_timeout_s=3", "scenario.interval_s=1")
    cloud = series[("cloud_only", None)]["sample_latency_s"]
    edge = series[("edge_only", None)]["sample_latency_s"]
    assert max(cloud) == pytest.approx(3.0 + edge[0])
    picked = series[("weighted_sum", 0.0)]["sample_latency_s"]
    assert sum(latency > 3.0 for latency in picked) <= 5  # it stops to send while the link is down


def test_after_a_time_out_the_edges_breaker_holds_requests_back(simulated):
    rows = [(t, 0 if 20 <= t < 62 else 50_000) for t in range(90)]
    series = simulated(rows, "scenario.observed=last_transfer", "reply_timeout_s=5")
    picked = series[("weighted_sum", 0.0)]["sample_latency_s"]
    # The transfer of the request at 20 s begins after its head of h < 1 s, and fails at 25 + h. By then six are under
    # way; the last fails at 30 + h, and the breaker stays open for 5 s. The try at 36 s fails at 41 + h (then 10 s),
    # the one at 52 s at 57 + h (then 20 s), and the one at 78 s succeeds.
    assert [t for t, latency in enumerate(picked) if latency > 5.0] == [20, 21, 22, 23, 24, 25, 36, 52]
    edge = series[("edge_only", None)]["sample_latency_s"][0]
    assert all(picked[t] == pytest.approx(edge) for t in (26, 35, 37, 60, 77))
    assert picked[78] == pytest.approx(picked[10])


def test_an_outage_is_noticed_by_the_transfers_that_are_stuck_in_it(simulated):
    rows = [(t, 0 if 20 <= t < 29 else 30_000) for t in range(60)]
    stuck = {}
    for observed in ("decay", "last_transfer"):
        picked = simulated(rows, f"scenario.observed={observed}")[("weighted_sum", 0.0)]
        assert min(picked["sample_latency_s"]) == pytest.approx(picked["sample_latency_s"][10])  # it sends before
        stuck[observed] = sum(latency > 1.0 for latency in picked["sample_latency_s"])
    assert stuck["last_transfer"] >= 8
    assert stuck["decay"] <= 3


def test_an_edge_that_gives_up_loses_the_outage_but_not_the_request(simulated, tmp_path):
    rows = [(t, 0 if t % 10 in {6, 7, 8} else 20_000) for t in range(60)]
    waited = simulated(rows)[("weighted_sum", 0.0)]
    gave_up = simulated(rows, "give_up_factor=1.5")[("weighted_sum", 0.0)]
    assert gave_up["latency_s"] < 0.9 * waited["latency_s"]
    assert max(gave_up["sample_latency_s"]) < max(waited["sample_latency_s"]) - 1.0
    assert gave_up["picks"] == waited["picks"]  # a transfer that is given up is still seen when it ends
    trace = gave_up["over_trace"]
    assert set(trace["ended"]) == {0, 1}
    for number, ended in enumerate(trace["ended"]):
        parts = (trace[name][number] for name in ("edge_s", "link_s", "cloud_s"))
        assert sum(parts) == pytest.approx(gave_up["sample_latency_s"][number])
        if ended == 1:  # the head, 1.5 times what was predicted, the rest here
            assert trace["cloud_s"][number] == 0.0
    assert waited["over_trace"]["ended"] == [0] * 60
    figure, caption = draw_over_trace(read_simulation(tmp_path / "run/simulation.json"))
    assert "at w = 0.5" in caption
    assert [axes.get_title() for axes in figure.axes[:3]] == ["weighted sum", "edge only", "cloud only"]


def test_an_edge_with_dwell_sees_the_transfers_of_what_it_held(midcut, tmp_path):
    rows = [(t, 600 if t % 7 < 3 else 30_000) for t in range(120)]
    (tmp_path / "link.csv").write_text("time_s,bandwidth_kbps\n" + "".join(f"{t},{kbps}\n" for t, kbps in rows))
    words = ("scenario=trace", "scenario.path=link.csv", "scenario.clock_mhz=1500", "scenario.ping_ms=20")
    more = ("w=0", "strategy=[weighted_sum]", "dwell=[0,1,4]", "scenario.interval_s=2", "hydra.run.dir=run")
    series = {}
    for factor in ("null", "1.5"):
        finished = midcut("simulate", "model=alexnet", *words, *more, f"give_up_factor={factor}")
        assert finished.returncode == 0, finished.stderr
        found = json.loads((tmp_path / "run/simulation.json").read_text())["series"]
        without = [
            row["sample_latency_s"] for row in found if row["strategy"] == "weighted_sum" and not row.get("dwell")
        ]
        assert without == without[:1] * 2  # no dwell, and a dwell of 0
        series[factor] = {row.get("dwell", 0): row for row in found}
    for of in series.values():
        assert of[1]["sample_latency_s"] == of[0]["sample_latency_s"]  # a dwell of one step changes nothing
        assert of[4]["sample_latency_s"] != of[0]["sample_latency_s"]
        picks = np.array(of[4]["picks"])
        lengths = np.diff(np.flatnonzero(np.diff(picks, prepend=-1)))
        assert (lengths[1:] >= 8).all()  # four steps of two requests
    assert series["1.5"][4]["picks"] == series["null"][4]["picks"]
    assert series["1.5"][4]["latency_s"] < series["null"][4]["latency_s"]
    assert 1 in series["1.5"][4]["over_trace"]["ended"]


def test_giving_up_needs_a_recorded_link(midcut):
    finished = midcut("simulate", "model=alexnet", "give_up_factor=1.5", "hydra.run.dir=run")
    assert finished.returncode != 0
    assert finished.stderr.strip().endswith("it needs scenario=trace")


def test_on_three_tiers_all_five_parts_and_both_cuts_are_recorded(midcut, tmp_path):
    rows = [f"{t},{8000 if t % 4 < 2 else 2000},4000,30" for t in range(12)]
    header = "time_s,bandwidth_kbps,second_bandwidth_kbps,second_ping_ms"
    (tmp_path / "link.csv").write_text("\n".join([header, *rows, ""]))
    words = ("scenario=trace", "scenario.path=link.csv", "scenario.clock_mhz=1500", "scenario.ping_ms=20")
    finished = midcut("simulate", "model=alexnet", "tiers=3", *words, "strategy=[weighted_sum]", "hydra.run.dir=run")
    assert finished.returncode == 0, finished.stderr
    simulation = read_simulation(tmp_path / "run/simulation.json")
    (series,) = (each for each in simulation.series if each.strategy == "weighted_sum")
    trace = series.over_trace
    parts = (trace.edge_s, trace.link_s, trace.relay_s, trace.second_link_s, trace.cloud_s)
    np.testing.assert_allclose(np.sum(parts, axis=0), series.sample_latency_s)
    assert all(second >= first for first, second in zip(series.picks, series.second_picks, strict=True))
    assert len(simulation.second_cuts) == len(simulation.cuts) == 276
    figure, _ = draw_over_trace(simulation)
    assert len(figure.axes[3].lines) == 2
    assert figure.axes[3].get_ylabel() == "cuts\n[dashed: second]"
