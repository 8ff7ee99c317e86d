"""What a report consists of, before it is HTML, Markdown or JSON: each number stands in it once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: name in the JSON, with its unit.
        head: name for people, with its unit.
        text: how a value is written for people; never asked about None.
        number: whether it is set to the right.
        below: whether the page sets it below the row, for what is long and often missing.
    """

    key: str
    head: str
    text: Callable[[Any], str] = str
    number: bool = True
    below: bool = False

    def cell(self, value: Any) -> str:
        """The value for people; a missing one is a dash."""
        return "–" if value is None else self.text(value)


@dataclass(frozen=True)
class Table:
    """Rows of values, one per column, JSON-able.

    Attributes:
        key: name in the JSON, unique in its section.
        rows: values in the order of the columns.
        caption: what one sees, and what the words in it mean.
        marked: rows to stand out.
    """

    key: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Any, ...]]
    caption: str = ""
    marked: frozenset[int] = frozenset()

    def cells(self) -> list[list[str]]:
        """The rows for people."""
        return [[column.cell(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]

    def records(self) -> list[dict[str, Any]]:
        """The rows for scripts."""
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of its files, unique in the report.
        caption: what one sees, in a sentence or two.
        figure: drawn, not yet saved.
    """

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        key: anchor and name in the JSON, unique in the report.
        text: paragraphs.
        notes: small print after the tables and figures.
        facts: settings, name -> value, set as a compact list.
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


@dataclass(frozen=True)
class Report:
    """The whole.

    Attributes:
        lead: what it is about, in a sentence or two.
        verdicts: verdict -> how many published numbers got it, in the order of the classes.
    """

    title: str
    lead: str
    verdicts: dict[str, int]
    sections: tuple[Section, ...]

    def pictures(self) -> Iterator[Picture]:
        """All figures, in order."""
        for section in self.sections:
            yield from section.all_pictures()
