"""Formats with a header: CSV with columns of your choice, and the sets of UCC."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from midcut.errors import ConfigError, FileError
from midcut.fields import known_fields
from midcut.recordings.rows import Recording, Repeats, Rows, number_of, read_text
from midcut.traces import TIME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_MISSING = ("", "-", "nan", "na", "n/a", "null", "none")
_DECIMAL_COMMA = re.compile(r"\d+,\d+")
_UCC_TIME = "%Y.%m.%d_%H.%M.%S"


def read_table(path: Path, repeats: Repeats, columns: Mapping[str, str]) -> Recording:
    """Columns of a CSV file.

    Args:
        path: the file.
        repeats: what becomes of rows that repeat a time or go back.
        columns: field -> name of its column, or #N for the column number N from 0, with `*FACTOR` after it where the
            unit is another one: `{"time_s": "ms*0.001", "bandwidth_kbps": "#15*1000"}`. An empty cell, `-` or `nan`
            takes the value before it.

    Raises:
        ConfigError: the columns lack time_s, or name a field that there is not.
        FileError: the file lacks a column, or a row is wrong.
    """
    for name in columns:
        if name not in (TIME, *known_fields()):
            raise ConfigError(f"--columns: unknown field {name!r}; the fields are {', '.join((TIME, *known_fields()))}")
    if TIME not in columns or len(columns) < 2:
        raise ConfigError("--columns needs time_s and a field: --columns time_s=t,bandwidth_kbps=Mbps*1000")
    rows, before = Rows(path, repeats), dict[str, float]()
    lines = _lines(path)
    _, header = next(lines)
    places = {name: _place(path, header, column) for name, column in columns.items()}
    for line, cells in lines:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise FileError(f"{path}:{line}: {len(cells)} cells for {len(header)} columns")
        values = {}
        for name, (at, factor) in places.items():
            if at >= len(cells):
                raise FileError(f"{path}:{line}: column {columns[name]} is missing: {len(cells)} cells")
            cell = cells[at].strip()
            if cell.lower() in _MISSING and name in before:
                values[name] = before[name]
            else:
                values[name] = _time_or_number(path, line, name, cell) * factor
        before = dict(values)
        rows.add(line, values.pop(TIME), values)
    return rows.recording()


def read_ucc(path: Path, repeats: Repeats, direction: str) -> Recording:
    """The bitrate of a UCC log in one direction, with the measured pings where there are any.

    Raises:
        FileError: it is not such a file.
    """
    column = "DL_bitrate" if direction == "down" else "UL_bitrate"
    lines = _lines(path)
    _, header = next(lines)
    places = {name: _place(path, header, name)[0] for name in ("Timestamp", column)}
    ping_at = header.index("PINGAVG") if "PINGAVG" in header else None
    read: list[tuple[int, float, float]] = []
    pings: list[float | None] = []
    for line, cells in lines:
        if len(cells) != len(header):
            raise FileError(f"{path}:{line}: {len(cells)} cells for {len(header)} columns")
        rate = cells[places[column]].strip()
        if rate.lower() in _MISSING:
            continue
        kbps = number_of(path, line, column, rate)
        read.append((line, _ucc_time(path, line, cells[places["Timestamp"]].strip()), kbps))
        ping = "-" if ping_at is None else cells[ping_at].strip()
        pings.append(None if ping.lower() in _MISSING else number_of(path, line, "PINGAVG", ping))
    filled = _fill_gaps(pings)
    rows = Rows(path, repeats)
    for number, (line, time_s, kbps) in enumerate(read):
        rows.add(line, time_s, {"bandwidth_kbps": kbps} | ({"ping_ms": filled[number]} if filled else {}))
    what = (
        "of a phone that plays or loads: 0 may be an idle one"
        if direction == "down"
        else ("mostly a download's acknowledgements, not what the uplink could carry")
    )
    return rows.recording((f"{column} is throughput, {what}",))


def _fill_gaps(values: list[float | None]) -> list[float]:
    """Each value, or the last one before it; before the first, the first. Empty where there is none at all."""
    last = next((value for value in values if value is not None), None)
    if last is None:
        return []
    filled = []
    for value in values:
        last = last if value is None else value
        filled.append(last)
    return filled


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = read_text(path)
    first = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    empty = True
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() if empty else _with_point(cell, delimiter) for cell in cells]
                empty = False
    except csv.Error as error:
        raise FileError(f"{path}:{reader.line_num}: not CSV: {error}") from None
    if empty:
        raise FileError(f"{path}: the file is empty; a header row is needed")


def _with_point(cell: str, delimiter: str) -> str:
    """A cell with a decimal point, where commas do not separate cells."""
    is_decimal = delimiter != "," and _DECIMAL_COMMA.fullmatch(cell.strip())
    return cell.replace(",", ".") if is_decimal else cell


def _place(path: Path, header: list[str], column: str) -> tuple[int, float]:
    """The place of a column, and the factor of its unit."""
    name, star, factor = column.rpartition("*")
    if not star or not _is_number(factor):
        name, factor = column, "1"
    if name.startswith("#") and name[1:].isdigit():
        if int(name[1:]) >= len(header):
            raise FileError(f"{path}:1: there is no column {name}: there are {len(header)}, counted from 0")
        return int(name[1:]), float(factor)
    if header.count(name) != 1:
        problem = "occurs more than once" if name in header else "is not there"
        raise FileError(f"{path}:1: the column {name!r} {problem}; there are {', '.join(header)[:200]}")
    return header.index(name), float(factor)


def _is_number(text: str) -> bool:
    try:
        return float(text) > 0.0
    except ValueError:
        return False


def _time_or_number(path: Path, line: int, name: str, cell: str) -> float:
    """A number; a time may also be in ISO 8601."""
    if name == TIME and not _is_number(cell):
        try:
            moment = datetime.fromisoformat(cell)
        except ValueError:
            return number_of(path, line, name, cell)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return number_of(path, line, name, cell)


def _ucc_time(path: Path, line: int, text: str) -> float:
    try:
        return datetime.strptime(text, _UCC_TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise FileError(f"{path}:{line}: Timestamp must be like 2019.12.16_13.40.04, got {text[:40]!r}") from None
