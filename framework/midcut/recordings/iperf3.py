"""The output of `iperf3 -J`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from midcut.errors import FileError
from midcut.recordings.rows import Recording, Repeats, Rows, read_text

if TYPE_CHECKING:
    from pathlib import Path


def read_iperf3(path: Path, repeats: Repeats) -> Recording:
    """The rate of every interval as the receiver saw it, and the sender's shortest round trip as ping.

    A sender counts what it wrote into its socket buffer, far more than the link carried at first. So its intervals are
    scaled to the mean rate that the receiver counted, whose time ends later, unless the receiver's own intervals are in
    the file (`iperf3 -R`, or `--get-server-output`).

    Raises:
        FileError: the file is not such an output, or the test failed (iperf3 -J then exits with 0 all the same).
    """
    report = _parse(path)
    intervals, notes = _intervals(path, report)
    ping_ms = _ping_ms(report)
    rows = Rows(path, repeats)
    ping = {} if ping_ms is None else {"ping_ms": ping_ms}
    for number, (start_s, end_s, kbps) in enumerate(intervals, start=1):
        rows.add(number, start_s, {"bandwidth_kbps": kbps} | ping, end_s)
    return rows.recording(notes)


def _parse(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not JSON: {error}") from None
    if isinstance(report, dict) and report.get("error"):
        raise FileError(f"{path}: iperf3 failed: {report['error']}")
    if not isinstance(report, dict) or not isinstance(report.get("intervals"), list) or "end" not in report:
        raise FileError(f"{path}: not an output of iperf3 -J: it needs the keys intervals and end")
    return report


def _intervals(path: Path, report: dict[str, Any]) -> tuple[list[tuple[float, float, float]], tuple[str, ...]]:
    """Start, end and kbit/s of every interval at the receiver, and notes."""
    try:
        if report["start"]["test_start"].get("reverse"):
            return _sums(report["intervals"]), ()
        server = report.get("server_output_json")
        if isinstance(server, dict) and server.get("intervals"):
            return _sums(server["intervals"]), ()
        sums = _sums(report["intervals"])
        end = report["end"]
        received = end.get("sum_received") or {}
        sent_kbit = sum((stop - start) * kbps for start, stop, kbps in sums)
        sent_s = sum(stop - start for start, stop, _ in sums)
        received_kbps = float(received.get("bits_per_second", 0.0)) / 1e3
        if received_kbps <= 0.0 or not received.get("bytes"):
            raise FileError(f"{path}: end.sum_received has no bytes: only the receiver's count is the link's")
        if sent_kbit <= 0.0:
            raise FileError(f"{path}: no interval has any bytes")
        factor = received_kbps / (sent_kbit / sent_s)
        note = f"the sender's intervals scaled by {factor:.3f} to what the receiver counted"
        return [(start, stop, kbps * factor) for start, stop, kbps in sums], (note,)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FileError(f"{path}: not an output of iperf3 -J: {type(error).__name__}: {error}") from None


def _sums(intervals: list[dict[str, Any]]) -> list[tuple[float, float, float]]:
    sums = [interval["sum"] for interval in intervals if not interval["sum"].get("omitted")]
    return [(float(row["start"]), float(row["end"]), float(row["bits_per_second"]) / 1e3) for row in sums]


def _ping_ms(report: dict[str, Any]) -> float | None:
    """The shortest round trip of the senders; None in UDP tests and at receivers."""
    streams = report["end"].get("streams") or []
    found = [stream.get("sender", {}).get("min_rtt") for stream in streams if isinstance(stream, dict)]
    rtts_us = [rtt for rtt in found if isinstance(rtt, int | float) and rtt > 0]
    return min(rtts_us) / 1e3 if rtts_us else None
