"""What evaluations on a test bed found: a section each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from midcut.reporting.document import Column, Picture, Section, Table
from midcut.reporting.figures_evaluation import draw_evaluation, draws
from midcut.reporting.looks import Looks
from midcut.reporting.texts import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.results import evaluation
    from midcut.results.evaluation import Cell, Evaluation


NOTES = "notes"
"""What a bed says of itself in sentences."""


def evaluations_section(found: Mapping[str, Evaluation]) -> Section | None:
    """Everything that was measured on a test bed."""
    parts = tuple(_evaluation(name, one, f"evaluation-{place}") for place, (name, one) in enumerate(found.items(), 1))
    if not parts:
        return None
    lead = "Measured with real processes on a test bed, not simulated; what of the bed is emulated stands with each."
    return Section("evaluations", "Measured on a test bed", text=(lead,), sections=parts)


def _evaluation(name: str, one: Evaluation, key: str) -> Section:
    looks = Looks(one.figures)
    drawn = [figure for figure in one.figures if draws(figure)]
    pictures = [Picture(f"{key}-{figure.name}", figure.title, draw_evaluation(figure, looks)) for figure in drawn]
    told = [_table(table, f"table-{place}") for place, table in enumerate(one.tables, start=1)]
    beds, tables = _beds(one.bed)
    facts = {_words(knob): _each(beds, knob) for knob in dict.fromkeys(knob for bed in beds.values() for knob in bed)}
    emulated = list(dict.fromkeys(note for bed in beds.values() for note in bed.get(NOTES, ())))
    missing = [f"Nothing to draw yet: {figure.title}" for figure in one.figures if figure not in drawn]
    return Section(
        key,
        one.title,
        text=tuple(one.notes),
        facts={knob: value for knob, value in facts.items() if knob != NOTES} | {"folder": name},
        tables=(*told, *(_bed_table(knob, rows) for knob, rows in tables.items())),
        pictures=tuple(pictures),
        notes=(*emulated, *missing),
    )


def _beds(bed: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Sequence[dict[str, Any]]]]:
    """One bed or several by name, without what is a table, and the tables."""
    beds = bed if bed and all(isinstance(value, dict) for value in bed.values()) else {"": bed}
    tables: dict[str, Sequence[dict[str, Any]]] = {}
    plain: dict[str, dict[str, Any]] = {}
    for name, one in beds.items():
        tables |= {f"{name} {knob}".strip(): value for knob, value in one.items() if _is_table(value)}
        notes = one.get(NOTES, ())
        listed = {NOTES: [notes] if isinstance(notes, str) else [_said(note) for note in notes]} if notes else {}
        plain[name] = {knob: value for knob, value in one.items() if not _is_table(value)} | listed
    return plain, tables


def _each(beds: Mapping[str, Mapping[str, Any]], knob: str) -> str:
    """What the beds say of a knob: once where all say the same."""
    said = {name: _said(bed[knob]) for name, bed in beds.items() if knob in bed}
    if len(said) == len(beds) and len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{name}: {value}" for name, value in said.items())


def _table(table: evaluation.Table, key: str) -> Table:
    """Numbers to the right, rounded for people; a first column of text names the rows."""
    columns = [[row[place] for row in table.rows] for place in range(len(table.columns))]
    heads = zip(_keys(table.columns), table.columns, columns, strict=True)
    shown = tuple(Column(slug, head, _cell, number=any(map(_is_number, cells))) for slug, head, cells in heads)
    return Table(key, shown, [tuple(map(_known, row)) for row in table.rows], table.title)


def _bed_table(knob: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    names = list(rows[0])
    cells = [[row[name] if _is_number(row[name]) else _said(row[name]) for name in names] for row in rows]
    heads = dict(zip(names, map(_words, names), strict=True))
    columns = tuple(
        Column(slug, heads[name], _cell, number=any(_is_number(row[place]) for row in cells))
        for place, (slug, name) in enumerate(zip(_keys(names), names, strict=True))
    )
    return Table(f"bed-{_slug(knob)}", columns, [tuple(map(_known, row)) for row in cells], f"The bed: {_words(knob)}.")


def _keys(heads: Sequence[str]) -> list[str]:
    """Names for scripts, which differ."""
    keys: list[str] = []
    for place, head in enumerate(heads, start=1):
        slug = _slug(head) or f"column_{place}"
        keys.append(f"{slug}_{place}" if slug in keys else slug)
    return keys


def _slug(text: str) -> str:
    plain = text.replace("%", " percent ").replace("µ", "u").replace("$", "usd")
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else number(value)


def _known(cell: Cell) -> Cell:
    """What says nothing is missing."""
    return None if isinstance(cell, str) and not cell.strip() else cell


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _is_table(value: Any) -> bool:
    """Whether it is a list of objects that have the same names."""
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(row, dict) and row for row in value):
        return False
    return len({tuple(row) for row in value}) == 1


def _words(knob: str) -> str:
    return knob.replace("_", " ")


def _said(value: Any) -> str:
    """A description of the bed in words."""
    if isinstance(value, dict):
        return ", ".join(f"{_words(name)} {_said(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_said, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else _cell(value)
