from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midcut.errors import FileError
from midcut.traces import Playback, Trace, read_trace, write_trace

CSV = "time_s,clock_mhz,bandwidth_kbps,ping_ms\n0,1500,10000,20\n5,600,2000,50\n12.5,900,2000,0\n"


@pytest.fixture
def csv_file(tmp_path):
    def make(text, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def test_a_row_holds_until_the_next_and_the_last_for_ever(csv_file):
    trace = read_trace(csv_file(CSV))
    assert trace.duration_s == 12.5
    first = {"clock_mhz": 1500.0, "bandwidth_kbps": 10000.0, "ping_ms": 20.0}
    assert [trace.at(t) for t in (-3.0, 0.0, 4.999)] == [first] * 3
    assert trace.at(5.0)["clock_mhz"] == 600.0
    assert trace.at(12.4)["ping_ms"] == 50.0
    assert trace.at(1e9) == {"clock_mhz": 900.0, "bandwidth_kbps": 2000.0, "ping_ms": 0.0}


def test_a_loop_shows_the_last_row_as_long_as_the_one_before_it(csv_file):
    trace = read_trace(csv_file(CSV))
    assert trace.period_s == 20.0  # 12.5 + (12.5 - 5)
    assert trace.at(19.9, loop=True)["clock_mhz"] == 900.0
    assert trace.at(20.0, loop=True)["clock_mhz"] == 1500.0
    assert trace.at(46.0, loop=True)["clock_mhz"] == 600.0
    assert trace.at(-1.0, loop=True)["clock_mhz"] == 1500.0


def test_an_absent_column_is_an_absent_field(csv_file):
    assert read_trace(csv_file("ping_ms,time_s\n7,1\n")).at(0.0) == {"ping_ms": 7.0}


def test_json_and_csv_say_the_same(csv_file):
    rows = [{"time_s": 0, "clock_mhz": 1500, "bandwidth_kbps": 1e4, "ping_ms": 20}]
    trace = read_trace(csv_file(json.dumps(rows), "t.json"))
    assert trace.at(0.0) == read_trace(csv_file(CSV)).at(0.0)


def test_spreadsheet_habits_are_taken(csv_file):
    text = b"\xef\xbb\xbftime_s, ping_ms\r\n0, 1\r\n\r\n1, 2\r\n"  # BOM, blanks, CRLF, an empty line
    assert read_trace(csv_file(text)).at(1.0) == {"ping_ms": 2.0}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the trace is empty"),
        ("time_s,ping_ms\n", "the trace is empty"),
        ("time_s\n0\n", ":1: there is only the column time_s"),
        ("ping_ms\n3\n", ":1: there is no column time_s"),
        ("time_s,pnig_ms\n0,3\n", ":1: unknown column 'pnig_ms'"),
        ("time_s,ping_ms,ping_ms\n0,3,3\n", ":1: a column occurs twice"),
        ("time_s,ping_ms\n0,3\n1\n", ":3: 1 values for 2 columns"),
        ("time_s,ping_ms\n0,3\n1,2,3\n", ":3: 3 values for 2 columns"),
        ("time_s,ping_ms\n0,3\n0,4\n", ":3: time_s 0 is not after 0"),
        ("time_s,ping_ms\n2,3\n1,4\n", ":3: time_s 1 is not after 2"),
        ("time_s,ping_ms\n-1,3\n", ":2: time_s must not be negative"),
        ("time_s,ping_ms\n0,nan\n", ":2: ping_ms must be finite"),
        ("time_s,ping_ms\nnan,1\n", ":2: time_s must be finite"),
        ("time_s,clock_mhz\n0,inf\n", ":2: clock_mhz must be finite"),
        ("time_s,ping_ms\n0,-0.1\n", ":2: ping_ms must not be negative"),
        ("time_s,bandwidth_kbps\n0,-1\n", ":2: bandwidth_kbps must not be negative"),
        ("time_s,clock_mhz\n0,0\n", ":2: clock_mhz must be over 0"),
        ("time_s,clock_mhz\n0,\n", ":2: clock_mhz must be a number, got ''"),
        ("time_s,clock_mhz\n0,fast\n", ":2: clock_mhz must be a number, got 'fast'"),
        (b"time_s,clock_mhz\n0,\xff\n", "not UTF-8"),
    ],
)
def test_a_bad_csv_is_named_with_its_line(csv_file, text, complaint):
    path = csv_file(text)
    with pytest.raises(FileError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the trace is empty"),
        ("[]", "the trace is empty"),
        ('[{"time_s": 0,\n "ping_ms": }]', ":2: not JSON"),
        ('{"time_s": 0}', "a list of objects, got dict"),
        ("[3]", "item 1: must be an object"),
        ('[{"time_s": 0, "ping_ms": "3"}]', "item 1: ping_ms must be a number"),
        ('[{"time_s": 0, "ping_ms": true}]', "item 1: ping_ms must be a number"),
        ('[{"time_s": 0, "ping_ms": NaN}]', "item 1: ping_ms must be finite"),
        ('[{"time_s": 0, "ping_ms": 1' + "0" * 400 + "}]", "item 1: ping_ms must be finite"),
        ('[{"time_s": 0, "ping_ms": 1}, {"time_s": 1}]', "item 2: has the columns time_s, but the rows before have"),
        ('[{"time_s": 0, "ping_ms": 1}, {"time_s": 0, "ping_ms": 1}]', "item 2: time_s 0 is not after"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_json_is_named_with_its_item(csv_file, text, complaint):
    with pytest.raises(FileError) as caught:
        read_trace(csv_file(text, "t.json"))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(FileError, match="cannot read the trace: No such file"):
        read_trace(tmp_path / "none.csv")


values = st.floats(min_value=1e-9, max_value=1e12)


@pytest.mark.parametrize("name", ["t.csv", "t.json"])
@given(steps=st.lists(st.tuples(st.floats(0.001, 1e5), values, values, values), min_size=1, max_size=6))
def test_writing_and_reading_loses_nothing(tmp_path_factory, name, steps):
    times = np.cumsum([step[0] for step in steps])
    rows = [
        {"time_s": float(t), "clock_mhz": c, "bandwidth_kbps": b, "ping_ms": p}
        for t, (_, c, b, p) in zip(times, steps, strict=True)
    ]
    path = tmp_path_factory.mktemp("traces") / name
    write_trace(path, Trace.from_rows(rows))
    assert read_trace(path).rows() == rows


def test_two_playbacks_with_one_epoch_agree():
    trace = Trace.from_rows([{"time_s": t, "ping_ms": float(t)} for t in range(1000)])
    first = Playback(trace, epoch_s=1e9, speed=3.0, loop=True)
    other = Playback(trace, epoch_s=1e9, speed=3.0, loop=True)
    assert math.isclose(first.now()["ping_ms"], other.now()["ping_ms"], abs_tol=5.0)


def test_before_its_epoch_a_playback_shows_the_first_row():
    trace = Trace.from_rows([{"time_s": 0, "ping_ms": 1}, {"time_s": 1, "ping_ms": 2}])
    assert Playback(trace, epoch_s=4e9).now() == {"ping_ms": 1.0}
    assert Playback(trace, epoch_s=1e9).now() == {"ping_ms": 2.0}


def test_from_rows_names_the_row():
    with pytest.raises(FileError, match=r"^row 2: clock_mhz must be over 0, got -1$"):
        Trace.from_rows([{"time_s": 0, "clock_mhz": 1}, {"time_s": 1, "clock_mhz": -1}])


@pytest.mark.parametrize("start_s", [0, 1665.2, 1_700_000_000])
def test_a_trace_plays_from_its_first_row_whatever_its_time(start_s):
    trace = Trace.from_rows([{"time_s": start_s + t, "bandwidth_kbps": kbps} for t, kbps in ((0, 9), (2, 0), (4, 5))])
    now = 1_800_000_000.0
    for elapsed_s, kbps in ((0.5, 9.0), (2.5, 0.0), (90.0, 5.0)):
        playback = Playback(trace, epoch_s=now)
        assert playback.trace.at(elapsed_s)["bandwidth_kbps"] == kbps
    assert Playback(trace, loop=True).trace.period_s == pytest.approx(6.0)
