"""The whole report, from hand-made runs: the page stands alone, and all three forms say the same."""

from __future__ import annotations

import html.parser
import json
import re
import shutil

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

from midcut.cli.verbs.report import main
from midcut.profiles import find_fit, find_profile, write_fit
from midcut.profiles.fitting import fit
from midcut.reporting.figures_compare import Dot, draw_claims, ratio_panel
from midcut.reporting.figures_runs import draw_plan, draw_streams
from midcut.reporting.figures_samples import draw_samples
from midcut.reporting.formatting import as_number, policy_label, settings_text
from midcut.reporting.load import read_results
from midcut.reporting.report import make_report
from midcut.reporting.style import figure_style
from midcut.reporting.verdicts import ReproductionRow, Verdict
from midcut.results.files import json_line
from midcut.results.plan import Plan, PlanRow, write_plan
from midcut.results.simulation import PartError, read_simulation
from midcut.results.stream import (
    Cost,
    Latency,
    PredictionError,
    Record,
    RecordedDecision,
    Summary,
    Telemetry,
    write_summary,
)

FORECAST = {"edge_s": 0.1, "link_s": 0.2, "cloud_s": 0.05, "latency_s": 0.35, "cost_usd": 3e-6}
PLAN = Plan(
    model="alexnet", w=0.5, cut=1, codec="raw", **FORECAST, layer=1, request_bytes=10.0, after="conv", planning_s=1e-4,
    observation={"clock_mhz": 1500.0, "bandwidth_kbps": 9000.0, "ping_ms": None}, based_on={},
    rows=tuple(
        PlanRow(cut=cut, codec=codec, layer=cut, request_bytes=10.0, **FORECAST | {"edge_s": 0.1 * cut})
        for cut in (0, 1) for codec in ("raw", "fp16")
    ),
)  # fmt: skip
SUMMARY = Summary(
    model="mnist", requests=2, skipped=0, stopped_early=False, wall_s=1.0, latency_s=Latency(0.2, 0.2, 0.2),
    cost_usd=Cost(2e-6, 1e-6), cuts={"1": 2}, switches=0, finished_by={"cloud": 2}, fallbacks=0,
    prediction_error=PredictionError(None, 0.1), right=197, graded=200, accuracy=0.985,
)  # fmt: skip
OBSERVED = Telemetry(
    clock_mhz=900.0, bandwidth_kbps=9000.0, ping_ms=20.0, at_s=99.0, source={}, age_s={}, missing={}
)  # fmt: skip
RECORD = Record(
    n=0, at_s=100.0, file="7.png", class_=7, label="7", request_id="a", cut=1, codec="raw", finished_by="cloud",
    fallback="", edge_s=0.1, link_s=0.05, cloud_s=0.05, latency_s=0.2, cost_usd=1e-6, sent_bytes=9, predicted={},
    decision=RecordedDecision(cut=1, codec="raw", reason="", weight=0.5, planning_s=1e-4, observation=OBSERVED),
)  # fmt: skip


class Page(html.parser.HTMLParser):
    """Tags that open and do not close, ids, links, and what would be fetched."""

    VOID = frozenset({"meta", "br", "path", "use", "rect", "circle", "link", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.fetched, self.text = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        for name in ("href", "xlink:href", "src"):
            if name in values:
                (self.links if values[name].startswith("#") else self.fetched).append(values[name])
        assert tag not in {"script", "iframe", "object"}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def runs(simulation, write_run, sweep_file, tmp_path_factory):
    """One of everything that verbs write."""
    runs = tmp_path_factory.mktemp("made") / "runs"
    paper = simulation()
    dwelt = [
        msgspec.structs.replace(one, dwell=ticks, switches_per_100=50.0 / ticks, latency_s=one.latency_s * 1.02)
        for one in paper.series
        if one.planner
        for ticks in (2, 5)
    ]
    write_run(simulation(series=paper.series + tuple(dwelt)), runs / "paper")
    default = {"edge": "profile", "link": "round_trip", "cloud": "profile"}
    # Samples are not kept here: to draw them takes most of a report's time.
    faster = tuple(msgspec.structs.replace(one, latency_s=one.latency_s / 1.25, picks=()) for one in paper.series)
    title = "default <b>policy</b> & more, $x_1^$ each"
    write_run(simulation(title=title, policy=default, claims=(), series=faster), runs / "default")
    for job, w in enumerate((0.0, 0.5, 1.0)):
        one = simulation(weights=(w,), title="swept", claims=(), cost="owned")
        unkept = tuple(msgspec.structs.replace(row, picks=()) for row in one.series)
        write_run(msgspec.structs.replace(one, series=unkept), runs / f"sweep/{job}")
    result = {"algorithm1": {"latency_s": 0.2, "cost_usd": 1e-6}}
    jobs = [{"overrides": [f"w={w}"], "result": result} for w in (0.0, 0.5, 1.0)]
    sweep_file(runs / "sweep", [*jobs, {"overrides": ["w=2"], "status": "failed", "error": "ConfigError: w is 2"}])
    write_fit(fit([find_profile("pi4", "edge", name) for name in ("alexnet", "mnist")], 0), runs / "fit.json")
    write_fit(find_fit("pi4"), runs / "without_points/fit.json")
    write_plan(runs / "plan.json", PLAN)
    write_summary(runs / "summary.json", SUMMARY)
    records = (msgspec.structs.replace(RECORD, n=as_number, at_s=100.0 + as_number) for as_number in (0, 1))
    (runs / "results.jsonl").write_bytes(b"".join(map(json_line, records)))
    return runs


@pytest.fixture(scope="module")
def report(runs):
    """Where the report of `runs` was written."""
    out = runs.with_name("report")
    assert main([str(runs), "--out", str(out), "--title", "All <of> it"]) == 0
    return out


def tables(section):
    """All tables below a section of the JSON, by (section, table)."""
    found = {(section["key"], key): rows for key, rows in section["tables"].items()}
    for inside in section["sections"]:
        found |= tables(inside)
    return found


def test_the_page_stands_alone(report):
    text = (report / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.fetched == []
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert text.count("<svg") == len(list((report / "figures").glob("*.svg")))


def test_what_others_wrote_is_escaped(report):
    text = (report / "report.html").read_text()
    assert "<title>All &lt;of&gt; it</title>" in text
    assert "default &lt;b&gt;policy&lt;/b&gt; &amp; more" in text
    assert "<b>" not in text
    assert "default \\<b\\>policy" in (report / "report.md").read_text()


def test_the_same_runs_give_the_same_bytes_wherever_they_lie(runs, tmp_path):
    once, again = (tmp_path / name for name in ("once", "again"))
    for out in (once, again):
        moved = shutil.copytree(runs / "sweep", tmp_path / f"for {out.name}/sweep")
        assert main([str(moved), "--out", str(out), "--title", "The same"]) == 0
    files = sorted(path.relative_to(once) for path in once.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert {path.suffix for path in files} == {".html", ".json", ".md", ".png", ".svg"}
    assert [path for path in files if (once / path).read_bytes() != (again / path).read_bytes()] == []


def test_every_figure_is_there_twice_and_shown_once(report):
    names = {path.stem for path in (report / "figures").iterdir()}
    assert {path.name for path in (report / "figures").iterdir()} == {
        f"{n}.{kind}" for n in names for kind in ("png", "svg")
    }
    text, page = (report / "report.md").read_text(), Page((report / "report.html").read_text())
    for name in names:
        assert text.count(f"](figures/{name}.png)") == 1
        assert f"figure-{name}" in page.ids
    assert {"claims", "planners", "policies-1", "errors", "sweep-1", "fit-1", "fit-2", "plan-1", "stream-1"} <= names


def test_numbers_of_the_tables(report):
    numbers = json.loads((report / "report.json").read_text())
    found = {key: rows for section in numbers["sections"] for key, rows in tables(section).items()}
    (claim,) = [row for row in found["reproduction", "claims"] if row["where"] == "Figure 6"]
    assert claim["published_percent"] == -65.53
    assert claim["off_points"] == pytest.approx(0.43)
    assert claim["population_percent"] == {"mean": -66.0, "p5": -69.0, "p95": -61.0}
    assert claim["verdict"] == "reproduced"
    assert numbers["verdicts"] == {"reproduced": 1, "shape only": 2}
    # The default policy's latencies were made 1.25 times shorter, its costs left alone.
    losses = {row["policy"]: row for row in found["policies-1", "policies"] if row["strategy"] == "algorithm1"}
    paper = losses["paper (power_law, eq3, linear)"]
    assert paper["latency_loss_percent"] == pytest.approx(25.0)
    assert paper["cost_loss_percent"] == pytest.approx(0.0)
    assert losses["default (profile, round_trip, profile)"]["latency_loss_percent"] == 0.0
    dwell = [row for row in found["dwell", "dwell"] if row["planner"] == "weighted_sum"]
    assert [(row["dwell"], row["switches_per_100"]) for row in dwell] == [(0, 50.0), (2, 25.0), (5, 10.0)]
    assert [row["latency_change_percent"] for row in dwell] == pytest.approx([0.0, 2.0, 2.0])
    assert "for at least the given number of planning steps" in (report / "report.md").read_text()
    assert found["sweep-1", "jobs"][-1]["error"] == "ConfigError: w is 2"
    assert found["streams", "streams"][0]["accuracy"] == 0.985
    assert found["plans", "plans"][0]["codec"] == "raw"


def test_all_forms_say_the_same(report):
    text, page = (report / "report.md").read_text(), "".join(Page((report / "report.html").read_text()).text)
    for written in ("−65.53", "−66.00 [−69.00, −61.00]", "+25.00", "98.5 %", "ConfigError: w is 2", "Raspberry Pi 4"):
        assert written in page
        assert written.replace("[", "\\[").replace("]", "\\]") in text
    # A pipe table: as many cells in every row as in its head.
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_samples_are_drawn_as_what_they_are(simulation, write_run, tmp_path):
    many = 40
    long = [
        msgspec.structs.replace(
            one,
            picks=one.picks * 10,
            sample_latency_s=one.sample_latency_s * 10,
            sample_cost_usd=one.sample_cost_usd * 10,
        )
        for one in simulation().series
    ]  # fmt: skip
    clocks = (600.0, 900.0, 1200.0, 1500.0)
    write_run(simulation(clock_mhz=clocks, bandwidth_kbps=(9000.0,) * 4), tmp_path / "runs/clocks")
    write_run(simulation(time_s=(0.0, 1.0, 2.0, 3.0)), tmp_path / "runs/trace")
    no_telemetry = {"clock_mhz": (), "bandwidth_kbps": (), "ping_ms": ()}
    write_run(simulation(samples=many, series=tuple(long), **no_telemetry), tmp_path / "runs/many")
    coded = [
        msgspec.structs.replace(one, codecs=("raw" if one.picks[0] == 3 else "fp16", "raw", "raw", "raw"))
        for one in simulation().series
    ]  # fmt: skip
    offered = {"cuts": (0, 0, 1, 1, 3), "codecs": ("raw", "fp16", "raw", "fp16", "raw")}
    columns = {"layers": (0, 0, 1, 1, 3), "after": ("input", "input", "conv", "conv", "fc")}
    write_run(simulation(series=tuple(coded), **offered, **columns), tmp_path / "runs/coded")
    no_clock = {"time_s": (0.0, 1.0, 2.0, 3.0), "clock_mhz": ()}
    write_run(simulation(**no_clock), tmp_path / "runs/no_clock")
    write_run(
        simulation(series=tuple(msgspec.structs.replace(one, picks=()) for one in simulation().series)),
        tmp_path / "runs/unkept",
    )
    report = make_report(read_results([tmp_path / "runs"]))
    (simulations,) = [section for section in report.sections if section.key == "simulations"]
    drawn = {
        section.facts["folder"]: next((p for p in section.pictures if p.name.endswith("samples")), None)
        for section in simulations.sections
    }
    assert drawn["clocks"].caption.startswith("Over the clock at w = 0.5")
    assert drawn["clocks"].figure.axes[-1].get_xlabel() == "clock [MHz]"
    assert drawn["clocks"].figure.axes[0].lines[0].get_xdata().tolist() == list(clocks)
    assert drawn["trace"].figure.axes[-2].get_xlabel() == "time [s]"
    assert drawn["many"].caption.startswith("Distribution over the 40 samples")
    shares = drawn["many"].figure.axes  # of latency, cost and cut
    shares[0].figure.canvas.draw()
    assert [axes.get_ylabel() for axes in shares] == ["share of samples [%]", "", "share of samples [%]"]
    assert [axes.get_yticklabels()[-1].get_text() for axes in shares[:2]] == ["100", "100"]
    assert sum(bar.get_height() for bar in shares[2].patches) == pytest.approx(100.0 * len(shares[0].lines))
    assert drawn["unkept"] is None
    assert drawn["no_clock"].figure.axes[-2].get_xlabel() == "time [s]"
    by_codec = drawn["coded"].figure.axes[3]
    assert [text.get_text() for text in by_codec.get_yticklabels()] == ["0 fp16", "0 raw", "1 fp16", "1 raw", "3 raw"]
    assert by_codec.lines[0].get_ydata().tolist() == [4, 3, 4, 3]  # latency-optimal: 3 raw, 1 raw, 3 raw, 1 raw
    facts = {section.facts["folder"]: section.facts["model"] for section in simulations.sections}
    assert facts["coded"] == "alexnet, 3 cuts on offer, sent as raw, fp16: 5 placements"
    assert facts["trace"] == "alexnet, 3 cuts on offer"
    # Both planners pick the same cuts, and are drawn once, under both names.
    names = [text.get_text() for text in drawn["clocks"].figure.legends[0].get_texts()]
    assert names == ["latency-optimal", "cost-optimal", "Algorithm 1 = weighted sum"]
    assert drawn["clocks"].figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx([100.0, 200.0, 100.0, 200.0])


def test_a_predictor_that_is_off_by_infinity_is_null(simulation, write_run, tmp_path):
    error = PartError("edge", float("inf"), float("inf"), float("nan"))
    write_run(simulation(errors=(error, PartError("link", 0.1, 0.2, 0.0))), tmp_path / "run")
    assert read_simulation(tmp_path / "run/simulation.json").errors[0].mape is None
    assert main([str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0


def test_a_constant_cut_and_missing_telemetry_are_drawn_plainly():
    unknown = msgspec.structs.replace(OBSERVED, clock_mhz=None, bandwidth_kbps=None, ping_ms=None)
    decision = msgspec.structs.replace(RECORD.decision, observation=unknown)
    figure = draw_streams({"mnist": [msgspec.structs.replace(RECORD, decision=decision, cost_usd=0.0)]})
    bandwidth, ping, cut, _, cost, clock = figure.axes
    low, high = cut.get_ylim()
    assert [tick for tick in cut.get_yticks() if low <= tick <= high] == [1.0]
    assert cost.get_ylim() == (0.0, 1.0)
    for axes in (bandwidth, ping, clock):
        assert axes.get_ylabel().endswith("unknown")
        assert axes.get_yticks().tolist() == []


def test_requests_that_overtook_one_another_are_drawn_in_order_of_their_answers():
    records = [msgspec.structs.replace(RECORD, n=number, at_s=at_s) for number, at_s in enumerate((3.0, 1.0, 2.0))]
    *_, cost, _ = draw_streams({"mnist": records}).axes
    assert cost.lines[0].get_xdata().tolist() == [0.0, 1.0, 2.0]
    assert cost.get_xlim() == (-0.02, 2.02)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kbps", [(0.0, 5000.0), (0.0, 0.0)])
def test_an_outage_leaves_the_other_bandwidths_their_axis(kbps):
    records = []
    for number, bandwidth_kbps in enumerate(kbps):
        seen = msgspec.structs.replace(OBSERVED, bandwidth_kbps=bandwidth_kbps)
        decision = msgspec.structs.replace(RECORD.decision, observation=seen)
        records.append(msgspec.structs.replace(RECORD, n=number, at_s=RECORD.at_s + number, decision=decision))
    low, high = draw_streams({"mnist": records}).axes[0].get_ylim()
    assert (low, high) == ((5.0 / 1.5, 7.5) if any(kbps) else (0.0, 1.0))


def test_three_tiers_are_drawn_with_both_cuts_and_every_part():
    seen = msgspec.structs.replace(OBSERVED, others={"second_bandwidth_kbps": 2000.0, "second_ping_ms": 40.0})
    decision = msgspec.structs.replace(RECORD.decision, observation=seen)
    parts = {"relay_s": 0.03, "second_link_s": 0.02}
    passed_on = msgspec.structs.replace(RECORD, decision=decision, second_cut=3, second_codec="raw", **parts)
    ended = msgspec.structs.replace(passed_on, at_s=101.0, second_cut=UNSET, predicted={"second_cut": 5})
    bandwidth, ping, cut, latency, *_ = draw_streams({"mnist": [passed_on, ended]}).axes
    assert [line.get_ydata().tolist() for line in cut.lines] == [[1.0, 1.0], [3.0, 5.0]]
    assert [line.get_ydata()[0] for line in (*bandwidth.lines, *ping.lines)] == [9.0, 2.0, 20.0, 40.0]
    labels = latency.get_legend_handles_labels()[1]
    assert [label for label in labels if label not in {"measured", "predicted"}] == [
        "edge", "link", "relay", "second link", "cloud",
    ]  # fmt: skip
    tops = [layer.get_paths()[0].vertices[:, 1].max() for layer in latency.collections]
    np.testing.assert_allclose(tops, [100.0, 150.0, 180.0, 200.0, 250.0])


def test_a_plan_of_three_tiers_shades_the_pair_that_was_picked():
    more = {"relay_s": 0.02, "second_link_s": 0.04}
    rows = tuple(
        PlanRow(cut=first, codec="raw", layer=first, request_bytes=9.0, second_cut=second, second_codec="raw",
                **FORECAST | more)
        for first in range(3) for second in range(first, 3)
    )  # fmt: skip
    plan = msgspec.structs.replace(PLAN, cut=1, codec="raw", second_cut=2, second_codec="raw", rows=rows, **more)
    latency, cost = draw_plan(plan).axes
    bars = [patch for patch in latency.patches if patch.get_label() != "picked"]
    (shaded,) = (patch for patch in latency.patches if patch.get_label() == "picked")
    assert (shaded.get_x(), shaded.get_width()) == pytest.approx((3.5, 1.0))
    assert cost.get_xlabel().endswith("picked: 1, 2")
    assert [text.get_text() for text in cost.get_xticklabels()] == ["0", "1", "2"]
    total_s = sum(FORECAST[name] for name in ("edge_s", "link_s", "cloud_s")) + 0.06
    assert max(bar.get_y() + bar.get_height() for bar in bars) == pytest.approx(1e3 * total_s)


def test_picks_on_three_tiers_are_pairs(simulation):
    made = simulation()
    series = tuple(
        msgspec.structs.replace(each, second_picks=tuple(pick + 1 for pick in each.picks)) for each in made.series
    )
    figure, _ = draw_samples(msgspec.structs.replace(made, series=series))
    names = {text.get_text() for text in figure.axes[3].get_yticklabels()}
    assert names == {"0, 1", "1, 2", "3, 4"}


def test_every_axis_is_named_with_its_unit(runs):
    for picture in make_report(read_results([runs])).pictures():
        for axes in picture.figure.axes:
            labels = [axes.get_xlabel(), axes.get_ylabel()]
            assert any(labels), picture.name


def test_words():
    assert [as_number(value) for value in (0.0, 0.00123456, 12.3456, 1234.56, 123456.7, 1e12, 3e-7)] == [
        "0", "0.001235", "12.35", "1,235", "123,457", "1.000e+12", "3.000e-07",
    ]  # fmt: skip
    assert [as_number(9999.7), as_number(999.7, 3), as_number(-9.9999e-5)] == ["10,000", "1,000", "-0.0001"]
    assert policy_label({"edge": "power_law", "link": "eq3", "cloud": "linear"}) == "paper (power_law, eq3, linear)"
    assert policy_label({"edge": "mine", "link": "eq3", "cloud": "linear"}) == "mine, eq3, linear"
    text = settings_text(
        {"seed": 3, "clock_mhz": {"kind": "normal", "mean": 1e3, "values": [], "unit": 1.0}, "step_s": None}
    )
    assert text == "seed 3, clock_mhz normal (mean 1000)"
    left_over = {"kind": "uniform", "low": 2.0, "high": 30.0, "mean": 9, "unit": 1000.0, "value": 120.0}
    assert settings_text({"bandwidth_kbps": left_over, "others": {}}) == "bandwidth_kbps uniform (low 2, high 30)"


def test_sections_side_by_side_have_titles_of_their_own(simulation, write_run, tmp_path):
    runs = [("owned", "power_law"), ("rented", "power_law"), ("rented", "profile"), ("rented", "profile")]
    for place, (cost, edge) in enumerate(runs):
        policy = {"edge": edge, "link": "eq3", "cloud": "linear"}
        write_run(simulation(title="alexnet", cost=cost, policy=policy), tmp_path / f"run{place}")
    report = make_report(read_results([tmp_path]))
    for section in report.sections:
        titles = [inside.title for inside in section.sections]
        assert len(set(titles)) == len(titles)


def claim(simulated, published):
    return ReproductionRow("Figure", "cost", published, simulated, None, Verdict.missed, "")


def test_a_ratio_of_0_is_on_the_axis():
    assert ratio_panel("", "", {"": [Dot(1.0), Dot(9.0, 1.0, 12.0), None]}).log
    assert not ratio_panel("", "", {"": [Dot(0.0), Dot(1.0), Dot(9.0)]}).log


def test_one_far_number_does_not_squeeze_the_others_and_is_written_down():
    near = [claim(value, value + 1.0) for value in (-65.0, -30.0, 3.0, 12.0, 20.0, 35.0, 41.0, 42.0)]
    with figure_style():
        axes = draw_claims([*near, claim(1189.0, 3.0), claim(-900.0, 3.0)]).axes[0]
        plain = draw_claims(near).axes[0]
    low, high = axes.get_xlim()
    assert -150 < low < -65
    assert 42 < high < 150
    assert [text.get_text() for text in axes.texts] == ["chosen seed +1,189 % →", "← chosen seed -900 %"]
    assert not plain.texts
