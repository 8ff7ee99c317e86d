"""The report's section about evaluations on a test bed, with a subsection each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from midcut.reporting.figures_evaluation import draw_evaluation_figure, has_values
from midcut.reporting.formatting import as_number
from midcut.reporting.report_model import Column, Picture, Section, Table
from midcut.reporting.series_style import SeriesStyles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.results import evaluation
    from midcut.results.evaluation import Cell, Evaluation


NOTES = "notes"
"""Key under which a test bed describes itself in note_texts."""


def evaluations_section(evaluations: Mapping[str, Evaluation]) -> Section | None:
    """Everything that was measured on a test bed."""
    sections = tuple(
        _evaluation_section(folder, evaluation, f"evaluation-{place}")
        for place, (folder, evaluation) in enumerate(evaluations.items(), 1)
    )
    if not sections:
        return None
    lead = "Measured with real processes on a test bed, not simulated; each part says what of its bed is emulated."
    return Section("evaluations", "Measured on a test bed", text=(lead,), sections=sections)


def _evaluation_section(folder: str, evaluation: Evaluation, key: str) -> Section:
    styles = SeriesStyles(evaluation.figures)
    drawn = [figure for figure in evaluation.figures if has_values(figure)]
    pictures = [
        Picture(f"{key}-{figure.name}", figure.title, draw_evaluation_figure(figure, styles)) for figure in drawn
    ]
    tables = [_report_table(table, f"table-{place}") for place, table in enumerate(evaluation.tables, start=1)]
    beds, bed_tables = _split_beds(evaluation.bed)
    settings = dict.fromkeys(setting for bed in beds.values() for setting in bed if setting != NOTES)
    emulated = dict.fromkeys(note for bed in beds.values() for note in bed.get(NOTES, ()))
    missing = [f"Nothing to draw yet: {figure.title}" for figure in evaluation.figures if figure not in drawn]
    return Section(
        key,
        evaluation.title,
        text=tuple(evaluation.notes),
        facts={_spaced(setting): _setting_text(beds, setting) for setting in settings} | {"folder": folder},
        tables=(*tables, *(_bed_table(name, rows) for name, rows in bed_tables.items())),
        pictures=tuple(pictures),
        notes=(*emulated, *missing),
    )


def _split_beds(bed: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Sequence[dict[str, Any]]]]:
    """Separate the settings of one bed, or of several by name, from what is to become a table."""
    beds = bed if bed and all(isinstance(value, dict) for value in bed.values()) else {"": bed}
    tables: dict[str, Sequence[dict[str, Any]]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for name, values in beds.items():
        tables |= {f"{name} {setting}".strip(): value for setting, value in values.items() if _is_table(value)}
        notes = values.get(NOTES, ())
        note_texts = [notes] if isinstance(notes, str) else [_value_text(note) for note in notes]
        settings[name] = {setting: value for setting, value in values.items() if not _is_table(value)}
        settings[name] |= {NOTES: note_texts} if notes else {}
    return settings, tables


def _setting_text(beds: Mapping[str, Mapping[str, Any]], setting: str) -> str:
    """A setting's value, once where all beds have the same one, else by bed."""
    values = {name: _value_text(bed[setting]) for name, bed in beds.items() if setting in bed}
    if len(values) == len(beds) and len(set(values.values())) == 1:
        return next(iter(values.values()))
    return "; ".join(f"{name}: {value}" for name, value in values.items())


def _report_table(table: evaluation.Table, key: str) -> Table:
    """A table with its number columns right-aligned and rounded for reading."""
    cells = [[row[place] for row in table.rows] for place in range(len(table.columns))]
    columns = tuple(
        Column(name, title, _cell_text, number=any(map(_is_number, values)))
        for name, title, values in zip(_unique_keys(table.columns), table.columns, cells, strict=True)
    )
    return Table(key, columns, [tuple(map(_none_if_blank, row)) for row in table.rows], table.title)


def _bed_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    names = list(rows[0])
    cells = [[row[name] if _is_number(row[name]) else _value_text(row[name]) for name in names] for row in rows]
    columns = tuple(
        Column(key, _spaced(name), _cell_text, number=any(_is_number(row[place]) for row in cells))
        for place, (key, name) in enumerate(zip(_unique_keys(names), names, strict=True))
    )
    values = [tuple(map(_none_if_blank, row)) for row in cells]
    return Table(f"bed-{_script_name(title)}", columns, values, f"The bed: {_spaced(title)}.")


def _unique_keys(titles: Sequence[str]) -> list[str]:
    """Unique column keys, for scripts that read the report, made from the titles."""
    keys: list[str] = []
    for place, title in enumerate(titles, start=1):
        key = _script_name(title) or f"column_{place}"
        while key in keys:
            key = f"{key}_{place}"
        keys.append(key)
    return keys


def _script_name(text: str) -> str:
    plain = text.replace("%", " percent ").replace("µ", "u").replace("$", "usd")
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


def _cell_text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else as_number(value)


def _none_if_blank(cell: Cell) -> Cell:
    """A blank text counts as a missing value."""
    return None if isinstance(cell, str) and not cell.strip() else cell


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _is_table(value: Any) -> bool:
    """Whether a value is a list of objects with the same keys."""
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(row, dict) and row for row in value):
        return False
    return len({tuple(row) for row in value}) == 1


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _value_text(value: Any) -> str:
    """A value of a bed's description as text."""
    if isinstance(value, dict):
        return ", ".join(f"{_spaced(name)} {_value_text(inside)}" for name, inside in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else _cell_text(value)
