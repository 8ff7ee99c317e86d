from __future__ import annotations

import asyncio
import json
import tracemalloc

import msgspec
import numpy as np
import pytest

from midcut.config.settings import InputFolder
from midcut.edge.dwelling import PlanningCounts
from midcut.edge.frontend import summary as summary_module
from midcut.edge.frontend.arrivals import files_in_turn
from midcut.edge.frontend.folder import image_files, read_labels
from midcut.edge.frontend.stream import StreamOutcome, stream
from midcut.edge.frontend.summary import Distribution, StreamTotals, summarise, summary_table
from midcut.errors import ConfigError, FileError
from midcut.results.stream import Record, read_records


@pytest.fixture
def photos(tmp_path, images):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(images(number))
    (folder / "notes.txt").write_text("not an image")
    return folder


def run_stream(make_engine, model, settings, results, stop=None):
    async def go():
        engine = make_engine()
        await engine.start()
        try:
            return await stream(engine, model, settings, results, stop or asyncio.Event())
        finally:
            await engine.close()

    return asyncio.run(go())


def test_every_image_is_one_line_in_order_of_names(make_engine, tiny_model, photos, tmp_path, expected_class):
    done = run_stream(make_engine, tiny_model, InputFolder(path=str(photos)), tmp_path / "r.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert done.totals.answered == 4
    assert [line["file"] for line in lines] == [str(photos / f"{number}.png") for number in range(4)]
    assert [line["class"] for line in lines] == [expected_class((photos / f"{n}.png").read_bytes()) for n in range(4)]
    assert [line["n"] for line in lines] == [0, 1, 2, 3]
    assert {line["cut"] for line in lines} == {4}
    assert lines[0]["decision"]["weight"] == 0.25
    assert lines[0]["predicted"]["latency_s"] == pytest.approx(0.006)


def test_whatever_telemetry_gives_is_recorded(make_engine, tiny_model, photos, tmp_path):
    seen = {"ping_ms": 1.0, "cloud_load": 0.5, "second_ping_ms": 7.0}
    run_stream(lambda: make_engine(seen=seen), tiny_model, InputFolder(path=str(photos), limit=1), tmp_path / "r.jsonl")
    (record,) = read_records(tmp_path / "r.jsonl")
    observed = record.decision.observation
    assert (observed.ping_ms, observed.bandwidth_kbps) == (1.0, None)
    assert observed.others == {"cloud_load": 0.5, "second_ping_ms": 7.0}


def test_repeat_limit_and_pattern(make_engine, tiny_model, photos, tmp_path):
    given = InputFolder(path=str(photos), repeat=3, limit=7, pattern="[012].png")
    done = run_stream(make_engine, tiny_model, given, tmp_path / "r.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [line["file"][-5] for line in lines] == list("0120120")
    assert done.totals.answered == 7


def test_an_unreadable_image_is_skipped_and_counted(make_engine, tiny_model, photos, tmp_path, capsys):
    (photos / "1.png").write_bytes(b"\x89PNG broken")
    done = run_stream(make_engine, tiny_model, InputFolder(path=str(photos)), tmp_path / "r.jsonl")
    assert (done.totals.answered, done.skipped) == (3, 1)
    assert "1.png" in capsys.readouterr().out


def test_right_answers_are_counted_by_class_or_by_label(make_engine, tiny_model, photos, tmp_path, expected_class):
    right = [expected_class((photos / f"{n}.png").read_bytes()) for n in range(4)]
    labels = tmp_path / "labels.csv"
    labels.write_text(f"file,label\n0.png,{right[0]}\n1.png,label {right[1]}\n2.png,no such\n")
    done = run_stream(make_engine, tiny_model, InputFolder(path=str(photos), labels=str(labels)), tmp_path / "r.jsonl")
    lines = read_records(tmp_path / "r.jsonl")
    assert [line.right for line in lines] == [True, True, False, msgspec.UNSET]
    summary = summarise("tiny", done, PlanningCounts())
    assert (summary.right, summary.graded, summary.accuracy) == (2, 3, pytest.approx(2 / 3))


def test_a_rate_spaces_the_images(make_engine, tiny_model, photos, tmp_path):
    done = run_stream(make_engine, tiny_model, InputFolder(path=str(photos), rate_hz=10.0), tmp_path / "r.jsonl")
    assert done.totals.answered == 4
    assert done.wall_s >= 0.3  # the fourth image's turn


def test_told_to_stop_it_ends_with_what_was_done(make_engine, tiny_model, photos, tmp_path):
    class StopAfter(asyncio.Event):
        asked = 0

        def is_set(self):
            self.asked += 1
            return self.asked > 2

    done = run_stream(make_engine, tiny_model, InputFolder(path=str(photos)), tmp_path / "r.jsonl", StopAfter())
    assert (done.totals.answered, done.stopped) == (2, True)
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("given", "error", "part"),
    [
        ({"path": "/no/such/folder"}, FileError, "is not a folder"),
        ({"pattern": "*.tif"}, FileError, "no file that matches '*.tif'"),
        ({"pattern": "/etc/*"}, ConfigError, "input.pattern='/etc/*'"),
        ({"repeat": 0}, ConfigError, "at least 1"),
        ({"limit": 0}, ConfigError, "at least 1"),
        ({"rate_hz": 0.0}, ConfigError, "input.rate_hz must be over 0"),
    ],
)
def test_a_folder_that_cannot_be_streamed_says_why(photos, given, error, part):
    with pytest.raises(error) as caught:
        image_files(InputFolder(**{"path": str(photos)} | given))
    assert part in str(caught.value)


def test_an_empty_folder_says_so(tmp_path):
    with pytest.raises(FileError, match=r"holds no image \(.*\.jpg"):
        image_files(InputFolder(path=str(tmp_path)))


@pytest.mark.parametrize("text", ["", "name,class\na,1\n", "\xff\xfe"])
def test_a_label_file_without_its_header_says_so(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(FileError, match=r"input\.labels="):
        read_labels(str(path))


def record(cut, latency_s, *, predicted_s=None, finished_by="cloud", fallback="", cost_usd=2e-6, **others):
    predicted = {} if predicted_s is None else {"latency_s": predicted_s, "cost_usd": 1e-6}
    counted = {"cut": cut, "latency_s": latency_s, "finished_by": finished_by, "fallback": fallback}
    seconds = {"edge_s": 0.0, "link_s": 0.0, "cloud_s": 0.0}
    named = {"file": "0.png", "class_": 1, "label": "one", "request_id": "a", "codec": "raw", "sent_bytes": 0}
    fields = counted | seconds | named | {"predicted": predicted, "cost_usd": cost_usd} | others
    return Record(n=0, at_s=0.0, decision=None, **fields)


def outcome(records, **fields):
    done = StreamOutcome(**fields)
    for each in records:
        done.totals.add(each)
    return done


def test_a_file_that_was_removed_and_comes_again_is_taken_again(photos, images, monkeypatch):
    monkeypatch.setattr("midcut.edge.frontend.arrivals._LOOK_S", 0.001)

    async def go():
        taken, settings = [], InputFolder(path=str(photos), watch=True, limit=5)
        async for file in files_in_turn([photos / "0.png"], settings, asyncio.Event()):
            taken.append(file.name)
            file.unlink()
            if len(taken) == 4:
                (photos / "0.png").write_bytes(images(0))
        return taken

    taken = asyncio.run(go())
    assert (taken[0], taken[-1]) == ("0.png", "0.png")
    assert sorted(taken[1:-1]) == ["1.png", "2.png", "3.png"]


def test_a_summary_counted_by_hand():
    records = [
        record(3, 0.10, predicted_s=0.11),
        record(3, 0.20, predicted_s=0.10),
        record(5, 0.30, predicted_s=0.30),
        record(3, 0.40, predicted_s=0.10, finished_by="edge", fallback="no answer"),
        record(9, 0.50, finished_by="edge"),
    ]
    planning = PlanningCounts(steps=40, switches=3, held=2)
    summary = summarise("tiny", outcome(records, skipped=1, wall_s=2.0), planning)
    assert msgspec.to_builtins(summary.latency_s) == {"median": 0.3, "p95": pytest.approx(0.48), "max": 0.5}
    assert summary.cuts == {"3": 3, "5": 1, "9": 1}
    assert summary.switches == 3
    assert summary.finished_by == {"cloud": 3, "edge": 2}
    assert summary.fallbacks == 1
    # |0.11 - 0.10| / 0.10 = 0.1, |0.10 - 0.20| / 0.20 = 0.5, 0: the median of the three that went as predicted.
    error = summary.prediction_error
    assert (error.latency_s, error.cost_usd) == (pytest.approx(0.1), pytest.approx(0.5))
    assert (summary.cost_usd.total, summary.cost_usd.median) == (pytest.approx(1e-5), pytest.approx(2e-6))
    assert summary.accuracy is None
    table = summary_table(summary, "t")
    assert table.row_count == 9
    assert "40 steps, 3 switches, 2 switches held back" in list(table.columns[1].cells)


def test_a_cloud_that_was_never_reached_has_no_gains():
    others = {"edge-only": {"latency_s": 0.2, "cost_usd": 1e-6}}
    done = outcome([record(3, 0.1, predicted_s=0.1, fallback="wrong CA", alternatives=others)])
    assert set(summarise("tiny", done, PlanningCounts()).gains) == {"edge-only"}
    assert summarise("tiny", done, PlanningCounts(), cloud_never_reached="wrong CA").gains == {}


def test_on_three_tiers_a_summary_counts_both_cuts():
    records = [record(3, 0.1, second_cut=stop) for stop in (5, 5, 7, 5)]
    summary = summarise("tiny", outcome(records), PlanningCounts())
    assert (summary.cuts, summary.switches) == ({"3,5": 3, "3,7": 1}, 2)


def test_quantiles_of_an_endless_stream_are_those_of_a_sample_and_the_rest_is_exact(monkeypatch):
    monkeypatch.setattr(summary_module, "_KEPT", 1_000)
    numbers = Distribution()
    for value in np.random.default_rng(3).permutation(50_000):
        numbers.add(float(value))
    assert (numbers.total, numbers.largest) == (50_000 * 49_999 / 2, 49_999.0)
    assert len(numbers._kept) == 1_000
    # The standard error of the median of 1,000 of them is 50,000 * 0.5 / sqrt(1000) = 790.
    assert numbers.quantile(0.5) == pytest.approx(25_000, abs=4 * 790)
    assert numbers.quantile(0.95) == pytest.approx(47_500, abs=4 * 350)


def test_a_stream_keeps_nothing_of_a_request(monkeypatch):
    """A camera at 10 frames a second took 1.5 GB a day."""
    monkeypatch.setattr(summary_module, "_KEPT", 100)
    totals = StreamTotals()
    alternatives = {"edge-only": {"latency_s": 0.2, "cost_usd": 1e-6}}
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(3):
            for number in range(500):
                totals.add(record(number % 3, 0.1, predicted_s=0.11, alternatives=alternatives))
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[2] - sizes[1] < 500 * 8
    assert totals.answered == 1500


def test_a_summary_of_nothing_is_a_summary():
    summary = summarise("tiny", StreamOutcome(skipped=2), PlanningCounts())
    assert summary.requests == 0
    assert summary.latency_s.median is None
    assert summary_table(summary, "t").row_count == 1


def test_a_folder_of_which_nothing_can_be_read_is_an_error_and_says_why(make_engine, tiny_model, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"\x89PNG broken")
    with pytest.raises(FileError, match=r"none of 2 images could be read; last b\.png: ") as caught:
        run_stream(make_engine, tiny_model, InputFolder(path=str(folder)), tmp_path / "r.jsonl")
    assert "\n" not in str(caught.value)


def test_labels_saved_by_a_spreadsheet_are_read(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,label\na.png,7\n", encoding="utf-8-sig")
    assert read_labels(str(path)) == {"a.png": "7"}


class Stages:
    """An engine whose requests go through three stages, one request at a time in each, as edge, link and cloud do."""

    def __init__(self):
        self.stages = [asyncio.Lock() for _ in range(3)]
        self.inside, self.most, self.events = 0, 0, []

    async def infer(self, _):
        self.inside += 1
        self.most = max(self.most, self.inside)
        for stage in self.stages:
            async with stage:
                await asyncio.sleep(0.01)
        self.inside -= 1


@pytest.mark.parametrize(("given", "most"), [({}, 1), ({"in_flight": 3}, 3), ({"rate_hz": 1000.0}, 4)])
def test_requests_overlap_as_far_as_allowed_and_are_written_in_order(monkeypatch, photos, tmp_path, given, most):
    from midcut.edge.frontend import stream as module

    stages = Stages()

    async def infer_file(_engine, _model, file, _expected, *_):
        await stages.infer(file)
        return file

    written = []
    monkeypatch.setattr(module, "_infer_file", infer_file)
    monkeypatch.setattr(module, "replace", lambda record, n: (n, record))
    monkeypatch.setattr(module, "json_line", lambda record: written.append(record) or b"")
    monkeypatch.setattr(module.StreamTotals, "add", lambda totals, _: setattr(totals, "answered", totals.answered + 1))
    settings = InputFolder(path=str(photos), repeat=3, **given)
    done = asyncio.run(stream(stages, None, settings, tmp_path / "r.jsonl", asyncio.Event()))
    assert stages.most == most
    assert [n for n, _ in written] == list(range(12))
    assert [file.name for _, file in written] == ["0.png", "1.png", "2.png", "3.png"] * 3
    assert done.totals.answered == 12
