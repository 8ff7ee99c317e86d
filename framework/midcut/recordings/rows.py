"""Helpers of all formats: numbered lines, numbers, and rows that repeat a time or go back."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

import numpy as np

from midcut.errors import FileError
from midcut.recordings.shaping import end_at
from midcut.traces import TIME, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


_GZIP: Final = b"\x1f\x8b"
_MOST_BYTES: Final = 1 << 30


class Repeats(Enum):
    """What becomes of rows that repeat a time, and of rows that go back."""

    merge = "merge"
    refuse = "refuse"


@dataclass(frozen=True)
class Recording:
    """A trace that was read, and what had to be done to it, in words for people."""

    trace: Trace
    notes: tuple[str, ...] = ()


@dataclass
class Rows:
    """Collects rows in order of time.

    Args:
        path: for messages.
        repeats: `merge` takes the mean of rows with one time, and leaves out rows that go back; `refuse` refuses both.
    """

    path: Path
    repeats: Repeats
    _times: list[float] = field(default_factory=list)
    _values: list[list[Mapping[str, float]]] = field(default_factory=list)
    _end_s: float | None = None
    _merged: int = 0
    _skipped: int = 0
    _without_duration: int = 0

    def __len__(self) -> int:
        return len(self._times)

    def add(self, line: int, time_s: float, values: Mapping[str, float], end_s: float | None = None) -> None:
        """Add a row.

        Args:
            end_s: when it ends, where the format tells; it counts for the last row.

        Raises:
            FileError: it repeats a time or goes back, and is to be refused.
        """
        if self._times and time_s <= self._times[-1]:
            if self.repeats is Repeats.refuse:
                raise FileError(f"{self.path}:{line}: time {time_s:g} s is not after {self._times[-1]:g} s")
            if time_s < self._times[-1]:
                self._skipped += 1
                return
            self._merged += 1
            self._values[-1].append(values)
            self._end_s = end_s
            return
        self._times.append(time_s)
        self._values.append([values])
        self._end_s = end_s

    def leave_out(self) -> None:
        """Count a row in which no time passed."""
        self._without_duration += 1

    def leave_out_earlier(self) -> None:
        """Count a row that goes back."""
        self._skipped += 1

    def recording(self, notes: Sequence[str] = ()) -> Recording:
        """The trace with its first row at time zero.

        Raises:
            FileError: there was no row, or most go back.
        """
        if self._skipped > len(self._times):
            raise FileError(f"{self.path}: {self._skipped} rows go back in time: the rows must be in order of time")
        if not self._times:
            raise FileError(f"{self.path}: there is no row of data")
        names = self._values[0][0]
        rows = [{name: float(np.mean([value[name] for value in same])) for name in names} for same in self._values]
        times = (round(time_s - self._times[0], 6) for time_s in self._times)
        trace = Trace.from_rows([{TIME: time_s, **row} for time_s, row in zip(times, rows, strict=True)])
        if self._end_s is not None:
            trace = end_at(trace, self._end_s - self._times[0])
        counted = (
            (self._merged, "rows with the time of the one before merged"),
            (self._skipped, "rows that go back left out"),
            (self._without_duration, "rows of 0 ms left out"),
        )
        return Recording(trace, (*notes, *(f"{count} {what}" for count, what in counted if count)))


def read_text(path: Path) -> str:
    """The text of a file, which may be compressed by gzip.

    Raises:
        FileError: it cannot be read, or is not text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot read the recording: {error.strerror or error}") from None
    if data.startswith(_GZIP):
        data = _unpack(path, data)
    try:
        return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig").read()
    except UnicodeDecodeError:
        raise FileError(f"{path}: the recording is not UTF-8 text") from None


def _unpack(path: Path, data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path}: cannot be decompressed: {error}") from None
    if len(text) > _MOST_BYTES:
        raise FileError(f"{path}: more than {_MOST_BYTES >> 20} MiB when decompressed")
    return text


def words_of_lines(path: Path, least: int) -> Iterator[tuple[int, list[str]]]:
    """The number and the words of every line that is not blank.

    Raises:
        FileError: a line has fewer than `least` words.
    """
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) < least:
            raise FileError(f"{path}:{number}: {least} columns are needed, got {len(words)}: {line[:60]!r}")
        yield number, words


def number_of(path: Path, line: int, what: str, word: str) -> float:
    """A finite number that is not negative.

    Raises:
        FileError: it is none; the message names the line.
    """
    try:
        value = float(word)
    except ValueError:
        raise FileError(f"{path}:{line}: {what} must be a number, got {word[:40]!r}") from None
    if not (math.isfinite(value) and value >= 0.0):
        raise FileError(f"{path}:{line}: {what} must be a finite number, 0 or more, got {word[:40]}")
    return value
