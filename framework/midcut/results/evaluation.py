"""`evaluation.json`: tables and figures of an evaluation on the test bed. `tools/evaluate` writes it.

Arrays and numbers of numpy are written as lists and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from midcut.errors import FileError
from midcut.results.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "evaluation.json"
FORMAT = "midcut-evaluation/1"
Cell: TypeAlias = str | int | float | None
Kind: TypeAlias = Literal["points", "line", "step", "bars"]
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of numbers and words.

    Attributes:
        columns: different names with their units, e.g. `latency [ms]`.
        rows: a cell per column; None (or NaN) where the value is unknown.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class Axis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An axis: its name with its unit, and whether it is logarithmic."""

    label: str
    log: bool = False


class Series(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values that are drawn under one name.

    Attributes:
        name: for the legend. The same name looks the same in all figures. What several series have in common is
            named before the last `, `, as in `alexnet, default` and `alexnet, paper`.
        x: numbers, or names: then all series of the figure share an axis of names.
        y: one per x; None (or NaN) is a gap.
        low, high: the interval each y lies in.
        kind: `bars` of several series are side by side at each x.
    """

    name: str
    x: Sequence[float | str | None]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    kind: Kind = "points"


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure of one pair of axes.

    Attributes:
        name: stem of its files; letters, digits, `-` and `_`, unique in the evaluation.
        title: what the figure shows, in a sentence.
        diagonal: whether the line y = x is drawn, and both axes show the same range; not where x are names.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    diagonal: bool = False


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole evaluation.

    Attributes:
        title: of its section in a report.
        notes: paragraphs: what was done, what is real and what is emulated, why a target was missed.
        bed: the test bed's description of itself; texts, numbers, lists and objects of these.
        values: numbers for scripts and tests, by a flat name.
        format: what this file is, and which version of it.
    """

    title: str
    notes: Sequence[str] = ()
    bed: dict[str, Any] = {}
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    values: dict[str, float | None] = {}
    format: str = FORMAT


def write_evaluation(folder: Path, evaluation: Evaluation) -> Path:
    """Write `evaluation.json` into a folder, which is created; whole or not at all.

    Raises:
        FileError: it is not what `read_evaluation` accepts, or it cannot be written.
    """
    path = folder / FILE
    try:
        checked = msgspec.convert(msgspec.to_builtins(evaluation, enc_hook=_to_plain), Evaluation)
    except (msgspec.ValidationError, TypeError) as error:
        raise FileError(f"evaluation for {path} not written: {error}") from None
    return write_json(path, checked, "evaluation", _fault)


def read_evaluation(path: Path) -> Evaluation:
    """Read an `evaluation.json`.

    Raises:
        FileError: missing, not JSON, not this format, or lists that do not fit together; the message says where.
    """
    return read_json(path, Evaluation, "evaluation", "tools/evaluate writes one", _fault)


def _to_plain(value: Any) -> Any:
    """Convert numbers and arrays of numpy to Python's, and paths to text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _fault(evaluation: Evaluation) -> str:
    """Name the first fault of an evaluation, or return `""`."""
    return next(_faults(evaluation), "")


def _faults(evaluation: Evaluation) -> Iterator[str]:
    for place, table in enumerate(evaluation.tables):
        if len(set(table.columns)) < len(table.columns):
            yield f"$.tables[{place}].columns: names must differ"
        for row, cells in enumerate(table.rows):
            if len(cells) != len(table.columns):
                yield f"$.tables[{place}].rows[{row}] has {len(cells)} cells for {len(table.columns)} columns"
    names = [figure.name for figure in evaluation.figures]
    for place, figure in enumerate(evaluation.figures):
        where = f"$.figures[{place}]"
        if not _STEM.fullmatch(figure.name):
            yield f"{where}.name: {figure.name!r} is no file stem (letters, digits, - and _)"
        if figure.name in names[:place]:
            yield f"{where}.name: {figure.name!r} is taken by another figure"
        if figure.diagonal and any(isinstance(x, str) for series in figure.series for x in series.x):
            yield f"{where}.diagonal: there is no line y = x where x are names"
        for row, series in enumerate(figure.series):
            yield from (f"{where}.series[{row}].{fault}" for fault in _series_faults(series))


def _series_faults(series: Series) -> Iterator[str]:
    if (series.low is None) != (series.high is None):
        yield "low and high: give both or neither"
    for name in ("y", "low", "high"):
        values = getattr(series, name)
        if values is not None and len(values) != len(series.x):
            yield f"{name} has {len(values)} entries for {len(series.x)} of x"
