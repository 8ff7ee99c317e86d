"""Traces of clock, bandwidth and ping over time, as CSV or JSON files.

CSV has a header row, JSON is a list of objects. The columns are `time_s` (seconds) and any fields of an observation:
`clock_mhz`, `bandwidth_kbps`, `ping_ms`, and those that plugins name (`midcut.fields`); every row has all of the file's
columns. A bandwidth of 0 is an outage. Playback starts at the first row, whatever its time: a recorded trace may count
from 1970, or be a part that starts late.
"""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ConfigError, FileError
from midcut.fields import known_fields
from midcut.types import FIELDS, Floats

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TIME = "time_s"


@dataclass(frozen=True)
class Trace:
    """A step function of time: a row is valid until the next one, the last row for ever.

    Attributes:
        time_s: strictly increasing, not negative, shape (T,), T >= 1.
        fields: the values of each field by its name, shape (T,).
    """

    time_s: Floats
    fields: Mapping[str, Floats]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Trace:
        """Make a trace of rows such as a JSON file contains.

        Raises:
            FileError: for the same reasons as in `read_trace`; the message names the row, counted from 1.
        """
        return _parse_rows("trace", [(f"row {number}", row) for number, row in enumerate(rows, start=1)])

    @property
    def duration_s(self) -> float:
        """Time of the last row, seconds."""
        return float(self.time_s[-1])

    @property
    def period_s(self) -> float:
        """Length of one loop in seconds: the last row lasts as long as the one before it; a single row lasts 1 s."""
        last = self.time_s[-1] - self.time_s[-2] if len(self.time_s) > 1 else 1.0
        return float(self.time_s[-1] + last)

    def at(self, t_s: float, *, loop: bool = False) -> dict[str, float]:
        """Return the fields at a time.

        Args:
            t_s: seconds since time zero; before the first row, the first row is valid.
            loop: start again after `period_s` instead of holding the last row.
        """
        if loop and t_s >= 0.0:
            t_s %= self.period_s
        row = max(int(np.searchsorted(self.time_s, t_s, side="right")) - 1, 0)
        return {name: float(values[row]) for name, values in self.fields.items()}

    def rebased(self) -> Trace:
        """Return the trace with its first row at time zero."""
        return self if self.time_s[0] == 0.0 else replace(self, time_s=self.time_s - self.time_s[0])

    def rows(self) -> list[dict[str, float]]:
        """Return the rows, `time_s` first."""
        columns = {TIME: self.time_s, **self.fields}
        return [{name: float(values[row]) for name, values in columns.items()} for row in range(len(self.time_s))]


class Playback:
    """Plays a trace by the wall clock, so that two processes can follow the same trace in step.

    Args:
        trace: the trace to play; its times count from its first row.
        epoch_s: when the first row is valid, seconds since the epoch; None is now. Before it, the first row is valid.
        speed: 2 plays twice as fast.
        loop: start again at the end.

    Raises:
        ConfigError: the speed is not over 0.
    """

    def __init__(self, trace: Trace, *, epoch_s: float | None = None, speed: float = 1.0, loop: bool = False) -> None:
        if not speed > 0.0:
            raise ConfigError(f"a trace's speed must be over 0, got {speed:g}")
        self.trace = trace.rebased()
        self.epoch_s = time.time() if epoch_s is None else epoch_s
        self.speed = speed
        self.loop = loop

    def now(self) -> dict[str, float]:
        """Return the fields at this moment."""
        return self.trace.at((time.time() - self.epoch_s) * self.speed, loop=self.loop)


def read_trace(path: str | Path) -> Trace:
    """Read a trace; `.json` is JSON, anything else CSV.

    Raises:
        FileError: the file is missing or empty, or a row is wrong. The message names the file and the line (in JSON,
            the item, counted from 1).
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileError(f"{path}: cannot read the trace: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise FileError(f"{path}: the trace is not UTF-8 text") from None
    rows = _json_rows(path, text) if path.suffix.lower() == ".json" else _csv_rows(path, text)
    return _parse_rows(str(path), rows)


def write_trace(path: str | Path, trace: Trace) -> None:
    """Write a trace; `.json` is JSON, anything else CSV. Reading it back gives the same numbers.

    Raises:
        FileError: the file cannot be written.
    """
    path, rows = Path(path), trace.rows()
    if path.suffix.lower() == ".json":
        text = json.dumps(rows, indent=1) + "\n"
    else:
        out = io.StringIO()
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = out.getvalue()
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: cannot write the trace: {error.strerror or error}") from None


def _csv_rows(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text))
    header: list[str] | None = None
    rows: list[tuple[str, dict[str, Any]]] = []
    try:
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if not cells:
                continue
            if header is None:
                header = _check_header(where, [cell.strip() for cell in cells])
                continue
            if len(cells) != len(header):
                raise FileError(f"{where}: {len(cells)} values for {len(header)} columns ({', '.join(header)})")
            named = zip(header, cells, strict=True)
            rows.append((where, {name: _parse_cell(where, name, cell.strip()) for name, cell in named}))
    except csv.Error as error:
        raise FileError(f"{path}:{reader.line_num}: not CSV: {error}") from None
    return rows


def _json_rows(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        items = json.loads(text) if text.strip() else []
    except json.JSONDecodeError as error:
        raise FileError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not JSON that can be read: {error}") from None
    if not isinstance(items, list):
        raise FileError(f"{path}:1: a JSON trace is a list of objects, got {type(items).__name__}")
    rows: list[tuple[str, dict[str, Any]]] = []
    for number, item in enumerate(items, start=1):
        where = f"{path}: item {number}"
        if not isinstance(item, dict):
            raise FileError(f"{where}: must be an object with {TIME} and fields, got {item!r}")
        rows.append((where, item))
    return rows


def _check_header(where: str, names: list[str]) -> list[str]:
    for name in names:
        if name not in (TIME, *known_fields()):
            raise FileError(f"{where}: unknown column {name!r}; the columns are {', '.join((TIME, *known_fields()))}")
    if len(set(names)) != len(names):
        raise FileError(f"{where}: a column occurs twice: {', '.join(names)}")
    if TIME not in names:
        raise FileError(f"{where}: there is no column {TIME}")
    if len(names) == 1:
        raise FileError(f"{where}: there is only the column {TIME}; at least one of {', '.join(FIELDS)} is needed")
    return names


def _parse_rows(what: str, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Trace:
    columns: dict[str, list[float]] = {}
    for where, row in rows:
        if not columns:
            columns = {name: [] for name in (TIME, *known_fields()) if name in _check_header(where, list(row))}
        if set(row) != set(columns):
            raise FileError(f"{where}: has the columns {', '.join(row)}, but the rows before have {', '.join(columns)}")
        for name, values in columns.items():
            values.append(_check_number(where, name, row[name]))
        times = columns[TIME]
        if len(times) > 1 and times[-1] <= times[-2]:
            raise FileError(f"{where}: {TIME} {times[-1]:g} is not after {times[-2]:g}; time must increase")
    if not columns:
        raise FileError(f"{what}: the trace is empty; it needs at least one row of {', '.join((TIME, *FIELDS))}")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    return Trace(time_s=arrays.pop(TIME), fields=arrays)


def _check_number(where: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FileError(f"{where}: {name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer with hundreds of digits
        number = np.inf
    if not np.isfinite(number):
        raise FileError(f"{where}: {name} must be finite, got {number}")
    positive = name != TIME and known_fields()[name].positive
    if number < 0.0 or (number == 0.0 and positive):
        bound = "be over 0" if positive else "not be negative"
        raise FileError(f"{where}: {name} must {bound}, got {number:g}")
    return number


def _parse_cell(where: str, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FileError(f"{where}: {name} must be a number, got {text!r}") from None
