from __future__ import annotations

import json

import pytest
from bed.clocks import CooperativeClock
from evaluation.matrix.measure import points_of
from evaluation.matrix.noise import noise_of
from evaluation.matrix.report import evaluation
from evaluation.matrix.results import point_result, points_by_model, progress_line, with_interval
from evaluation.options import Options
from evaluation.profiling import scale_to_clocks
from evaluation.rows import Rows
from evaluation.statistics import Choice

from midcut.profiles import Machine, Profile, Role, Run
from midcut.results.evaluation import Evaluation, read_evaluation, write_evaluation
from midcut.types import Cut, CutTable, Node


def request(cut, latency_s, predicted_s, cost_usd=1e-6, fallback="", paper_s=None):
    parts = {"edge_s": 0.0, "link_s": 0.0, "cloud_s": latency_s, "latency_s": latency_s, "cost_usd": cost_usd}
    predicted = {"edge_s": 0.0, "link_s": 0.0, "cloud_s": predicted_s, "latency_s": predicted_s, "cost_usd": cost_usd}
    paper = None if paper_s is None else predicted | {"latency_s": paper_s, "cloud_s": paper_s}
    return {
        "pass": 0, "cut": cut, "finished_by": "cloud", "fallback": fallback, "sent_bytes": 1000 * (9 - cut), **parts,
        "default": predicted, "uncalibrated": predicted, "told": predicted, "paper": paper,
    }  # fmt: skip


def row(index=0, picks=9):
    """Cut 0 takes 100 ms, 110 were predicted; cut 9 takes 80, of which 76 were; the default picks 9, the paper 0."""
    observation = {"clock_mhz": 1000.0, "bandwidth_kbps": 9500.0, "ping_ms": 11.0}
    picked = {str(w): picks for w in (0.0, 0.5, 1.0)}
    return {
        "model": "some", "index": index,
        "conditions": {"clock_mhz": 1000.0, "bandwidth_kbps": 10_000.0, "ping_ms": 10.0},
        "settled": {"seconds": 1.0, "requests": 3, "seen": True, "observation": observation},
        "cuts": [0, 9], "left_out": [], "legal": 10,
        "picks": dict.fromkeys(("default", "uncalibrated", "told"), picked) | {"paper": dict.fromkeys(picked, 0)},
        "observations": [observation, observation], "base_s": [{"edge": 1.0, "cloud": 2.0}] * 2, "took_s": 2.0,
        "requests": [
            request(0, 0.1, 0.11, cost_usd=2e-6, paper_s=0.05), request(0, 0.1, 0.11, cost_usd=2e-6, paper_s=0.05),
            request(9, 0.08, 0.076), request(9, 0.08, 0.076), request(9, 5.0, 0.076, fallback="the cloud was away"),
        ],
    }  # fmt: skip


def test_a_point_by_hand():
    point = point_result(row())
    assert [cut.cut for cut in point.cuts] == [0, 9]
    assert point.errors("default") == pytest.approx([0.1, 0.05])
    assert point.errors("paper") == pytest.approx([0.5])  # it does not offer cut 9
    assert point.fastest["default"].hit
    assert point.fastest["paper"].regret == pytest.approx(0.25)
    # Cut 0 is the slower and the dearer: the whole span above cut 9.
    assert point.balanced["paper"].regret == pytest.approx(1.0)
    # Cut 9 is faster and cheaper: Algorithm 1 takes it where it knows.
    assert point.planner == Choice(hit=True, regret=0.0)
    # Always the last cut, always the first one: the baselines of a pick.
    assert (point.fastest["edge only"].hit, point.fastest["cloud only"].hit) == (True, False)
    assert point.fastest["cloud only"].regret == pytest.approx(0.25)
    assert point.lost == 1  # the time of a fallback does not count as the cloud's


def test_a_pick_that_was_never_answered_does_not_count():
    missing = row()
    missing["requests"] = [request for request in missing["requests"] if request["cut"] == 0]
    point = point_result(missing)
    assert "default" not in point.fastest
    assert "edge only" not in point.fastest
    assert point.fastest["paper"].hit


def test_figures_of_a_model_over_its_points():
    points = points_by_model([row(0), row(1, picks=0)])["some"]
    assert with_interval(points, "default", "error")[0] == pytest.approx(0.075)
    assert with_interval(points, "default", "hit") == pytest.approx((0.5, 0.0, 1.0))
    assert with_interval(points, "default", "regret")[0] == pytest.approx(0.125)
    assert with_interval(points, "paper", "regret") == pytest.approx((0.25, 0.25, 0.25))
    assert with_interval(points, "default", "single")[0] == pytest.approx(0.075)


def test_noise_is_of_repetitions_and_of_telemetry():
    noise = noise_of(points_by_model([row()])["some"], payload_share=0.95)
    assert (noise.spread, noise.repeat, noise.edge_core) == (0.0, 0.0, 0.0)
    assert noise.observed == pytest.approx({"clock_mhz": 0.0, "bandwidth_kbps": 0.0, "ping_ms": 0.1})


def test_the_evaluation_can_be_written_and_shows_which_aims_are_met(tmp_path):
    written = read_evaluation(write_evaluation(tmp_path, evaluation([row(0), row(1)], {"cgroup clock": {}})))
    assert written.values["some.default.error"] == pytest.approx(0.075)
    assert written.values["some.default.regret"] == 0.0
    assert written.values["lost"] == 2
    assert written.values["some.cloud_only.regret"] == pytest.approx(0.25)
    assert written.values["some.cloud_only.regret_half"] == pytest.approx(1.0)
    (picks,) = [table for table in written.tables if table.title == "Picks against the best measured cut"]
    assert [(cells[1], cells[2]) for cells in picks.rows][4:6] == [("edge only", 100.0), ("cloud only", 0.0)]
    verdicts = {cells[1]: (cells[4], cells[5]) for cells in written.tables[0].rows}
    assert verdicts["mean regret"] == ("met", "")
    assert verdicts["median error"][0] == "missed"
    assert verdicts["median error"][1].startswith("cloud: 100%")
    assert [figure.name for figure in written.figures] == ["predicted-some", "regret"]
    assert written.figures[0].series[0].x == pytest.approx([100, 80, 100, 80])


def test_a_row_that_a_kill_cut_short_is_measured_again(tmp_path):
    path = tmp_path / "matrix" / "points.jsonl"

    def count(rows, bed):
        return Evaluation(title="counted", bed=bed, values={"rows": len(rows)})

    with Rows(path, count) as rows:
        rows.add(**row(0))
    with path.open("a") as file:
        file.write(json.dumps(row(1))[:100])
    with Rows(path, count, resume=True) as rows:
        assert rows.all == [row(0)]
        rows.add(**row(2))
        rows.bed["kernel"] = "6"
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [0, 2]
    written = read_evaluation(path.with_name("evaluation.json"))
    assert (written.values, written.bed) == ({"rows": 2}, {"kernel": "6"})
    with Rows(path, count) as rows:
        assert rows.all == []
    assert path.read_text() == ""


def test_a_run_that_fails_writes_what_it_has(tmp_path):
    path = tmp_path / "points.jsonl"

    def run():
        with Rows(path, evaluation) as rows:
            rows.add(**row(0))
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        run()
    assert read_evaluation(tmp_path / "evaluation.json").values["points"] == 1


def test_progress_has_the_figures_so_far():
    line = progress_line([row(0)], 12)
    assert line.startswith("some 1/12: 1000 MHz, 10.0 Mbit/s, 10 ms, 2 cuts | default: error 7.5%")
    assert "hit 1/1, regret 0.0%" in line
    assert "NOT settled" not in line


def test_the_edges_profile_at_other_clocks_is_scaled_by_construction():
    table = CutTable(
        "some",
        "fx",
        (Node("a", "relu"),),
        (Cut(0, 0, ends_module=False, values=()), Cut(1, 1, ends_module=True, values=())),
        "g",
        "w",
    )
    full = Run(3000.0, (0.01,), (0.001,), 0.012, 0.002, 20)
    machine = Machine("m", "p", 2, "Linux")
    profile = Profile(
        model="some", role=Role.edge, table=table, machine=machine, versions={}, threads=1, batch=1, modelled=False,
        origin="measured", runs=(full,),
    )  # fmt: skip
    slow, fast = scale_to_clocks(profile, (1500.0, 600.0)).runs
    assert (slow.clock_mhz, slow.node_s, slow.whole_s) == (600.0, pytest.approx((0.05,)), pytest.approx(0.06))
    assert (fast.clock_mhz, fast.node_s, fast.whole_s) == (1500.0, pytest.approx((0.02,)), pytest.approx(0.024))
    assert "by construction" in scale_to_clocks(profile, (600.0,)).origin


def test_points_of_another_executor_are_of_another_experiment(tmp_path):
    rows = [row() | {"core_mhz": 6000.0}, row() | {"core_mhz": 6000.0, "executor": "onnxruntime"}]
    assert points_of(Options(out=tmp_path), rows) == rows[:1]
    assert points_of(Options(out=tmp_path, executor="onnxruntime"), rows) == rows[1:]


def test_an_edge_with_a_clock_of_its_own_runs_the_executor_inside_it(tmp_path):
    clock = CooperativeClock(tmp_path, 6000.0)
    try:
        assert clock.edge_overrides_for("onnxruntime")[-1] == "executor.runtime=onnxruntime"
        assert "executor=onnxruntime" not in clock.edge_overrides_for("onnxruntime")
    finally:
        clock.close()
