"""The parts of a report before it is HTML, Markdown or JSON: sections, tables, pictures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from midcut.reporting.formatting import objective_text, objective_title

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: name of the column in JSON, with its unit.
        title: name of the column on the page, with its unit.
        text: writes a value for people; None is written as a dash.
        number: whether the column is aligned to the right.
        below: whether the page shows it below the row, for texts that are long and often missing.
    """

    key: str
    title: str
    text: Callable[[Any], str] = str
    number: bool = True
    below: bool = False

    def cell(self, value: Any) -> str:
        """A value as text; a dash where it is missing."""
        return "–" if value is None else self.text(value)


def objective_columns(names: Iterable[str]) -> tuple[Column, ...]:
    """Columns for the further columns of a forecast (`objective=`)."""
    return tuple(Column(name, objective_title(name), objective_text(name)) for name in names)


@dataclass(frozen=True)
class Table:
    """Rows of values that JSON can hold, one per column.

    Attributes:
        key: name in the JSON, unique in its section.
        rows: values in the order of the columns.
        caption: what the table shows, and what its words mean.
        marked: numbers of the rows that are highlighted.
    """

    key: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Any, ...]]
    caption: str = ""
    marked: frozenset[int] = frozenset()

    def without_empty_columns(self) -> Table:
        """The same table without the columns in which every value is missing."""
        used = [place for place in range(len(self.columns)) if any(row[place] is not None for row in self.rows)]
        rows = [tuple(row[place] for place in used) for row in self.rows]
        return replace(self, columns=tuple(self.columns[place] for place in used), rows=rows)

    def cells(self) -> list[list[str]]:
        """The rows as text, for people."""
        return [[column.cell(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]

    def records(self) -> list[dict[str, Any]]:
        """The rows as objects, for scripts."""
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Picture:
    """A figure with its caption.

    Attributes:
        name: stem of its files, unique in the report.
        caption: what the figure shows, in a sentence or two.
        figure: the drawn figure, not yet saved.
    """

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Section:
    """A heading and its content.

    Attributes:
        key: anchor and name in the JSON, unique in the report.
        text: the section's paragraphs.
        notes: small print after the tables and figures.
        facts: name -> value of settings, shown as a compact list.
    """

    key: str
    title: str
    text: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    sections: tuple[Section, ...] = ()
    notes: tuple[str, ...] = ()

    def all_pictures(self) -> Iterator[Picture]:
        """Its figures and those of the sections in it."""
        yield from self.pictures
        for section in self.sections:
            yield from section.all_pictures()


_LONGEST_FACT: Final = 60


def distinct_titles(sections: Sequence[Section]) -> tuple[Section, ...]:
    """Sections side by side, with what tells them apart in the titles that several of them have."""
    titles = [section.title for section in sections]
    groups = {title: [each for each in sections if each.title == title] for title in titles if titles.count(title) > 1}
    suffixes = {
        id(each): suffix for group in groups.values() for each, suffix in zip(group, _suffixes(group), strict=True)
    }
    return tuple(
        replace(section, title=f"{section.title}: {suffixes[id(section)]}") if id(section) in suffixes else section
        for section in sections
    )


def _suffixes(group: Sequence[Section]) -> list[str]:
    """The facts in which sections differ, as few as tell all of them apart; else their numbers."""
    chosen: list[str] = []
    names = sorted((name for name in group[0].facts if name != "folder"), key=lambda name: len(group[0].facts[name]))
    names.append("folder")
    for name in names:
        values = [section.facts.get(name, "") for section in group]
        before = _join_facts(group, chosen)
        if (
            all(values)
            and max(map(len, values)) <= _LONGEST_FACT
            and len(set(_join_facts(group, [*chosen, name]))) > len(set(before))
        ):
            chosen.append(name)
    joined_facts = _join_facts(group, chosen)
    if len(set(joined_facts)) == len(group):
        return joined_facts
    return [f"{text}, {place}".removeprefix(", ") for place, text in enumerate(joined_facts, start=1)]


def _join_facts(group: Sequence[Section], names: Sequence[str]) -> list[str]:
    return [", ".join(section.facts[name] for name in names) for section in group]


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        lead: what the report is made from, in a sentence or two.
        verdicts: verdict -> number of published numbers that got it, best verdict first.
    """

    title: str
    lead: str
    verdicts: dict[str, int]
    sections: tuple[Section, ...]

    def pictures(self) -> Iterator[Picture]:
        """All figures, in order."""
        for section in self.sections:
            yield from section.all_pictures()
