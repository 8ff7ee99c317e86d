"""Formats without a header: mahimahi, Pensieve-style cooked traces, and logs of bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import ConfigError, FileError
from midcut.recordings.rows import Recording, Repeats, Rows, number_of, read_text, words_of_lines
from midcut.recordings.shaping import MAX_BINS, end_at
from midcut.traces import Trace

if TYPE_CHECKING:
    from pathlib import Path

    from midcut.types import Ints


def read_opportunities(path: Path) -> Ints:
    """The milliseconds at which a mahimahi link delivers one packet each, non-decreasing, shape (n,), the last over 0.

    Raises:
        FileError: a line is not a whole number of milliseconds, or goes back.
    """
    times: list[int] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        word = line.strip()
        if not (word.isascii() and word.isdigit()) or len(word) > 15:
            raise FileError(f"{path}:{number}: a line must be a whole number of milliseconds, got {line[:40]!r}")
        times.append(int(word))
        if len(times) > 1 and times[-1] < times[-2]:
            raise FileError(f"{path}:{number}: {times[-1]} ms is before {times[-2]} ms; the times must not decrease")
    if not times:
        raise FileError(f"{path}: there is no delivery opportunity")
    if times[-1] == 0:
        raise FileError(f"{path}:{len(times)}: the last time must be over 0 ms, as the trace repeats after it")
    return np.array(times, dtype=np.intp)


def read_mahimahi(path: Path, packet_bytes: int, bin_s: float) -> Recording:
    """The mean rate in bins of a mahimahi trace. The opportunity at the last millisecond counts in the last bin.

    Raises:
        ConfigError: the bin is not a whole number of milliseconds.
        FileError: as for `read_opportunities`; or the trace has more than `MAX_BINS` bins.
    """
    bin_ms = round(bin_s * 1e3) if math.isfinite(bin_s) else 0
    if bin_ms < 1 or abs(bin_ms - bin_s * 1e3) > 1e-6:
        raise ConfigError(f"a bin of a mahimahi trace must be whole milliseconds, 0.001 s or more, got {bin_s:g} s")
    if packet_bytes < 1:
        raise ConfigError(f"a packet must have 1 byte or more, got {packet_bytes}")
    times = read_opportunities(path)
    last = int(times[-1])
    count = -(-last // bin_ms)
    if count > MAX_BINS:
        raise FileError(
            f"{path}: {last / 1e3:g} s are more than {MAX_BINS:,} bins of {bin_s:g} s; times are milliseconds from 0 on"
        )
    packets = np.bincount(np.minimum(times // bin_ms, count - 1), minlength=count)
    length_ms = np.minimum(np.arange(1, count + 1) * bin_ms, last) - np.arange(count) * bin_ms
    trace = Trace(
        np.arange(count, dtype=np.float64) * (bin_ms / 1e3),
        {"bandwidth_kbps": packets * (packet_bytes * 8) / length_ms},
    )
    gap_ms = int(np.diff(times, prepend=0).max())
    notes = f"{len(times)} opportunities of {packet_bytes} bytes in {last / 1e3:g} s, longest gap {gap_ms / 1e3:g} s"
    return Recording(end_at(trace, last / 1e3), (notes,))


def read_cooked(path: Path, repeats: Repeats) -> Recording:
    """Rows of seconds and Mbit/s, where a row's rate holds from the time of the row before until its own.

    So the rate of the first row has no time and is not used, and the last row's time is the end.

    Raises:
        FileError: a row is wrong, or there are fewer than two.
    """
    rows, before = Rows(path, repeats), None
    lines = list(words_of_lines(path, 2))
    if len(lines) == 1:
        raise FileError(f"{path}: one row alone has no duration; a rate holds from the row before to its own")
    for line, words in lines:
        time_s = number_of(path, line, "the time in seconds", words[0])
        rate_kbps = number_of(path, line, "the rate in Mbit/s", words[1]) * 1e3
        if before is None or time_s > before:
            if before is not None:
                rows.add(line, before, {"bandwidth_kbps": round(rate_kbps, 6)}, time_s)
            before = time_s
        elif repeats is Repeats.refuse:
            raise FileError(f"{path}:{line}: time {time_s:g} s is not after {before:g} s")
        elif time_s < before:
            rows.leave_out_earlier()
        else:
            rows.leave_out()
    return rows.recording()


def read_byte_log(path: Path, repeats: Repeats) -> Recording:
    """Rows of epoch, milliseconds, latitude, longitude, bytes, and milliseconds in which these bytes arrived.

    Raises:
        FileError: a row is wrong.
    """
    rows = Rows(path, repeats)
    for line, words in words_of_lines(path, 6):
        at_ms, size, took_ms = (
            number_of(path, line, what, words[column])
            for what, column in (("the time in ms", 1), ("the bytes", 4), ("the ms since the last row", 5))
        )
        if took_ms == 0.0:
            if repeats is Repeats.refuse:
                raise FileError(f"{path}:{line}: {size:g} bytes in 0 ms have no rate")
            rows.leave_out()
            continue
        rows.add(line, (at_ms - took_ms) / 1e3, {"bandwidth_kbps": size * 8 / took_ms}, at_ms / 1e3)
    return rows.recording()
