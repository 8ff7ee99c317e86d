"""Evaluations: written and read back, one line for what is wrong with one, and what a report makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from midcut.cli.verbs.report import main
from midcut.errors import FileError
from midcut.reporting.figures_evaluation import draw_evaluation_figure, has_values
from midcut.reporting.load import read_results
from midcut.reporting.report import make_report
from midcut.reporting.series_style import SeriesStyles
from midcut.reporting.style import BLACK, BLUE, COLOURS, GREEN, RED
from midcut.results.evaluation import Axis, Evaluation, Figure, Series, Table, read_evaluation, write_evaluation

MODELS = ("alexnet", "vgg16", "resnet18", "mobilenet_v2")
MS = Axis("measured [ms]", log=True)
BED = {
    "link": "tun",
    "slow_start_after_idle": False,
    "max_clock_mhz": 1500.0,
    "calibration": [{"what": "rate", "off_percent": 0.25}, {"what": "delay", "off_percent": 1.5}],
    "notes": ["A time share makes latency follow 1/f."],
}


def scatter():
    """Four models under two policies; measured 10, 100, 1000 ms."""
    ms = (10.0, 100.0, 1000.0)
    series = [
        Series(f"{model}, {policy}", ms, [one * off for one in ms])
        for model in MODELS
        for policy, off in (("default", 1.0), ("paper", 2.0))
    ]
    return Figure("scatter", "Predicted against measured.", MS, Axis("predicted [ms]", log=True), series, diagonal=True)


def bars(**more):
    low, high = (1.0, 2.0), (5.0, None)
    series = [Series("default", ("edge", "link"), (3.0, -4.0), low, high, kind="bars")]
    series += [Series("paper", ("edge", "link"), (6.0, 8.0), kind="bars"), Series("published", ("link",), (7.0,))]
    return Figure("bars", "By part.", Axis("part"), Axis("error [%]"), series, **more)


def lines(names, count=50, kind="line"):
    time_s = np.arange(float(count))
    series = [Series(name, time_s, 100.0 + place + time_s, kind=kind) for place, name in enumerate(names)]
    return Figure("lines", "Over time.", Axis("time [s]"), Axis("latency [ms]"), series)


def drawn(figure, *others):
    return draw_evaluation_figure(figure, SeriesStyles([figure, *others]))


def legend(figure):
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def of(axes, name):
    """The line or dots of this name."""
    (found,) = [line for line in axes.lines if line.get_label() == name]
    return found


def test_numpy_and_gaps_are_written_and_read_back(tmp_path):
    series = Series("a", np.arange(3), np.array([1.5, np.nan, 2.0]), low=[1, None, 2], high=[2, None, 3], kind="step")
    figure = Figure("a-1", "t", Axis("x"), Axis("y", log=True), [series])
    table = Table("t", ["a", "b [ms]"], [["x", np.float64(0.5)], [np.int64(3), float("nan")]])
    made = Evaluation("t", ["n"], {"trace": Path("a/b")}, [table], [figure], {"m": np.float32(0.5), "none": np.nan})
    path = write_evaluation(tmp_path / "made/here", made)
    read = read_evaluation(path)
    assert path == tmp_path / "made/here/evaluation.json"
    assert read.tables[0].rows == [["x", 0.5], [3, None]]
    assert read.figures[0].series[0].x == [0, 1, 2]
    assert read.figures[0].series[0].y == [1.5, None, 2.0]
    assert read.values == {"m": 0.5, "none": None}
    assert read.bed == {"trace": "a/b"}
    assert json.loads(path.read_text())["format"] == "midcut-evaluation/1"
    write_evaluation(path.parent, Evaluation("again"))
    assert read_evaluation(path).title == "again"
    assert [one.name for one in path.parent.iterdir()] == ["evaluation.json"]  # no half-written file stays


def one_figure(**changes):
    series = {"name": "a", "x": [1], "y": [2]} | changes.pop("series", {})
    figure = {"name": "a", "title": "", "x": {"label": "x"}, "y": {"label": "y"}, "series": [series]} | changes
    return {"title": "t", "figures": [figure]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON (Input data was truncated)"),
        ({"titel": "t"}, "Object contains unknown field `titel`"),
        ({}, "Object missing required field `title`"),
        ({"title": "t", "format": "midcut-evaluation/9"}, "$.format is 'midcut-evaluation/9', this version reads"),
        ({"title": "t", "values": {"a": "b"}}, "Expected `float | null`, got `str` - at `$.values[...]`"),
        (one_figure(series={"kind": "pie"}), "Invalid enum value 'pie' - at `$.figures[0].series[0].kind`"),
        (one_figure(series={"y": []}), "$.figures[0].series[0].y has 0 entries for 1 of x"),
        (one_figure(series={"low": [1]}), "$.figures[0].series[0].low and high: give both or neither"),
        (one_figure(series={"x": ["b"]}, diagonal=True), "$.figures[0].diagonal: there is no line y = x where x are"),
        (one_figure(name="../a"), "$.figures[0].name: '../a' is no file stem"),
        (one_figure() | {"figures": one_figure()["figures"] * 2}, "$.figures[1].name: 'a' is taken by another figure"),
        ({"title": "t", "tables": [{"title": "", "columns": ["a"], "rows": [[1], [1, 2]]}]},
         "$.tables[0].rows[1] has 2 cells for 1 columns"),
        ({"title": "t", "tables": [{"title": "", "columns": ["a", "a"], "rows": []}]}, "columns: names must differ"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, capsys, content, message):
    path = tmp_path / "evaluation.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(FileError) as raised:
        read_evaluation(path)
    assert str(raised.value).startswith(f"evaluation {path}: ")
    assert message in str(raised.value)
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"midcut report: {raised.value}\n"


def test_what_could_not_be_read_is_not_written(tmp_path):
    wrong = Figure("a", "", Axis("x"), Axis("y"), [Series("a", (1.0, 2.0), (1.0,))])
    for one in (Evaluation("t", figures=[wrong]), Evaluation("t", values={"a": "b"}), Evaluation("t", bed={"a": {1j}})):
        with pytest.raises(FileError, match=r"evaluation\.json not written: "):
            write_evaluation(tmp_path, one)
    assert list(tmp_path.iterdir()) == []


def test_every_evaluation_below_is_a_section(tmp_path):
    table = Table(
        "Errors <of> all", ["model", "error [%]", "n", ""], [["a", 12.34567, 84000, "  "], ["b", None, 2, "x"]]
    )
    empty = Figure("empty", "To come.", Axis("x"), Axis("y"), [Series("a", [], [])])
    whole = Evaluation("Matrix", ["First.", "Second."], BED, [table], [bars(), empty])
    write_evaluation(tmp_path / "runs/matrix", whole)
    two = {"fast": BED | {"link": "tbf"}, "slow": BED}
    write_evaluation(tmp_path / "runs/trace/deep", Evaluation("Trace", bed=two))
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out/figures").iterdir()} == {
        "evaluation-1-bars.png", "evaluation-1-bars.svg",
    }  # fmt: skip
    text, page = ((tmp_path / "out" / name).read_text() for name in ("report.md", "report.html"))
    assert "Made from 2 evaluations." in page
    for said in (
        "First.",
        "Second.",
        "Errors &lt;of&gt; all",
        "Nothing to draw yet: To come.",
        'id="figure-evaluation-1',
    ):
        assert said in page
    assert "| a | 12.35 | 84,000 | – |" in text
    assert "| b | – | 2 | x |" in text
    assert "- slow start after idle: no\n- max clock mhz: 1,500\n" in text
    assert "| delay | 1.5 |" in text
    assert "- A time share makes latency follow 1/f." in text
    assert "- link: fast: tbf; slow: tun\n- slow start after idle: no\n" in text
    (section,) = json.loads((tmp_path / "out/report.json").read_text())["sections"]
    matrix, trace = section["sections"]
    assert matrix["tables"]["table-1"][0] == {"model": "a", "error_percent": 12.34567, "n": 84000, "column_4": None}
    assert matrix["tables"]["bed-calibration"][1] == {"what": "delay", "off_percent": 1.5}
    assert trace["facts"]["folder"] == "trace/deep"


def test_many_series_are_spread_over_panels_that_share_their_axes():
    figure = drawn(scatter())
    default, paper = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["default", "paper"]
    assert legend(figure) == list(MODELS)
    assert of(default, "vgg16").get_ydata().tolist() == [10.0, 100.0, 1000.0]
    assert of(paper, "vgg16").get_ydata().tolist() == [20.0, 200.0, 2000.0]
    assert of(default, "vgg16").get_color() == of(paper, "vgg16").get_color()
    assert len({of(paper, model).get_color() for model in MODELS}) == 4
    assert len({of(paper, model).get_marker() for model in MODELS}) == 4


def test_the_diagonal_spans_both_axes():
    for axes in drawn(scatter()).axes:
        (diagonal,) = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert diagonal.get_xdata().tolist() == diagonal.get_ydata().tolist()
        assert axes.get_xlim() == axes.get_ylim() == pytest.approx((10.0 / 1.25, 2000.0 * 1.25))
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_bars_stand_side_by_side_with_their_intervals():
    (axes,) = drawn(bars()).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["edge", "link"]
    default, paper = axes.containers
    assert [bar.get_height() for bar in default] == [3.0, -4.0]
    assert [bar.get_x() + bar.get_width() / 2 for bar in default] == pytest.approx([-0.2, 0.8])
    assert [bar.get_x() + bar.get_width() / 2 for bar in paper] == pytest.approx([0.2, 1.2])
    (whiskers,) = axes.collections
    ends = [segment[:, 1].tolist() for segment in whiskers.get_segments() if len(segment)]
    assert ends == [[1.0, 5.0]]  # one of the two bars has an interval
    assert [text.get_text() for text in axes.texts] == ["3", "−4", "6", "8"]
    dots = of(axes, "published")
    assert (dots.get_xdata().tolist(), dots.get_ydata().tolist()) == ([1.0], [7.0])
    assert (dots.get_color(), dots.get_markerfacecolor()) == (BLACK, "none")
    assert set(legend(axes.figure)) == {"default", "paper", "published"}


def test_a_name_looks_the_same_in_all_figures_and_strategies_as_everywhere():
    first, second = lines(["dynamic", "edge only", "oracle", "latency-optimal"]), lines(["static best", "dynamic"])
    (one,), (other,) = drawn(first, second).axes, drawn(second, first).axes
    assert of(one, "dynamic").get_color() == of(other, "dynamic").get_color() == RED  # blue is latency-optimal's
    assert of(one, "latency-optimal").get_color() == COLOURS["latency_optimal"] == BLUE
    assert of(one, "edge only").get_color() == COLOURS["edge_only"]
    assert of(other, "static best").get_color() == COLOURS["static_best"]
    halves = lines(["alexnet, edge only", "alexnet, dynamic"])
    (axes,) = drawn(halves, second).axes
    assert of(axes, "edge only").get_color() == COLOURS["edge_only"]  # all are alexnet's: that tells nothing
    # Two models, two ways: the model has the colour, the way the dashes.
    (axes,) = drawn(lines([f"{model}, {way}" for model in ("a", "b") for way in ("live", "told")])).axes
    looks = [(line.get_color(), line.get_linestyle()) for line in axes.lines]
    assert [colour for colour, _ in looks] == [BLUE, BLUE, RED, RED]
    assert len(set(looks)) == 4


def test_lines_over_time_are_stacked_where_there_are_many():
    ways = ("dynamic", "edge only", "cloud only", "oracle")
    figure = drawn(lines([f"{model}, {way}" for model in ("alexnet", "vgg16") for way in ways], kind="step"))
    top, bottom = figure.axes
    assert [top.get_title(), bottom.get_title()] == ["alexnet", "vgg16"]
    assert (top.get_xlabel(), bottom.get_xlabel()) == ("", "time [s]")
    assert top.get_ylabel() == bottom.get_ylabel() == "latency [ms]"
    assert sorted(legend(figure)) == sorted(ways)
    assert of(top, "oracle").get_drawstyle() == "steps-post"


def test_a_band_is_drawn_around_a_line_and_gaps_are_left():
    x, y = (0.0, 1.0, 2.0), (1.0, None, 3.0)
    figure = Figure("a", "", Axis("x"), Axis("y"), [Series("a", x, y, (0.5, None, 2.0), (2.0, None, 4.0), "line")])
    (axes,) = drawn(figure).axes
    assert np.isnan(axes.lines[0].get_ydata()).tolist() == [False, True, False]
    assert len(axes.collections) == 1
    assert not axes.figure.legends  # one name says nothing


def test_more_series_than_colours_still_differ():
    (axes,) = drawn(lines([f"run {place}" for place in range(12)])).axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 12
    assert GREEN in {line.get_color() for line in axes.lines}


def test_a_series_without_a_name_is_drawn():
    (axes,) = drawn(lines(["", "mnist, paper"])).axes
    assert [line.get_ydata()[0] for line in axes.lines] == [100.0, 101.0]


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [(0.0, 0.0), (-1.0, 2.0), (None, 5.0), (1e-9, 1e9)])
def test_odd_numbers_are_drawn(tmp_path, diagonal, log, values):
    axis = Axis("all [1]", log=log)
    figure = Figure(
        "a", "", axis, axis, [Series("a", values, values), Series("b", values, values, kind="step")], diagonal
    )
    assert has_values(figure)
    drawn(figure).savefig(tmp_path / "a.png")


def test_the_page_has_its_figures_in_order(tmp_path):
    for name in ("b", "a"):
        write_evaluation(tmp_path / name, Evaluation(name, figures=[bars(), scatter()]))
    report = make_report(read_results([tmp_path]))
    assert [picture.name for picture in report.pictures()] == [
        "evaluation-1-bars", "evaluation-1-scatter", "evaluation-2-bars", "evaluation-2-scatter",
    ]  # fmt: skip
    assert [one.title for one in report.sections[0].sections] == ["a", "b"]
