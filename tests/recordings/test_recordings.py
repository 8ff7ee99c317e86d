"""Recorded links in the formats that the field publishes, written here as they really are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from midcut.cli.verbs.trace import main
from midcut.errors import ConfigError, FileError
from midcut.recordings import ReadOptions, Repeats, average_in_bins, read_recording
from midcut.traces import Trace, read_trace

UCC_HEADER = (
    "Timestamp,Longitude,Latitude,Speed,Operatorname,CellID,NetworkMode,RSRP,RSRQ,SNR,CQI,RSSI,DL_bitrate,UL_bitrate,"
    "State,PINGAVG,PINGMIN,PINGMAX,PINGSTDEV,PINGLOSS,CELLHEX,NODEHEX,LACHEX,RAWCELLID,NRxRSRP,NRxRSRQ"
)


def ucc_row(at, down, ping="-"):
    return f"{at},-8.4,51.8,0,B,11,5G,-97,-12,1.0,7,-,{down},4,D,{ping},-,-,-,-,2F01,A6,9CBA,12,-,-"


@pytest.fixture
def read(tmp_path):
    def make(name, text, **options):
        path = tmp_path / "recording"
        path.write_text(text)
        return read_recording(name, path, ReadOptions(**options))

    return make


def rows(recording, column="bandwidth_kbps"):
    return list(zip(recording.trace.time_s.tolist(), recording.trace.fields[column].tolist(), strict=True))


def test_mahimahi_counts_opportunities_in_bins_and_an_empty_bin_is_an_outage(read):
    recording = read("mahimahi", "0\n0\n99\n100\n350\n400\n")
    assert rows(recording) == [
        (0.0, 3 * 12000 / 100), (0.1, 120.0), (pytest.approx(0.2), 0.0), (pytest.approx(0.3), 240.0),
    ]  # fmt: skip
    assert "longest gap 0.25 s" in recording.notes[0]
    assert rows(read("mahimahi", "50\n100\n", packet_bytes=1504)) == [
        (0.0, 2 * 1504 * 8 / 100),
        (0.05, 2 * 1504 * 8 / 100),
    ]


def test_a_cooked_rate_holds_before_its_own_time(read):
    text = "0\t2.34617\n0.89\t2.50239\n1.49\t2.12186\n2.33\t2.17425\n"
    expected = [(0.0, 2502.39), (0.89, 2121.86), (1.49, 2174.25), (1.91, 2174.25)]  # the last one until 2.33
    assert rows(read("cooked", text)) == expected
    late = "".join(f"{2198.5 + float(line.split()[0])} {line.split()[1]}\n" for line in text.splitlines())
    assert rows(read("cooked", late)) == expected


@pytest.mark.parametrize(
    ("name", "text", "end_s", "kbit"),
    [
        ("cooked", "0 1\n1 2\n31 0.5\n", 31.0, 2000 + 30 * 500),
        ("cooked", "0 1\n30 2\n31 0.5\n", 31.0, 30 * 2000 + 500),
        ("cooked", "0 1\n1 2\n31 0.5\n31 9\n7 9\n", 31.0, 2000 + 30 * 500),
        ("cooked", "5 1\n35 2\n", 30.0, 30 * 2000),
        ("norway", "1 5000 59 10 100000 1000\n31 35000 59 10 30000 30000\n", 31.0, 800 + 240),
        ("mahimahi", "0\n100\n200\n210\n", 0.21, 48),
    ],
)
def test_a_recording_ends_with_its_last_interval(read, name, text, end_s, kbit):
    assert_carried(read(name, text).trace, end_s, kbit)


def test_the_last_interval_of_iperf3_may_be_a_short_one(read):
    sums = [{"start": at, "end": end, "bits_per_second": 8e6} for at, end in ((0, 1), (1, 2), (2, 2.125))]
    report = iperf3(start={"test_start": {"reverse": 1}}, intervals=[{"sum": each} for each in sums])
    assert_carried(read("iperf3", report).trace, 2.125, 17000)


def assert_carried(trace, end_s, kbit):
    assert trace.period_s == pytest.approx(end_s, abs=1e-6)
    lengths = np.diff(np.append(trace.time_s, trace.period_s))
    assert (trace.fields["bandwidth_kbps"] * lengths).sum() == pytest.approx(kbit)


@pytest.mark.parametrize(("name", "epoch"), [("norway", "1289406399"), ("ghent", "1453121728123")])
def test_byte_logs_give_the_rate_of_the_time_before_each_row(read, name, epoch):
    text = f"{epoch} 549856 59.85 10.78 100000 1000\n{epoch} 550856 59.85 10.78 0 1000\n"
    text += f"{epoch} 550106 59.85 10.78 9 1000\n{epoch} 551856 59.85 10.78 50000 1000\n"
    recording = read(name, text)
    assert rows(recording) == [(0.0, 800.0), (1.0, 0.0), (2.0, 400.0)]
    assert recording.notes == ("1 rows that go back left out",)
    with pytest.raises(FileError, match=r":3: time 549\.106 s is not after"):
        read(name, text, repeats=Repeats.refuse)


def test_ucc_merges_the_rows_of_one_second_and_reads_a_dash_as_missing(read):
    at = "2019.12.16_13.40.0"
    text = "\n".join(
        [UCC_HEADER, ucc_row(at + "4", 0), ucc_row(at + "4", 100), ucc_row(at + "3", 7), ucc_row(at + "9", 50, ping=31)]
    )
    recording = read("ucc", text)
    assert rows(recording) == [(0.0, 50.0), (5.0, 50.0)]
    assert rows(recording, "ping_ms") == [(0.0, 31.0), (5.0, 31.0)]
    up = read("ucc", text, direction="up")
    assert rows(up) == [(0.0, 4.0), (5.0, 4.0)]
    assert "acknowledgements" in up.notes[0]


def iperf3(**changes):
    sums = [{"start": t, "end": t + 1, "bits_per_second": rate, "bytes": rate / 8} for t, rate in ((0, 9e6), (1, 5e6))]
    report = {
        "start": {"test_start": {"protocol": "TCP", "reverse": 0}},
        "intervals": [{"streams": [], "sum": each} for each in sums],
        "end": {
            "streams": [{"sender": {"min_rtt": 20500}}],
            "sum_sent": {"bytes": 1_750_000},
            "sum_received": {"bytes": 1_250_000, "bits_per_second": 5e6, "sender": True},
        },
    }
    return json.dumps(report | changes)


def test_iperf3_counts_what_the_receiver_got(read):
    recording = read("iperf3", iperf3())
    assert [kbps for _, kbps in rows(recording)] == pytest.approx([9000 / 1.4, 5000 / 1.4])
    assert rows(recording, "ping_ms")[0] == (0.0, 20.5)
    # 250 kB came within 4 s of a test whose intervals end after 2 s: 500 kbit/s, not 1000.
    late = {"bytes": 250_000, "bits_per_second": 5e5, "start": 0, "end": 4, "seconds": 4, "sender": True}
    late_end = {"streams": [], "sum_sent": {"bytes": 1_750_000}, "sum_received": late}
    assert [kbps for _, kbps in rows(read("iperf3", iperf3(end=late_end)))] == pytest.approx([9000 / 14, 5000 / 14])
    reverse = read("iperf3", iperf3(start={"test_start": {"reverse": 1}}))
    assert rows(reverse) == [(0.0, 9000.0), (1.0, 5000.0)]


def test_csv_columns_by_name_or_number_and_in_other_units(read):
    text = "ms,Mbps,rtt\n1000,2.5,20\n1500,-,30\n1500,4.5,40\n"
    columns = {"time_s": "ms*0.001", "bandwidth_kbps": "#1*1000", "ping_ms": "rtt"}
    recording = read("csv", text, columns=columns)
    assert rows(recording) == [(0.0, 2500.0), (0.5, 3500.0)]
    assert rows(recording, "ping_ms") == [(0.0, 20.0), (0.5, 35.0)]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("mahimahi", "5\n\n7\n", r":2: a line must be a whole number"),
        ("mahimahi", "5\n1.5\n", r":2: a line must be a whole number"),
        ("mahimahi", "5\n4\n", r":2: 4 ms is before 5 ms"),
        ("mahimahi", "0\n0\n", r":2: the last time must be over 0"),
        ("mahimahi", "", "there is no delivery opportunity"),
        ("mahimahi", "1700000000000\n", r"1.7e\+09 s are more than 10,000,000 bins of 0.1 s; times are milliseconds"),
        ("cooked", "0 1\n", "one row alone has no duration"),
        ("cooked", "0 1\nx 2\n", r":2: the time in seconds must be a number"),
        ("cooked", "0 1\n1\n", r":2: 2 columns are needed"),
        ("norway", "1 2 3 4 5 0\n", "there is no row of data"),
        ("ghent", "1 2 3\n", r":1: 6 columns are needed"),
        ("ucc", "a,b\n1,2\n", "the column 'Timestamp' is not there"),
        ("ucc", UCC_HEADER + "\n" + ucc_row("16.12.2019", 1), ":2: Timestamp must be like"),
        ("iperf3", iperf3(error="unable to connect to server"), "iperf3 failed: unable to connect"),
        ("iperf3", "{}", "not an output of iperf3 -J"),
        ("iperf3", "5\n", "not an output of iperf3 -J"),
        ("iperf3", iperf3(end={}), "only the receiver's count is the link's"),
        ("csv", "", "the file is empty"),
        ("csv", "t,b\n0,-1\n", ":2: bandwidth_kbps must be a finite number, 0 or more"),
        ("csv", "t,c\n0,1\n", "the column 'b' is not there"),
        ("csv", "t,b\n", "there is no row of data"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(read, name, text, complaint):
    with pytest.raises(FileError, match=complaint) as refusal:
        read(name, text, columns={"time_s": "t", "bandwidth_kbps": "b"})
    assert "\n" not in str(refusal.value)
    assert "recording" in str(refusal.value)


AS_RECORDED = {
    "mahimahi": "0\n99\n100\n350\n400\n",
    "cooked": "0\t2.5\n1\t1.25\n2.5\t8\n",
    "norway": "1289406399 5000 59.8 10.7 100000 1000\n1289406400 6000 59.8 10.7 0 1000\n",
    "ghent": "1453121728123 5000 51.0 3.7 100000 1000\n1453121729123 6000 51.0 3.7 0 1000\n",
    "ucc": f"{UCC_HEADER}\n{ucc_row('2019.12.16_13.40.04', 900)}\n{ucc_row('2019.12.16_13.40.05', 0)}\n",
    "iperf3": iperf3(),
    "csv": "t,Mbps\n0,1.5\n1,2.5\n",
}


@pytest.mark.parametrize("name", AS_RECORDED)
def test_line_ends_a_byte_order_mark_and_gzip_change_nothing(tmp_path, name):
    options = ReadOptions(columns={"time_s": "t", "bandwidth_kbps": "Mbps*1000"} if name == "csv" else {})
    text = AS_RECORDED[name].encode()
    ways = [text, text.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + text, gzip.compress(text)]
    ways.append(gzip.compress(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")))
    found = []
    for number, way in enumerate(ways):
        path = tmp_path / f"{number}"
        path.write_bytes(way)
        found.append(rows(read_recording(name, path, options)))
    assert all(each == found[0] for each in found)
    assert len(found[0]) > 1


NEGATIVE = {
    "mahimahi": ("99", "-99"),
    "cooked": ("1.25", "-1.25"),
    "norway": ("100000", "-5"),
    "ghent": ("100000", "-5"),
}
NEGATIVE |= {"ucc": (",900,", ",-9,"), "csv": ("2.5", "-2.5")}


@pytest.mark.parametrize("name", AS_RECORDED)
def test_what_is_no_recording_is_one_line(tmp_path, name):
    columns = {"time_s": "t", "bandwidth_kbps": "Mbps*1000"} if name == "csv" else {}
    wrong = ["", "\n\n", "PK\x03\x04", "<html>not found</html>"]
    if name in NEGATIVE:
        wrong.append(AS_RECORDED[name].replace(*NEGATIVE[name]))
    for number, text in enumerate(wrong):
        path = tmp_path / f"wrong{number}"
        path.write_text(text)
        with pytest.raises(FileError) as refused:
            read_recording(name, path, ReadOptions(columns=columns))
        assert str(refused.value).startswith(f"{path}:")
        assert "\n" not in str(refused.value)


def test_a_damaged_gzip_file_is_one_line(tmp_path):
    path = tmp_path / "cut.up.gz"
    path.write_bytes(gzip.compress(b"1\n2\n" * 1000)[:-9])
    with pytest.raises(FileError, match=r"cut.up.gz: cannot be decompressed: "):
        read_recording("mahimahi", path)


def test_semicolons_and_decimal_commas_are_read_as_a_spreadsheet_writes_them(read):
    columns = {"time_s": "t", "bandwidth_kbps": "Mbps*1000"}
    assert rows(read("csv", "t;Mbps;note\n0;1,5;a, b\n0,5;2;c\n", columns=columns)) == [(0.0, 1500.0), (0.5, 2000.0)]
    assert rows(read("csv", "t\tMbps\n0\t1,5\n1\t2.5\n", columns=columns)) == [(0.0, 1500.0), (1.0, 2500.0)]
    with pytest.raises(FileError, match=":2: 3 cells for 2 columns"):
        read("csv", "t,Mbps\n0,1,5\n1,2,5\n", columns=columns)
    assert rows(read("csv", "t,Mbps\n0,1,\n", columns=columns)) == [(0.0, 1000.0)]


def test_a_cell_without_a_number_takes_the_one_before_it(read):
    columns = {"time_s": "t", "bandwidth_kbps": "kbps"}
    assert rows(read("csv", "t,kbps\n0,8\n1,NaN\n2,-\n3,\n4,5\n", columns=columns))[1:4] == [(1, 8), (2, 8), (3, 8)]
    with pytest.raises(FileError, match=r":2: bandwidth_kbps must be a finite number"):
        read("csv", "t,kbps\n0,nan\n1,5\n", columns=columns)
    with pytest.raises(FileError, match=r":2: the rate in Mbit/s must be a finite number"):
        read("cooked", "0 1\n1 nan\n")


def test_a_recording_that_runs_backwards_is_refused(read):
    text = "".join(f"{9 - number},5\n" for number in range(9))
    with pytest.raises(FileError, match="8 rows go back in time: the rows must be in order of time"):
        read("csv", "t,kbps\n" + text, columns={"time_s": "t", "bandwidth_kbps": "kbps"})
    with pytest.raises(FileError, match="8 rows go back in time: the rows must be in order of time"):
        read("cooked", text.replace(",", " "))


def test_rows_of_a_cooked_trace_that_are_left_out_are_counted(read):
    recording = read("cooked", "0 1\n1 2\n1 9\n2 3\n0.5 9\n3 4\n")
    assert rows(recording) == [(0.0, 2000.0), (1.0, 3000.0), (2.0, 4000.0)]
    assert recording.notes == ("1 rows that go back left out", "1 rows of 0 ms left out")


def test_a_row_of_a_byte_log_in_which_no_time_passed_is_left_out_and_counted(read):
    text = "1 5000 59 10 100000 1000\n1 5000 59 10 3000 0\n2 6000 59 10 50000 1000\n"
    recording = read("norway", text)
    assert rows(recording) == [(0.0, 800.0), (1.0, 400.0)]
    assert recording.notes == ("1 rows of 0 ms left out",)
    with pytest.raises(FileError, match=":2: 3000 bytes in 0 ms have no rate"):
        read("norway", text, repeats=Repeats.refuse)


def test_bins_conserve_what_the_link_carries():
    generator = np.random.default_rng(1)
    times = np.concatenate(([0.0], np.cumsum(generator.uniform(0.1, 3.0, 50))))
    trace = Trace(times, {"bandwidth_kbps": generator.uniform(0.0, 9e3, 51)})
    for bin_s in (0.1, 1.0, 7.3, 1e3):
        carried = (np.diff(np.append(times, trace.period_s)) * trace.fields["bandwidth_kbps"]).sum()
        assert_carried(average_in_bins(trace, bin_s), trace.period_s, carried)
    with pytest.raises(ConfigError, match="over 0 s"):
        average_in_bins(trace, 0.0)


def test_a_folder_becomes_a_trace_a_file_and_a_bad_one_does_not_stop_the_others(tmp_path, capsys):
    for folder, text in (("a", "0 1\n1 2\n"), ("b", "0 1\n1 3\n"), ("c", "no trace\n")):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "log").write_text(text)
    out = tmp_path / "out"
    assert (
        main(["import", "cooked", str(tmp_path / "in"), "--out", str(out), "--fill", "clock_mhz=900,ping_ms=20"]) == 1
    )
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(path.name for path in out.iterdir()) == ["a-log.csv", "b-log.csv"]
    assert read_trace(out / "b-log.csv").at(0.0) == {"clock_mhz": 900.0, "bandwidth_kbps": 3000.0, "ping_ms": 20.0}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--fill", "clock=1"], "unknown column 'clock'"),
        (["--fill", "clock_mhz=0"], "clock_mhz must be a finite number over 0"),
        (["--fill", "clock_mhz"], "--fill takes NAME=VALUE"),
        (["--bin-s", "0"], "over 0 s"),
        (["--bin-s", "inf"], "must be finite"),
    ],
)
def test_options_are_refused_in_one_line(tmp_path, capsys, words, complaint):
    (tmp_path / "log").write_text("0 1\n1 2\n")
    assert main(["import", "cooked", str(tmp_path / "log"), "--out", str(tmp_path), *words]) == 1
    error = capsys.readouterr().err
    assert complaint in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in Path(tmp_path).iterdir()] == ["log"]


def test_the_mean_that_is_printed_is_one_over_time(tmp_path, capsys):
    # 1 Mbit/s for 1 s, 2 for 30 s, 0.5 for as long: 1.246.
    (tmp_path / "log").write_text("t,kbps\n0,1000\n1,2000\n31,500\n")
    columns = ["--columns", "time_s=t,bandwidth_kbps=kbps"]
    for words in ([], ["--bin-s", "1"]):
        assert main(["import", "csv", str(tmp_path / "log"), "--out", str(tmp_path / "out"), *columns, *words]) == 0
        assert "mean 1246 kbit/s" in capsys.readouterr().out


@pytest.mark.parametrize("bin_s", ["0", "nan", "inf"])
def test_bins_of_a_mahimahi_trace_without_a_length_are_refused_in_one_line(tmp_path, capsys, bin_s):
    (tmp_path / "link.up").write_text("0\n5\n100\n")
    assert main(["import", "mahimahi", str(tmp_path / "link.up"), "--out", str(tmp_path), "--bin-s", bin_s]) == 1
    assert capsys.readouterr().err.endswith(f"whole milliseconds, 0.001 s or more, got {bin_s} s\n")
