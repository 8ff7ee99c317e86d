"""Writes a report: the page, its figures, its tables in Markdown, its numbers in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from midcut.errors import FileError
from midcut.reporting.style import inlined, save

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from midcut.reporting.document import Report, Section, Table

PAGE, TABLES, NUMBERS, FIGURES = "report.html", "report.md", "report.json", "figures"
FORMAT = "midcut-report/1"


def write(report: Report, folder: Path) -> list[Path]:
    """Write everything into a folder, which is made.

    Returns:
        the files, the page first.

    Raises:
        FileError: the folder or a file cannot be written.
    """
    files = [folder / PAGE, folder / TABLES, folder / NUMBERS]
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        svg = {}
        for picture in report.pictures():
            drawn = [folder / FIGURES / f"{picture.name}.{suffix}" for suffix in ("png", "svg")]
            save(picture.figure, *drawn)
            svg[picture.name] = inlined(drawn[1].read_text(encoding="utf-8"), picture.name)
            files += drawn
        for path, text in zip(files, (page(report, svg), markdown(report), numbers(report)), strict=False):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(f"{folder}: cannot write the report: {error.strerror or error}") from None
    return files


def page(report: Report, svg: Mapping[str, str]) -> str:
    """One HTML file that needs nothing else.

    Args:
        svg: name -> figure, put in as it is; all else is escaped.
    """
    environment = Environment(
        loader=PackageLoader("midcut.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2").render(report=report, svg=svg) + "\n"


def markdown(report: Report) -> str:
    """The tables, with the figures beside them as PNG."""
    lines = [f"# {_escaped(report.title)}", "", _escaped(report.lead), ""]
    for section in report.sections:
        lines += _section(section, 2)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section, level: int) -> Iterator[str]:
    yield from (f"{'#' * level} {_escaped(section.title)}", "")
    for paragraph in section.text:
        yield from (_escaped(paragraph), "")
    for name, value in section.facts.items():
        yield f"- {_escaped(name)}: {_escaped(value)}"
    if section.facts:
        yield ""
    for table in section.tables:
        yield from _table(table)
    for picture in section.pictures:
        yield from (f"![{_escaped(picture.caption)}]({FIGURES}/{picture.name}.png)", "")
    for note in section.notes:
        yield f"- {_escaped(note)}"
    if section.notes:
        yield ""
    for inside in section.sections:
        yield from _section(inside, level + 1)


def _table(table: Table) -> Iterator[str]:
    if table.caption:
        yield from (_escaped(table.caption), "")
    yield _line([column.head for column in table.columns])
    yield "|" + "|".join("--:" if column.number else "---" for column in table.columns) + "|"
    yield from map(_line, table.cells())
    yield ""


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    """Text that Markdown leaves as it is, on one line."""
    flat = " ".join(text.split())
    for sign in ("\\", "|", "<", ">", "*", "_", "`", "[", "]", "#"):
        flat = flat.replace(sign, f"\\{sign}")
    return flat


def numbers(report: Report) -> str:
    """The same numbers for scripts, unrounded."""
    value = {
        "format": FORMAT,
        "title": report.title,
        "verdicts": report.verdicts,
        "sections": [_numbers(section) for section in report.sections],
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n"


def _numbers(section: Section) -> dict[str, Any]:
    return {
        "key": section.key,
        "title": section.title,
        "facts": section.facts,
        "tables": {table.key: table.records() for table in section.tables},
        "figures": [picture.name for picture in section.pictures],
        "sections": [_numbers(inside) for inside in section.sections],
    }
